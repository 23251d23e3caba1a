"""Shared by all tests: quiet TensorFlow, both Kerases, Hypothesis profiles."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=QUIET
)
settings.register_profile("long", deadline=None, max_examples=2000, suppress_health_check=QUIET)
settings.register_profile(
    "unshrunk", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
KERASES = ["tf_keras", "keras"] if BACKEND == "tensorflow" else ["keras"]
ON_ANY_BACKEND = (
    "test_rewrite.py", "test_api.py", "test_shared_layers.py", "test_draft.py", "test_random_models.py",
)  # fmt: skip
if BACKEND != "tensorflow":
    folder = Path(__file__).parent
    collect_ignore = [str(p) for p in folder.rglob("test_*.py") if p.name not in ON_ANY_BACKEND]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the models of the zoo that one Keras, or one backend, cannot have."""
    from support.model_zoo import ZOO

    def possible(item: pytest.Item) -> bool:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        trap = ZOO.get(given.get("name", ""))
        only = trap.only if trap else None
        return only in (None, given.get("K")) and (trap is None or BACKEND in trap.backends)

    config.hook.pytest_deselected(items=[item for item in items if not possible(item)])
    items[:] = [item for item in items if possible(item)]


@pytest.fixture(params=KERASES)
def K(request: pytest.FixtureRequest) -> Iterator[Any]:  # noqa: N802 (as Keras itself is abbreviated)
    """Each Keras in turn, imported on demand; automatic names start anew after each test."""
    module = importlib.import_module(request.param)
    module.utils.set_random_seed(7)
    yield module
    module.backend.clear_session(**({"free_memory": False} if request.param == "keras" else {}))
