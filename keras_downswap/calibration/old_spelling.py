"""The former spelling of `calibrate`, which distinguished the two models by position only."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

FORMER_POSITIONS = (
    "model",
    "data",
    "method",
    "scope",
    "seed",
    "steps",
    "budget",
    "verbose",
)
"""The parameters of `calibrate` after the first, as they could once be given by position."""


def accepts_old_spelling(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function with the parameters of `calibrate` still be called in its former spelling.

    `calibrate(new, model, data)`, or with `model` by name, works, with a DeprecationWarning that
    says which of the two models is changed.
    """

    @functools.wraps(function)
    def wrapper(new: Any, *positional: Any, **named: Any) -> Any:
        # What does not fit is left to Python: it raises TypeError with its usual words.
        fits = len(positional) <= len(FORMER_POSITIONS)
        if not fits or not (positional or "model" in named):
            return function(new, *positional, **named)
        arguments = dict(zip(FORMER_POSITIONS, positional, strict=False))
        twice = sorted(arguments.keys() & named.keys())
        if twice:
            raise TypeError(f"calibrate() got multiple values for argument '{twice[0]}'")
        arguments.update(named)
        if "model" in arguments:
            if "original" in arguments:
                raise TypeError("calibrate() got both 'original' and 'model', its former name")
            arguments["original"] = arguments.pop("model")
        warnings.warn(_advice(new, arguments), DeprecationWarning, stacklevel=2)
        return function(new, **arguments)

    return cast("Callable[P, R]", wrapper)


def _advice(new: Any, arguments: dict[str, Any]) -> str:
    """Say which model is changed, which is not, and what to write instead."""
    changed = _name_of(new)
    unchanged = _name_of(arguments.get("original"))
    options = [f"{name}={name}" for name in arguments if name not in ("original", "data")]
    spelling = ", ".join(["new", "original=original", "data=data", *options])
    return (
        "the original and the data of calibrate are given by name now: "
        f"this call changes the first model, {changed}, and leaves the second, {unchanged}, "
        f"as it is. If that is what you want, write calibrate({spelling})"
    )


def _name_of(model: Any) -> str:
    name = getattr(model, "name", None)
    return f"a {type(model).__name__}" if name is None else f"'{name}'"
