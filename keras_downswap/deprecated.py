"""Older spellings of arguments: they keep working, and say what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from keras_downswap.errors import BadRequest, warn_caller

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def accepts_older_spellings(
    function: Callable[Arguments, Result],
) -> Callable[Arguments, Result]:
    """Let a function of a model also accept `to` by position, `kernel=...` and `method="wide"`."""

    @wraps(function)
    def call(model: Any, *positional: Any, **options: Any) -> Any:
        options = _with_named_target(function.__name__, positional, options)
        options = _with_one_form(options)
        return cast(Callable[..., Any], function)(model, **options)

    # Whoever checks types is to see the newer spellings alone.
    return cast(Callable[Arguments, Result], call)


def _with_named_target(
    function: str, positional: tuple[Any, ...], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options with the target that was given by position."""
    if not positional:
        return dict(options)
    if len(positional) > 1 or "to" in options:
        raise TypeError(
            f"{function}() accepts one positional argument, the model: give all others by name, "
            f"as in {function}(model, to='max_pool', method='exact')"
        )
    target = positional[0]
    _deprecate(f"{function}(model, {target!r})", f"{function}(model, to={target!r})")
    return {"to": target, **options}


def _with_one_form(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with `form` in the place of its two older spellings.

    Raises:
        BadRequest: If two spellings ask for different forms.
    """
    forms: dict[str, str] = {}
    if "kernel" in options:
        kernel = options.pop("kernel")
        forms[f"kernel={kernel!r}"] = kernel
    if options.get("method") == "wide":
        del options["method"]
        forms["method='wide'"] = "wide"
        # `kernel="same"` was the default: beside method='wide' it asked for nothing.
        forms.pop("kernel='same'", None)
    for spelling, form in forms.items():
        _deprecate(spelling, f"form={form!r}")

    if "form" in options:
        form = options["form"]
        forms[f"form={form!r}"] = form
    if len(set(forms.values())) > 1:
        spellings = " and ".join(forms)
        raise BadRequest(f"{spellings} ask for different forms: give form= alone")
    for form in forms.values():
        options["form"] = form
    return options


def _deprecate(older: str, newer: str) -> None:
    warn_caller(DeprecationWarning(f"{older} is deprecated: write {newer} instead"))
