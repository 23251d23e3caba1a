"""The table of private names is what the package uses: no name more, no name less."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import keras_downswap
from keras_downswap.dialects.private_names import PREFIXES, TABLE

PACKAGE = Path(keras_downswap.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "private_names.py"]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}
PRIVATE = re.compile(r"_[A-Za-z]\w*")
MODULE = re.compile(r"((tf_keras|keras)\.)?src\.\w[\w.]*|(tensorflow\.)?python\.\w[\w.]*")

WRITTEN_INTO_FILES = frozenset(
    {
        "keras.src.activations.activations",
        "tensorflow.python.ops.init_ops_v2",
    }
)
"""Paths that stand in saved configurations; nothing is looked up under them."""

OF_PYTHON = frozenset({"_fields"})
"""Names with an underscore that Python documents."""

LISTED = {
    part
    for names in TABLE.values()
    for private in names
    for part in (private.name, private.name.rpartition(".")[2], private.owner)
}


def is_own(node: ast.Attribute) -> bool:
    """Tell whether an attribute is one of this package's classes."""
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def own_names() -> set[str]:
    """Return every private name that the package defines."""
    found: set[str] = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif (
                isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node)
            ):
                found.add(node.attr)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


OWN = own_names()


def private_names_in(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each private name of a framework that a file uses, and the line."""
    knows_frameworks = path.relative_to(PACKAGE).parts[0] == "dialects"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            # Outside `dialects` a private name may be that of another object of the package.
            own = is_own(node) or not knows_frameworks
            if not (own and node.attr in OWN):
                yield node.attr, node.lineno
        elif not knows_frameworks:
            continue
        elif isinstance(node, ast.keyword) and node.arg and PRIVATE.fullmatch(node.arg):
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = PRIVATE.fullmatch(node.value) or MODULE.fullmatch(node.value)
            if named:
                yield node.value, node.lineno


def strings_in(path: Path) -> set[str]:
    """Return every string of a file."""
    constants = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.Constant))
    return {node.value for node in constants if isinstance(node.value, str)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_private_name_that_is_used_is_in_the_table(path: Path) -> None:
    known = LISTED | set(PREFIXES) | WRITTEN_INTO_FILES | OF_PYTHON
    missing = [
        f"{name} in line {line}" for name, line in private_names_in(path) if name not in known
    ]
    assert not missing


def test_every_name_in_the_table_is_used() -> None:
    used = {name for path in FILES for name, _ in private_names_in(path)}
    used |= set().union(*map(strings_in, FILES))
    # What belongs to a private class may be without an underscore.
    for path in (PACKAGE / "dialects").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for root, names in TABLE.items():
        for private in names:
            is_owner = any(other.owner == private.name for other in names)
            assert private.name in used or is_owner, f"{root}.{private}"


def test_every_prefix_in_the_table_is_used() -> None:
    used = set().union(*map(strings_in, FILES))
    assert set(PREFIXES) <= used


@pytest.mark.parametrize("root", TABLE)
def test_each_name_is_listed_once_and_says_what_it_is_for(root: str) -> None:
    listed = [(private.owner, private.name) for private in TABLE[root]]
    assert len(set(listed)) == len(listed)
    for private in TABLE[root]:
        assert private.purpose.startswith("to "), private
        assert not private.purpose.endswith("."), private


def test_a_name_that_is_not_in_the_table_would_be_found() -> None:
    tree = ast.parse("layer._secret = getattr(node, '_hidden'); self._mine = private('src.moved')")
    path = PACKAGE / "dialects" / "made_up.py"
    TREES[path] = tree
    try:
        found = {name for name, _ in private_names_in(path)}
    finally:
        del TREES[path]
    assert {"_secret", "_hidden", "src.moved"} <= found
