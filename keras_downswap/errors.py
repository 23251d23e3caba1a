"""Every error and warning that this package gives on purpose."""

from __future__ import annotations

import inspect
import warnings
from types import FrameType


class DownswapError(Exception):
    """Base of all errors that the package raises on purpose; its text is one sentence or more."""


class UnreadableModel(DownswapError):
    """The model has no graph that could be read (subclassed, not built, or not a Keras model)."""


class UnsupportedKeras(DownswapError):
    """The installed Keras or TensorFlow lacks a private name that this package needs."""


class BadRequest(DownswapError):
    """The call asks for something that does not exist or contradicts itself."""


class BrokenPromise(DownswapError):
    """A rewritten model failed a check; it was not returned and nothing was written."""


class FileRefused(DownswapError):
    """A file is no saved Keras model, cannot be opened, or holds code that would run."""


class BadData(BadRequest):
    """The data does not fit the model's inputs, or there is too little of it."""


class NothingSwapped(UserWarning):
    """The swap changed nothing: the model has no site that the request could swap."""


class SomethingLost(UserWarning):
    """The new model lacks something of the original that no copy could carry; see the notes.

    The report has the same sentences in its `notes`.
    """


class UntestedVersion(UserWarning):
    """An installed Keras or TensorFlow is of a version that this package is not tested with."""


def _is_of_package(frame: FrameType) -> bool:
    package, _, _ = __name__.partition(".")
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == package


def warn_caller(warning: Warning) -> None:
    """Give a warning that points at the code that calls this package, however deep it arises."""
    # A fixed depth would not do: the command line and `apply` lead here in different ways.
    frame: FrameType | None = inspect.currentframe()
    level = 1
    while frame is not None and _is_of_package(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(warning, stacklevel=level)
