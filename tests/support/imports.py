"""What modules import, read from their syntax trees: the checks of test_architecture.py.

Each check is given source texts by their path in the package, and returns what breaks the law.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

PACKAGE = "keras_downswap"
FRAMEWORKS = ("tensorflow", "keras", "tf_keras", "jax", "torch")
LOADERS = ("import_module", "__import__")
"""Functions that import a module by its name."""

Sources = Mapping[str, str]
"""Source texts by path in the package, such as `ir/graph.py`."""


def subpackage_of(path: str) -> str:
    """Return the subpackage that a file is in, or its own name at the top of the package."""
    return PurePosixPath(path).with_suffix("").parts[0]


def module_of(path: str) -> str:
    """Return the full name of the module that a file is."""
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join((PACKAGE, *parts))


def imports_of(text: str) -> set[str]:
    """Return the full names of what a text imports, for the checker of types or not.

    Of `from a import b` both `a` and `a.b` are given: the text does not say whether b is a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module is None or node.level > 0:
                raise AssertionError("an import by a relative name, which this does not follow")
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imports_of_package(sources: Sources, importer: str, imported: str) -> list[str]:
    """Return the imports of one subpackage by files of another one, each in words."""
    found = []
    for path, text in sources.items():
        if subpackage_of(path) != importer:
            continue
        for name in sorted(imports_of(text)):
            if _is_of(name, f"{PACKAGE}.{imported}"):
                found.append(f"{path} imports {name}")
    return found


def imports_upwards(sources: Sources, levels: Sequence[Sequence[str]]) -> list[str]:
    """Return the imports that lead to the same level or to a higher one, each in words."""
    level_of: dict[str, int] = {}
    for level, names in enumerate(levels):
        level_of.update(dict.fromkeys(names, level))
    found = []
    for path, text in sources.items():
        importer = subpackage_of(path)
        for imported, level in level_of.items():
            if imported == importer or level < level_of[importer]:
                continue
            found += imports_of_package({path: text}, importer, imported)
    return found


def imports_between_rules(sources: Sources) -> list[str]:
    """Return the imports of a rule by another rule, each in words."""
    rules = {path: text for path, text in sources.items() if subpackage_of(path) == "rules"}
    return imports_of_package(rules, "rules", "rules")


def circles(sources: Sources) -> list[str]:
    """Return the modules from which imports lead back to them."""
    modules = {module_of(path): text for path, text in sources.items()}
    imported = {name: imports_of(text) & modules.keys() for name, text in modules.items()}
    return sorted(name for name in modules if name in _reachable(name, imported))


def _reachable(start: str, imported: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in imported[waiting.pop()]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def frameworks_imported(text: str) -> set[str]:
    """Return the frameworks that a text imports, in whichever way."""
    names = imports_of(text)
    for node in ast.walk(ast.parse(text)):
        names.update(_names_loaded(node))
    return {name for name in FRAMEWORKS if any(_is_of(given, name) for given in names)}


def _names_loaded(node: ast.AST) -> Iterator[str]:
    """Yield a name in `import_module("name")` and in `sys.modules["name"]`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADERS:
        key: ast.expr = node.args[0]
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "sys.modules":
        key = node.slice
    else:
        return
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield key.value


def frameworks_named(text: str) -> set[str]:
    """Return the frameworks that a text imports, or that a string in it is the name of."""
    found = frameworks_imported(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and node.value in FRAMEWORKS:
            found.add(node.value)
    return found


def modules_at_the_top(sources: Sources) -> list[str]:
    """Return the modules that are in no subpackage."""
    return [path for path in sources if "/" not in path]


def is_under(path: str, places: Collection[str]) -> bool:
    """Tell whether a path is one of some files, or in one of some folders."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def too_large(path: str, text: str, lines: int, statements: int) -> list[str]:
    """Return what in a file is longer than it may be: the file, and functions in it."""
    found = []
    if len(text.splitlines()) > lines:
        found.append(path)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            count = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
            if count > statements:
                found.append(f"{path}: {node.name}")
    return found
