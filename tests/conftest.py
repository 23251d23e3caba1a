"""Shared by all tests: quiet TensorFlow, both Kerases, Hypothesis profiles, what is quick."""

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

TESTS = Path(__file__).parent
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
KERASES = ["tf_keras", "keras"] if BACKEND == "tensorflow" else ["keras"]
ON_ANY_BACKEND = (
    "test_rewrite.py",
    "test_api.py",
    "test_shared_layers.py",
    "test_draft.py",
    "test_random_models.py",
)
if BACKEND != "tensorflow":
    collect_ignore = [str(p) for p in TESTS.rglob("test_*.py") if p.name not in ON_ANY_BACKEND]

LONGEST = "test_random_models.py"
LONG = (
    LONGEST,
    "test_applications.py",
    "test_depth.py",
    "test_docs.py",
    "test_grid.py",
    "test_grid_pool_first.py",
    "test_real_models.py",
    "test_rules_page.py",
)
"""Files of which even the first case takes seconds: no quick run has them."""
PLAIN = ("ir", "planning", "rulekit", "rules", "test_architecture.py")
"""Folders and files whose tests are quick, all that need no Keras."""
QUICK_MODEL = "conv_norm_relu_max"
"""The model of the zoo that stands for all of them in a quick run, under every law."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what one Keras or backend cannot have, put the cases of a model together, mark."""
    from support.model_zoo import ZOO

    def possible(item: pytest.Item) -> bool:
        given = _given_to(item)
        trap = ZOO.get(given.get("name", ""))
        only = trap.only if trap else None
        return only in (None, given.get("K")) and (trap is None or BACKEND in trap.backends)

    config.hook.pytest_deselected(items=[item for item in items if not possible(item)])
    items[:] = [item for item in items if possible(item)]
    places = {name: place for place, name in enumerate(ZOO)}
    items.sort(key=lambda item: _turn(item, places))
    for item in _quick(items):
        item.add_marker("quick")


def _given_to(item: pytest.Item) -> dict[str, Any]:
    """Return the parameters of a test."""
    return item.callspec.params if hasattr(item, "callspec") else {}


def _turn(item: pytest.Item, places: dict[str, int]) -> tuple[int, int, str]:
    """Return the turn of a test: long ones first, then as collected, the zoo model by model."""
    given = _given_to(item)
    if given.get("name") in places and "K" in given:
        return 2, places[given["name"]], given["K"]
    return (0 if item.path.name == LONGEST else 1), 0, ""


def _quick(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what a quick run has: all plain tests, one model under each law, a case a file."""
    quick, begun = [], set()
    for item in items:
        if item.path.name in LONG:
            continue
        given = _given_to(item)
        plain = item.path.relative_to(TESTS).parts[0] in PLAIN and "K" not in given
        first = item.path not in begun
        begun.add(item.path)
        if plain or first or given.get("name") == QUICK_MODEL:
            quick.append(item)
    return quick


@pytest.fixture(params=KERASES)
def K(request: pytest.FixtureRequest) -> Iterator[Any]:  # noqa: N802 (as Keras is abbreviated)
    """Each Keras in turn, imported on demand; automatic names start anew after each test."""
    module = importlib.import_module(request.param)
    module.utils.set_random_seed(7)
    yield module
    module.backend.clear_session(**({"free_memory": False} if request.param == "keras" else {}))
