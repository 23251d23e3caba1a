"""At the first use of a Keras its version is compared, and each private name looked for."""

from __future__ import annotations

import importlib
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_downswap import swap_downsampling
from keras_downswap.dialects import compatibility, installed, read_model
from keras_downswap.dialects.compatibility import (
    KNOWN,
    check,
    check_once,
    find,
    is_needed,
    is_present,
)
from keras_downswap.dialects.copying import introspection
from keras_downswap.dialects.library import library
from keras_downswap.dialects.private_names import TABLE, PrivateName
from keras_downswap.errors import DownswapError, UnsupportedKeras, UntestedVersion

try:
    import tomllib
except ImportError:
    import tomli as tomllib

NAMES = [(root, private) for root, names in TABLE.items() for private in names]
IDS = [f"{root}.{private}" for root, private in NAMES]


def object_at(path: str) -> Any:
    """Return what a path of modules and attributes leads to."""
    return compatibility._resolve(path)


def functions_of(owner: Any) -> Iterator[types.FunctionType]:
    """Yield every function of a class, its bases' too, or of a module."""
    for base in getattr(owner, "__mro__", (owner,)):
        for value in list(vars(base).values()):
            yield from introspection._functions_of(value)


def renamed(code: types.CodeType, name: str) -> types.CodeType:
    """Return code that says another name wherever it says this one."""

    def other(value: Any) -> Any:
        if isinstance(value, types.CodeType):
            return renamed(value, name)
        return "_moved_away" if value == name and isinstance(value, str) else value

    names = tuple(map(other, code.co_names))
    return code.replace(co_names=names, co_consts=tuple(map(other, code.co_consts)))


def move_away(patch: pytest.MonkeyPatch, root: str, private: PrivateName) -> None:
    """Take a private name out of an installed framework, as its next version may."""
    if not private.owner:
        holder, _, name = f"{root}.{private.name}".rpartition(".")
        patch.delattr(object_at(holder), name)
        return
    owner = object_at(f"{root}.{private.owner}")
    for base in getattr(owner, "__mro__", (owner,)):
        if private.name in vars(base):
            patch.setattr(base, "_moved_away", vars(base)[private.name], raising=False)
            patch.delattr(base, private.name)
    for function in set(functions_of(owner)):
        code = renamed(function.__code__, private.name)
        if code != function.__code__:
            patch.setattr(function, "__code__", code)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the three frameworks, and forget what was found in them before."""
    for root in TABLE:
        importlib.import_module(root)
    find.cache_clear()


def forget_checks() -> None:
    """Make the next use of a Keras its first one."""
    check_once.cache_clear()
    installed._dialect.cache_clear()


def new_version(patch: pytest.MonkeyPatch, root: str, version: str) -> None:
    patch.setattr(sys.modules[root], "__version__", version)


@pytest.mark.parametrize(("root", "private"), NAMES, ids=IDS)
def test_a_name_that_moved_away_is_named_with_what_it_is_for(
    root: str, private: PrivateName
) -> None:
    version = sys.modules[root].__version__
    with pytest.MonkeyPatch.context() as patch:
        move_away(patch, root, private)
        with pytest.raises(UnsupportedKeras) as caught:
            check(root)
    package = KNOWN[root].package
    assert f"{package} {version} is installed, which lacks '{root}." in str(caught.value)
    assert f"tested with {KNOWN[root]}" in str(caught.value)
    assert f"pip install '{package}>=" in str(caught.value)
    # An object that others belong to is missed first, and says the same.
    assert f"'{root}.{private}'; it is needed {private.purpose}." in str(caught.value)


@pytest.mark.parametrize(("root", "private"), NAMES, ids=IDS)
def test_every_name_is_there_in_the_installed_version(root: str, private: PrivateName) -> None:
    assert is_present(root, private)


@pytest.mark.parametrize("root", TABLE)
@pytest.mark.parametrize("version", ["2.17.3", "3.99.0", "2.99.0rc1", "4.0.0-dev20300101"])
def test_an_unknown_version_with_everything_in_place_is_a_warning(
    root: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_version(monkeypatch, root, version)
    with pytest.warns(UntestedVersion) as caught:
        check(root)
    (warning,) = caught
    package = KNOWN[root].package
    assert str(warning.message).startswith(f"{package} {version} is installed")
    assert str(KNOWN[root]) in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("root", TABLE)
def test_a_known_version_says_nothing(root: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(root)


def test_a_model_of_an_unknown_version_is_swapped_with_one_warning(
    K: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = K.Sequential([K.Input((8, 8, 1)), K.layers.Conv2D(2, 3), K.layers.MaxPooling2D()])
    new_version(monkeypatch, K.__name__, "9.1.0")
    forget_checks()
    try:
        with pytest.warns(UntestedVersion, match=r"9\.1\.0 is installed") as caught:
            swap_downsampling(model)
        swap_downsampling(model)
        assert [warning.filename for warning in caught] == [__file__]
    finally:
        forget_checks()


def test_loading_a_file_is_a_first_use_too(K: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    new_version(monkeypatch, K.__name__, "9.1.0")
    forget_checks()
    try:
        with pytest.warns(UntestedVersion, match=r"9\.1\.0 is installed"):
            library(K.__name__)
        library(K.__name__)
    finally:
        forget_checks()


def test_a_model_of_a_keras_that_lacks_a_name_is_an_error_of_this_package(K: Any) -> None:
    model = K.Sequential([K.Input((8, 8, 1)), K.layers.MaxPooling2D()])
    node = "src.engine.node.Node" if K.__name__ == "tf_keras" else "src.ops.node.Node"
    forget_checks()
    with pytest.MonkeyPatch.context() as patch:
        move_away(patch, K.__name__, PrivateName(node, ""))
        for _ in range(2):
            with pytest.raises(DownswapError, match=f"lacks '{K.__name__}.{node}'"):
                read_model(model)
    read_model(model)


def test_what_is_found_late_is_an_error_of_this_package_too() -> None:
    path = "python.ops.lookup_ops.MutableHashTable"
    with pytest.MonkeyPatch.context() as patch:
        move_away(patch, "tensorflow", PrivateName(path, ""))
        with pytest.raises(UnsupportedKeras, match="to copy lookup tables"):
            find("tensorflow", path)


@pytest.mark.parametrize(
    ("since", "until", "version", "needed"),
    [
        ("", "", (1, 0), True),
        ("", "", (9, 9), True),
        ("3.10", "", (3, 9), False),
        ("3.10", "", (3, 10), True),
        ("3.10", "", (9, 9), True),
        ("", "3.10", (3, 10), True),
        ("", "3.10", (3, 11), False),
        ("", "3.10", (1, 0), True),
    ],
)
def test_a_name_is_needed_in_the_versions_that_have_it(
    since: str, until: str, version: tuple[int, int], needed: bool
) -> None:
    private = PrivateName("name", "to see", since=since, until=until)
    assert is_needed(private, version, KNOWN["keras"]) is needed


def test_the_known_versions_are_those_that_the_package_requires() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    wanted = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    for known in KNOWN.values():
        assert known.requirement.strip("'") in wanted


def test_the_sentences_name_no_python_internals() -> None:
    for root, private in NAMES:
        sentence = compatibility._missing(root, private)
        assert not re.search(r"KeyError|AttributeError|<class|object at", sentence)
