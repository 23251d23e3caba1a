"""What makes a copied graph its owner's model again: the class, attributes of the user's own, and compile state."""

from __future__ import annotations

import dis
import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.copying.deep_copy import LayerCopier, Uncopyable
from keras_downswap.dialects.copying.introspection import FRAMEWORKS


def restore_class_and_attributes(
    dialect: Dialect, new: Any, old: Any, copier: LayerCopier
) -> Iterator[str]:
    """Give a new model the class of the old one, where that can be, and the attributes that its user gave it.

    Yields:
        What could not be carried over.
    """
    cls: type = type(old)
    if not (
        dialect.is_stock(cls)
        or _constructor_is_stock(dialect, cls)
        or dialect.has_functional_constructor(cls)
    ):
        yield (
            f"{cls.__name__} '{old.name}' comes back as a plain functional model: the constructor of its class would "
            "build the original anew whenever the new model is loaded"
        )
        return
    if type(new) is not cls:
        new.__class__ = cls
    for key, value in vars(old).items():
        if key in vars(new) or key in _set_by_frameworks(cls) or key.startswith("_self_"):
            continue
        try:
            with copier.all_or_nothing():
                setattr(new, key, copier.copy(value))
        except Uncopyable as obstacle:
            yield f"{cls.__name__} '{old.name}' loses its attribute '{key}': {obstacle}"


def recompile(dialect: Dialect, old: Any, new: Any) -> tuple[list[str], list[str]]:
    """Compile a new model like the old one.

    Returns:
        What the user may know of it, and what was lost; both empty where the old one was not
        compiled.
    """
    if not dialect.is_compiled(old):
        return [], []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            new.compile_from_config(old.get_compile_config())
    except Exception as error:  # noqa: BLE001 (losses and metrics may be anything)
        return [], [
            f"the new model is not compiled, since the original's compile arguments do not rebuild: {error}"
        ]
    if not dialect.is_compiled(new):
        return [], [
            "the new model is not compiled, since its class has a `compile` of its own: call that again"
        ]
    return ["the new model is compiled like the original, with a fresh optimizer state"], []


def _constructor_is_stock(dialect: Dialect, cls: type) -> bool:
    return dialect.is_stock(next(base for base in cls.__mro__ if "__init__" in vars(base)))


@cache
def _set_by_frameworks(cls: type) -> frozenset[str]:
    """Return the attributes that the frameworks' own code stores on a model; all others are the user's."""
    functions = [
        inspect.unwrap(getattr(value, "fset", None) or value)
        for base in cls.__mro__
        if base.__module__.startswith(FRAMEWORKS)
        for value in vars(base).values()
        if callable(value) or isinstance(value, property)
    ]
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    return frozenset(
        step.argval
        for code in codes
        for step in dis.get_instructions(code)
        if step.opname == "STORE_ATTR"
    )
