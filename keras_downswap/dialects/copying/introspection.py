"""What Python objects consist of: what they hold, their slots, their locks."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Iterable
from typing import Any

FRAMEWORKS = ("keras.", "tf_keras.", "tensorflow.", "jax", "torch", "numpy", "builtins")
LOCKS = (type(threading.Lock()), type(threading.RLock()))
HEAP_TYPE = 1 << 9
"""CPython's flag of classes made by a `class` statement."""


def filled(cell: Any) -> bool:
    """Tell whether a closure's cell holds anything yet."""
    try:
        cell.cell_contents  # noqa: B018 (reading an empty cell raises)
    except ValueError:
        return False
    return True


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a function, method, container or ordinary object holds directly."""
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if filled(cell)]
        own = any(value.__globals__.get("__name__", "").startswith(root) for root in FRAMEWORKS)
        return (
            cells
            if own
            else [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        )
    if isinstance(value, types.MethodType):
        return (value.__func__, value.__self__)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, weakref.ref):
        return (value(),)
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    foreign = isinstance(value, type | types.ModuleType) or type(value).__module__.startswith(
        FRAMEWORKS
    )
    return () if foreign or not hasattr(value, "__dict__") else vars(value).values()


def is_pure(kind: type) -> bool:
    """Tell whether instances consist of a `__dict__` and slots alone, with no state in C."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return all(c is object or c.__flags__ & HEAP_TYPE for c in kind.__mro__)


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
        for name in (slots,) if isinstance(slots, str) else slots:
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{cls.__name__.lstrip('_')}{name}" if private else name)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))
