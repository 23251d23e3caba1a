"""docs/rules.md and docs/architectures.md say what the code does today, to the letter; errors are
bounds.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from keras_downswap.rules import all_rules

DOCS = Path(__file__).resolve().parents[2] / "docs"
ERROR = re.compile(r"(0|< 1e-(?P<power>\d+)) in (?P<dtype>float\d\d)")


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_page(shown: str, made: str) -> None:
    """Two pages are the same but for errors, of which none is ten times as large as shown."""
    assert ERROR.sub("ERROR", shown) == ERROR.sub("ERROR", made)
    for a, b in zip(ERROR.finditer(shown), ERROR.finditer(made), strict=True):
        smallest = {"float32": 7, "float64": 15}[a["dtype"]]
        powers = [int(found["power"] or smallest) for found in (a, b)]
        assert powers[1] >= min(powers[0], smallest) - 1, f"{b[0]} where the page shows {a[0]}"


def test_the_page_is_what_the_rules_do() -> None:
    assert_same_page((DOCS / "rules.md").read_text("utf-8"), script("rules").page())


def test_every_rule_has_its_section() -> None:
    page = (DOCS / "rules.md").read_text("utf-8")
    own = {rule.name for rule in all_rules() if rule.apply.__module__.startswith("keras_downswap.")}
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == own


def test_exact_rules_err_by_rounding_alone() -> None:
    for found in ERROR.finditer((DOCS / "rules.md").read_text("utf-8")):
        assert int(found["power"] or 99) >= {"float32": 5, "float64": 13}[found["dtype"]]


def test_the_page_of_architectures_is_what_the_targets_find() -> None:
    shown = (DOCS / "architectures.md").read_text("utf-8")
    page = script("architectures")
    assert shown.startswith(page.HEAD)
    for name in ("SqueezeNet", "FishNet", "ResNet-D", "VGG16"):
        assert page.table(name) in shown
    assert re.findall(r"^## (.*)$", shown, re.MULTILINE) == list(page.MODELS)


@pytest.mark.parametrize("wrong", ["< 1e-4 in float32", "< 1e-6 in float64", "MACs 3"])
def test_a_page_that_differs_is_seen(wrong: str) -> None:
    shown = "MACs 2, < 1e-6 in float32, < 1e-15 in float64"
    assert_same_page(shown, shown.replace("e-6", "e-5"))
    field = re.compile(r"MACs \d" if "MACs" in wrong else rf"< 1e-\d+ in {wrong[-7:]}")
    with pytest.raises(AssertionError):
        assert_same_page(shown, field.sub(wrong, shown))
