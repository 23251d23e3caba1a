"""Shared by all tests: quiet TensorFlow, this folder on the path, both Kerases, Hypothesis profiles."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

sys.path[:0] = [folder for folder in (str(Path(__file__).parent),) if folder not in sys.path]

QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=QUIET)
settings.register_profile("long", deadline=None, max_examples=2000, suppress_health_check=QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(params=["tf_keras", "keras"])
def K(request: pytest.FixtureRequest) -> Iterator[Any]:  # noqa: N802 (as Keras itself is abbreviated)
    """Each Keras in turn, imported on demand; automatic names start anew after each test."""
    module = importlib.import_module(request.param)
    module.utils.set_random_seed(7)
    yield module
    module.backend.clear_session(**({"free_memory": False} if request.param == "keras" else {}))
