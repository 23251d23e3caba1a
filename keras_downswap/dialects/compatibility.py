"""Which versions of the frameworks are known, and whether those installed have what is needed."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_downswap.dialects.copying.introspection import code_sets
from keras_downswap.dialects.private_names import TABLE, PrivateName
from keras_downswap.errors import UnsupportedKeras, UntestedVersion

Version = tuple[int, int]
"""Major and minor number: no framework here moves a name in a patch release."""


@dataclass(frozen=True)
class KnownVersions:
    """The versions of one framework with which this package is tested.

    Attributes:
        package: The name under which it is installed.
        oldest: The first of them.
        newest: The last of them.
    """

    package: str
    oldest: Version
    newest: Version

    def __contains__(self, version: Version) -> bool:
        """Tell whether a version is one of them."""
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        """Return the versions in words."""
        return f"{self.package} {_dotted(self.oldest)} to {_dotted(self.newest)}"

    @property
    def requirement(self) -> str:
        """What to install, as pip accepts it."""
        major, minor = self.newest
        return f"'{self.package}>={_dotted(self.oldest)},<{_dotted((major, minor + 1))}'"


KNOWN = {
    "tf_keras": KnownVersions("tf-keras", (2, 18), (2, 21)),
    "keras": KnownVersions("keras", (3, 6), (3, 15)),
    "tensorflow": KnownVersions("tensorflow", (2, 18), (2, 21)),
}
"""The known versions of each framework, by its root module; pyproject.toml requires the same."""


@cache
def check_once(root: str) -> None:
    """Check a Keras at its first use, and TensorFlow where it runs on it.

    An error is raised at every use; a warning is given once.

    Args:
        root: The Keras, already imported.

    Raises:
        UnsupportedKeras: If a private name is missing.

    Warns:
        UntestedVersion: If a version is not known, though everything needed is there.
    """
    if root == "tf_keras" or sys.modules[root].config.backend() == "tensorflow":
        check(root, "tensorflow")
    else:
        check(root)


def check(*roots: str) -> None:
    """Compare installed frameworks with the known versions and with the table of private names.

    Args:
        roots: The frameworks that are in use, each already imported.

    Raises:
        UnsupportedKeras: If one lacks a private name that its version should have.

    Warns:
        UntestedVersion: For each whose version is not known, though everything needed is there.
    """
    for root in roots:
        _require_private_names(root)
    for root in roots:
        if _number(installed_version(root)) not in KNOWN[root]:
            warnings.warn(_untested(root), UntestedVersion, stacklevel=_frames_to_caller())


@cache
def find(root: str, path: str) -> Any:
    """Return the object that a path of the table names.

    Args:
        root: The framework, one of `TABLE`.
        path: A path that the table lists for it.

    Raises:
        KeyError: If the table does not list the path, which is a mistake of this package.
        UnsupportedKeras: If the installed framework has no such object.
    """
    listed = {private.name: private for private in TABLE[root] if not private.owner}
    private = listed[path]
    try:
        return _resolve(f"{root}.{path}")
    except (ImportError, AttributeError) as error:
        raise UnsupportedKeras(_missing(root, private)) from error


def is_present(root: str, private: PrivateName) -> bool:
    """Tell whether the installed framework has a private name.

    An attribute that only instances have is looked for in the code of its owner, which sets it: an
    instance would have to be made otherwise, and making one changes the numbers that a Keras puts
    into the automatic names of a user's later layers.
    """
    try:
        found = _resolve(f"{root}.{private.owner or private.name}")
    except (ImportError, AttributeError):
        return False
    if not private.owner or hasattr(found, private.name):
        return True
    return code_sets(found, private.name)


def installed_version(root: str) -> str:
    """Return the version of an imported framework, as it states it."""
    return str(sys.modules[root].__version__)


def is_needed(private: PrivateName, version: Version, known: KnownVersions) -> bool:
    """Tell whether a version should have a private name.

    One that the oldest known version has is expected of older ones too, and one that the newest
    known version has, of newer ones.
    """
    since = _number(private.since) if private.since else min(version, known.oldest)
    until = _number(private.until) if private.until else max(version, known.newest)
    return since <= version <= until


def _require_private_names(root: str) -> None:
    version = _number(installed_version(root))
    known = KNOWN[root]
    for private in TABLE[root]:
        if is_needed(private, version, known) and not is_present(root, private):
            raise UnsupportedKeras(_missing(root, private))


def _missing(root: str, private: PrivateName) -> str:
    known = KNOWN[root]
    return (
        f"{known.package} {installed_version(root)} is installed, which lacks '{root}.{private}'; "
        f"it is needed {private.purpose}. This package is tested with {known}: "
        f"install one of these, as by pip install {known.requirement}."
    )


def _untested(root: str) -> str:
    known = KNOWN[root]
    return (
        f"{known.package} {installed_version(root)} is installed, and this package is tested with "
        f"{known}. Every private name that is needed is there, so it goes on; should it fail, "
        f"install one of these, as by pip install {known.requirement}."
    )


def _number(version: str) -> Version:
    """Return the major and minor number of a version such as "3.15.1" or "2.22.0rc1"."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _frames_to_caller() -> int:
    """Return the `stacklevel` at which the caller's caller warns: the first frame outside."""
    package = str(Path(__file__).parents[1])
    frame = inspect.currentframe()
    level = 0
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
        level += 1
    return level


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _resolve(path: str) -> Any:
    """Follow a path through modules, then through attributes."""
    head, *rest = path.split(".")
    found: Any = importlib.import_module(head)
    at = head
    for part in rest:
        at = f"{at}.{part}"
        # A package may have a function or class of the name of its module: what was assigned
        # wins, as it does in an import statement; a module is imported only where nothing is.
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = importlib.import_module(at)
        else:
            found = getattr(found, part)
    return found
