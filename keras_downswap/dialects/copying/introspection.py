"""What Python objects consist of: what they hold, their slots and locks, what their code sets."""

from __future__ import annotations

import dis
import functools
import inspect
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

FRAMEWORKS = ("keras.", "tf_keras.", "tensorflow.", "jax", "torch", "numpy", "builtins")
"""Beginnings of the names of modules that no user wrote."""

LOCKS = (type(threading.Lock()), type(threading.RLock()))
HEAP_TYPE = 1 << 9
"""CPython's flag of classes made by a `class` statement."""


def is_filled(cell: types.CellType) -> bool:
    """Tell whether a closure's cell holds anything yet."""
    try:
        cell.cell_contents  # noqa: B018 (reading an empty cell raises)
    except ValueError:
        return False
    return True


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a function, method, container or ordinary object holds directly."""
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, types.MethodType):
        return (value.__func__, value.__self__)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, weakref.ref):
        return (value(),)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return ()
    # A framework's own object may lead anywhere, to its caches and registries above all: a search
    # that followed it would find layers that have nothing to do with this one.
    if type(value).__module__.startswith(FRAMEWORKS):
        return ()
    attributes: dict[str, Any] = vars(value)
    return attributes.values()


def _parts_of_function(function: types.FunctionType) -> list[Any]:
    parts = [cell.cell_contents for cell in function.__closure__ or () if is_filled(cell)]
    # The defaults of a framework's function are the framework's; those of a user's may be a layer.
    module = function.__globals__.get("__name__", "")
    if not module.startswith(FRAMEWORKS):
        parts += function.__defaults__ or ()
        parts += (function.__kwdefaults__ or {}).values()
    return parts


def is_pure(kind: type) -> bool:
    """Tell whether instances consist of a `__dict__` and slots alone, with no state in C."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return all(cls is object or cls.__flags__ & HEAP_TYPE for cls in kind.__mro__)


def pickles_ordinarily(kind: type) -> bool:
    """Tell whether a class leaves to Python how its instances are pickled and copied."""
    for method in ("__reduce_ex__", "__reduce__"):
        if getattr(kind, method) is not getattr(object, method):
            return False
    return True


def new_lock(old: Any) -> Any:
    """Return a new lock, or new thread-local data, of the old one's kind."""
    if isinstance(old, threading.local):
        return threading.local()
    return threading.Lock() if isinstance(old, LOCKS[0]) else threading.RLock()


def slots_of(kind: type) -> tuple[str, ...]:
    """Return the names of a class's slots, mangled as Python stores private ones."""
    found = []
    for cls in kind.__mro__:
        slots = vars(cls).get("__slots__", ())
        if isinstance(slots, str):
            slots = (slots,)
        for name in slots:
            is_mangled = name.startswith("__") and not name.endswith("__")
            found.append(f"_{cls.__name__.lstrip('_')}{name}" if is_mangled else name)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


def code_sets(owner: type | types.ModuleType, name: str) -> bool:
    """Tell whether the code of a class (its bases included) or of a module sets an attribute.

    A string of that name counts too, since code may set it by `setattr` or a helper of its own.
    """
    bases = owner.__mro__ if isinstance(owner, type) else (owner,)
    for base in bases:
        for value in vars(base).values():
            for function in _functions_of(value):
                if _sets(function.__code__, name):
                    return True
    return False


def _functions_of(value: Any) -> Iterator[types.FunctionType]:
    """Yield the functions that a class attribute is made of, without their decorators."""
    if isinstance(value, property):
        candidates = [value.fget, value.fset]
    elif isinstance(value, staticmethod | classmethod):
        candidates = [value.__func__]
    else:
        candidates = [value]
    for candidate in candidates:
        if isinstance(candidate, types.FunctionType):
            unwrapped = inspect.unwrap(candidate)
            if isinstance(unwrapped, types.FunctionType):
                yield unwrapped


def _sets(code: types.CodeType, name: str) -> bool:
    if name in code.co_consts:
        return True
    # `co_names` rules out most functions at once; disassembling them all would last seconds.
    if name in code.co_names:
        for step in dis.get_instructions(code):
            if step.opname == "STORE_ATTR" and step.argval == name:
                return True
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return any(_sets(part, name) for part in inner)
