"""Restores what a copied graph lacks of its model: class, the user's attributes, compile state."""

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
    """Give a new model the class of the old one, where that can be, and its user's attributes.

    Yields:
        What could not be carried over.
    """
    cls: type = type(old)
    if not _class_can_load(dialect, cls):
        yield (
            f"{cls.__name__} '{old.name}' comes back as a plain functional model: the constructor "
            "of its class would build the original anew whenever the new model is loaded"
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


def _class_can_load(dialect: Dialect, cls: type) -> bool:
    """Tell whether a model of a class, once saved, is loaded with the graph that it has."""
    stock = dialect.is_stock(cls) or _constructor_is_stock(dialect, cls)
    return stock or dialect.has_functional_constructor(cls)


def _constructor_is_stock(dialect: Dialect, cls: type) -> bool:
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return dialect.is_stock(owner)


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
        reason = f"the original's compile arguments do not rebuild: {error}"
        return [], [f"the new model is not compiled, since {reason}"]
    if not dialect.is_compiled(new):
        # `compile_from_config` calls `compile` with the stock arguments, or does nothing.
        reason = "its class has a `compile` of its own: call that again"
        return [], [f"the new model is not compiled, since {reason}"]
    return ["the new model is compiled like the original, with a fresh optimizer state"], []


@cache
def _set_by_frameworks(cls: type) -> frozenset[str]:
    """Return the attributes that the frameworks' own code stores on a model.

    All others are the user's. No list of the frameworks' names would hold for every version, so
    they are read off the instructions of their methods.
    """
    names = set()
    for base in cls.__mro__:
        if not base.__module__.startswith(FRAMEWORKS):
            continue
        for value in vars(base).values():
            names |= _stored_by(value)
    return frozenset(names)


def _stored_by(value: Any) -> set[str]:
    """Return the attributes that a method, or the setter of a property, stores on anything."""
    function = value
    if isinstance(value, property) and value.fset is not None:
        function = value.fset
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return set()
    return {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"}
