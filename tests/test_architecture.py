"""Imports point one way, and one folder knows the Kerases, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_downswap

PACKAGE = Path(keras_downswap.__file__).parent
ORDER = [
    "errors", "ir", "checks", "rulekit", "dialects", "rules", "planning", "request", "files", "rebuilding",
    "calibration", "report", "search", "plan", "deprecated", "api", "demo", "cli", "__init__", "__main__",
]  # fmt: skip
FRAMEWORKS = {"tensorflow", "keras", "tf_keras", "jax", "torch"}


def subpackage(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    for name in imports(ast.parse(path.read_text("utf-8"))):
        parts = name.split(".")
        if parts[0] in FRAMEWORKS:
            assert subpackage(path) in ("dialects", "calibration", "rebuilding"), (
                f"{path.name} imports {name}"
            )
        if parts[0] == "keras_downswap" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= ORDER.index(subpackage(path)), (
                f"{path.name} imports {name}"
            )


def test_the_order_names_every_subpackage() -> None:
    assert {subpackage(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            statements = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
            assert statements <= 50, f"{path.name}: {node.name}"


def test_every_file_of_the_zoo_is_in_its_index() -> None:
    tests = Path(__file__).parent
    index = imports(ast.parse((tests / "support" / "model_zoo.py").read_text("utf-8")))
    assert {f"support.zoo.{path.stem}" for path in (tests / "support" / "zoo").glob("*.py")} - {
        "support.zoo.__init__"
    } <= index


def test_each_rule_file_is_named_like_its_rule_and_its_function() -> None:
    from keras_downswap.rules import all_rules

    files = {p.stem for p in (PACKAGE / "rules").glob("*.py")} - {"__init__"}
    own = [rule for rule in all_rules() if rule.apply.__module__.startswith("keras_downswap.rules")]
    assert {rule.name for rule in own} == files
    assert all(
        rule.apply.__name__ == rule.name == rule.apply.__module__.split(".")[-1] for rule in own
    )


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, keras_downswap; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not FRAMEWORKS & set(ast.literal_eval(loaded))
