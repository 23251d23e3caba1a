"""Deep copies of layers: one memo for a whole model, so that ties and sharing survive and nothing is shared with it."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keras_downswap.dialects.copying.introspection import (
    LOCKS,
    filled,
    is_pure,
    new_lock,
    parts_of,
    slots_of,
)

PLAIN = frozenset(
    {type(None), bool, int, float, str, type, types.BuiltinFunctionType, inspect.Signature}
)
"""The commonest of the types that are shared; looking here first halves the time of a copy."""

ATOMIC = (
    type(None), bool, int, float, complex, str, bytes, type, range, types.BuiltinFunctionType, types.ModuleType,
    types.EllipsisType, inspect.Signature,
)  # fmt: skip
NODES = ("_inbound_nodes", "_outbound_nodes", "_inbound_nodes_value", "_outbound_nodes_value")
COMPILED = (
    "train_function",
    "test_function",
    "predict_function",
    "train_tf_function",
    "_adapt_function",
)
RESTORING = {"_self_unconditional_deferred_dependencies": dict, "_self_name_based_restores": set}
EMPTIED: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(NODES, list),
    **dict.fromkeys(COMPILED, type(None)),
    **RESTORING,
}
"""Attributes that start anew: nodes, compiled functions, and checkpoint restorations still to come."""

TRACKED: dict[str, Callable[[Any], Any]] = {
    "_self_unconditional_checkpoint_dependencies": lambda refs: [
        ref for ref in refs if ref.name not in COMPILED
    ],
    "_self_unconditional_dependency_names": lambda refs: {
        k: v for k, v in refs.items() if k not in COMPILED
    },
}
"""Attributes that list others of the same object: compiled functions start anew in them too."""

Handler = Callable[[Any], Any] | None


class Uncopyable(Exception):
    """An attribute holds on to its layer in a way that a copy cannot follow: a tf.function or a resource."""


class LayerCopier:
    """Copies layers attribute by attribute; every object is copied once, whoever refers to it.

    Args:
        dialect: Tells layers, variables, symbolic tensors and graph models apart, and copies
            variables.
        rebuild: Returns the new model for a model that has a graph of its own.
    """

    def __init__(self, dialect: Any, rebuild: Callable[[Any], Any]) -> None:
        self.dialect = dialect
        self.rebuild = rebuild
        self.memo: dict[int, Any] = {}
        self.originals: list[Any] = []
        self.handlers: dict[type, Handler] = {}

    def register(self, old: Any, new: Any) -> Any:
        """Record that `new` stands for `old` from now on."""
        self.memo[id(old)] = new
        self.originals.append(old)
        return new

    def copy_layer(self, old: Any) -> Any:
        """Return the twin of a layer: a new object of its class, with no nodes and with variables of its own.

        Raises:
            Uncopyable: If an attribute cannot be followed; nothing is recorded for the layer then.
        """
        if id(old) in self.memo:
            return self.memo[id(old)]
        if self.dialect.has_graph(old):
            return self.register(old, self.rebuild(old))
        with self.all_or_nothing():
            new = self.register(old, object.__new__(type(old)))
            try:
                for key, value in vars(old).items():
                    if key in EMPTIED:
                        new.__dict__[key] = EMPTIED[key]()
                    elif key in TRACKED:
                        new.__dict__[key] = self.copy(TRACKED[key](value))
                    else:
                        new.__dict__[key] = value if type(value) in PLAIN else self.copy(value)
            except Uncopyable:
                raise
            except Exception as error:
                raise Uncopyable(
                    f"{type(old).__name__} '{old.name}' cannot be copied: {error}"
                ) from error
        return new

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Forget every copy that was begun inside, should it fail: a half-made copy must not be found later."""
        before = len(self.originals)
        try:
            yield
        except Exception:
            for forgotten in self.originals[before:]:
                self.memo.pop(id(forgotten), None)
            raise

    def copy(self, old: Any) -> Any:
        """Return the copy of any attribute value."""
        kind = type(old)
        if kind not in self.handlers:
            self.handlers[kind] = self._handler(old)
        handler = self.handlers[kind]
        if handler is None:
            return old
        return self.memo[id(old)] if id(old) in self.memo else handler(old)

    def _handler(self, old: Any) -> Handler:
        """Choose how values of one type are copied; None shares them."""
        dialect = self.dialect
        if isinstance(old, ATOMIC) or dialect.is_constant(old):
            return None
        if dialect.is_tensor(old):
            return lambda v: self.register(v, dialect.unconnected_tensor(v))
        if dialect.is_variable(old):
            return lambda v: self.register(v, dialect.copy_variable(v, self))
        if dialect.is_layer(old):
            return self.copy_layer
        if isinstance(old, types.MethodType):
            return lambda m: types.MethodType(self.copy(m.__func__), self.copy(m.__self__))
        if isinstance(old, functools.partial):
            return lambda p: functools.partial(
                self.copy(p.func), *self.copy(p.args), **self.copy(p.keywords)
            )
        if isinstance(old, types.FunctionType):
            return self._function
        if isinstance(old, weakref.ref):
            return lambda r: self.register(r, r if r() is None else weakref.ref(self.copy(r())))
        if isinstance(old, (threading.local, *LOCKS)):
            return lambda v: self.register(v, new_lock(v))
        return dialect.special_handler(old, self) or self._plain_handler(old)

    def _plain_handler(self, old: Any) -> Handler:
        if isinstance(old, tuple) and hasattr(old, "_fields"):
            return lambda v: self.register(v, type(v)(*map(self.copy, v)))
        if type(old) in (tuple, set, frozenset):
            return lambda v: self.register(v, type(v)(self.all(v)))
        if type(old) is list:
            return self._list
        if isinstance(old, dict) and type(old).__module__ in ("builtins", "collections"):
            return self._dict
        ordinary = all(
            getattr(type(old), name) is getattr(object, name)
            for name in ("__reduce_ex__", "__reduce__")
        )
        slots = slots_of(type(old))
        return (
            (lambda v: self._object(v, slots)) if ordinary and is_pure(type(old)) else self._foreign
        )

    def _list(self, old: list[Any]) -> Any:
        new = self.register(old, [])
        new.extend(self.all(old))
        return new

    def all(self, values: Iterable[Any]) -> list[Any]:
        """Return the copies of several values."""
        return [value if type(value) in PLAIN else self.copy(value) for value in values]

    def items(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the copies of a mapping's keys and values, in a plain dict."""
        return {
            key if type(key) in PLAIN else self.copy(key): value
            if type(value) in PLAIN
            else self.copy(value)
            for key, value in values.items()
        }

    def _dict(self, old: dict[Any, Any]) -> Any:
        new = self.register(old, {} if type(old) is dict else copy.copy(old))
        new.clear()
        new.update(self.items(old))
        return new

    def _function(self, old: types.FunctionType) -> Any:
        """Share a function, unless it holds on to a part of the model: then give a copy of it the copy's parts."""
        if not (old.__closure__ or old.__defaults__ or old.__kwdefaults__) or not self._holds(
            old, set()
        ):
            return old
        cells = (
            None if old.__closure__ is None else tuple(types.CellType() for _ in old.__closure__)
        )
        new = types.FunctionType(old.__code__, old.__globals__, old.__name__, None, cells)
        self.register(old, new)
        for cell, held in zip(cells or (), old.__closure__ or (), strict=True):
            if filled(held):
                cell.cell_contents = self.copy(held.cell_contents)
        new.__defaults__, new.__kwdefaults__ = (
            self.copy(old.__defaults__),
            self.copy(old.__kwdefaults__),
        )
        new.__qualname__, new.__module__, new.__doc__ = (
            old.__qualname__,
            old.__module__,
            old.__doc__,
        )
        new.__dict__.update(self.items(vars(old)))
        return new

    def _holds(self, value: Any, seen: set[int]) -> bool:
        """Tell whether a layer or a variable can be reached from what a function closes over."""
        if type(value) in PLAIN or id(value) in seen:
            return False
        seen.add(id(value))
        if self.dialect.is_variable(value) or self.dialect.is_layer(value):
            return True
        return any(self._holds(part, seen) for part in parts_of(value))

    def _object(self, old: Any, slots: tuple[str, ...]) -> Any:
        new = self.register(old, object.__new__(type(old)))
        for slot in slots:
            if hasattr(old, slot):
                object.__setattr__(new, slot, self.copy(getattr(old, slot)))
        if hasattr(old, "__dict__"):
            new.__dict__.update(self.items(vars(old)))
        return new

    def _foreign(self, old: Any) -> Any:
        try:
            return self.register(old, copy.deepcopy(old))
        except Exception as error:
            raise Uncopyable(
                f"an attribute of type {type(old).__name__} cannot be copied"
            ) from error
