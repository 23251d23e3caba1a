"""Lets a command take its options as dataclasses, of which typer sees the fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the fields of its dataclass parameters as parameters of its own.

    Args:
        command: A command; of each parameter that is a dataclass, every field has an
            `Annotated[..., typer.Option(...)]` and a default.
    """
    flat: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    signature = inspect.signature(command, eval_str=True)
    for parameter in signature.parameters.values():
        cls: Any = parameter.annotation
        if is_dataclass(cls) and isinstance(cls, type):
            groups[parameter.name] = cls
            flat.extend(_parameters_of(cls))
        else:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, cls in groups.items():
            options = [field.name for field in fields(cls)]
            given = {option: values.pop(option) for option in options}
            values[name] = cls(**given)
        command(**values)

    # Typer reads both: the signature for names and defaults, the annotations for types.
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run


def _parameters_of(cls: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    found: list[inspect.Parameter] = []
    for field in fields(cls):
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY)
        annotation = hints[field.name]
        found.append(parameter.replace(default=field.default, annotation=annotation))
    return found
