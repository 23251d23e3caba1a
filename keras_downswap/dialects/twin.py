"""Deep copies of layers: one memo for a whole model, so that ties and sharing survive and nothing is shared with it."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import types
from collections.abc import Callable
from typing import Any

ATOMIC = (
    type(None), bool, int, float, complex, str, bytes, type, range, types.BuiltinFunctionType, types.ModuleType,
    types.EllipsisType, inspect.Signature,
)  # fmt: skip
NODES = frozenset({"_inbound_nodes", "_outbound_nodes", "_inbound_nodes_value", "_outbound_nodes_value"})
LOCKS = (type(threading.Lock()), type(threading.RLock()))
COMPILED = frozenset({"train_function", "test_function", "predict_function", "train_tf_function"})


class Uncopyable(Exception):
    """An attribute holds on to its layer in a way that a copy cannot follow: a tf.function, a closure, a resource."""


class Twins:
    """Copies layers attribute by attribute; every object is copied once, whoever refers to it.

    Args:
        dialect: Tells layers, variables, symbolic tensors and graph models apart, and copies variables.
        rebuild: Returns the new model for a model that has a graph of its own.
    """

    def __init__(self, dialect: Any, rebuild: Callable[[Any], Any]) -> None:
        self.dialect = dialect
        self.rebuild = rebuild
        self.memo: dict[int, Any] = {}
        self.originals: list[Any] = []

    def note(self, old: Any, new: Any) -> Any:
        """Record that `new` stands for `old` from now on."""
        self.memo[id(old)] = new
        self.originals.append(old)
        return new

    def layer(self, old: Any) -> Any:
        """Return the twin of a layer: a new object of its class, with no nodes and with variables of its own.

        Raises:
            Uncopyable: If an attribute cannot be followed; nothing is recorded for the layer then.
        """
        if id(old) in self.memo:
            return self.memo[id(old)]
        if self.dialect.has_graph(old):
            return self.note(old, self.rebuild(old))
        new = self.note(old, object.__new__(type(old)))
        before = len(self.originals)
        try:
            for key, value in vars(old).items():
                if key in NODES:
                    new.__dict__[key] = []
                elif key in COMPILED:
                    new.__dict__[key] = None
                else:
                    new.__dict__[key] = value if isinstance(value, ATOMIC) else self.copy(value)
        except Uncopyable:
            for forgotten in (old, *self.originals[before:]):
                self.memo.pop(id(forgotten), None)
            raise
        return new

    def copy(self, old: Any) -> Any:
        """Return the copy of any attribute value."""
        if isinstance(old, ATOMIC):
            return old
        if id(old) in self.memo:
            return self.memo[id(old)]
        if self.dialect.is_variable(old):
            return self.note(old, self.dialect.copy_variable(old, self))
        if self.dialect.is_layer(old):
            return self.layer(old)
        if self.dialect.is_tensor(old) or self.dialect.is_constant(old):
            return old
        if isinstance(old, dict | list | tuple | set | frozenset) and type(old).__module__ in ("builtins", "collections"):
            return self._container(old)
        if isinstance(old, types.FunctionType | types.MethodType | functools.partial):
            return self._callable(old)
        if isinstance(old, threading.local):
            return self.note(old, threading.local())
        if isinstance(old, LOCKS):
            return self.note(old, threading.Lock() if isinstance(old, LOCKS[0]) else threading.RLock())
        return self._object(old)

    def _container(self, old: Any) -> Any:
        if isinstance(old, dict):
            new = self.note(old, copy.copy(old))
            new.clear()
            new.update((self.copy(k), self.copy(v)) for k, v in old.items())
            return new
        if isinstance(old, list):
            new = self.note(old, [])
            new.extend(self.copy(v) for v in old)
            return new
        items = [self.copy(v) for v in old]
        if isinstance(old, tuple) and hasattr(old, "_fields"):
            return self.note(old, type(old)(*items))
        return self.note(old, type(old)(items))

    def _callable(self, old: Any) -> Any:
        if isinstance(old, types.MethodType):
            return types.MethodType(old.__func__, self.copy(old.__self__))
        if isinstance(old, functools.partial):
            return functools.partial(self.copy(old.func), *self.copy(old.args), **self.copy(old.keywords))
        held = [_held(cell) for cell in old.__closure__ or ()]
        if not any(self._owned(value) for value in held):
            return old
        cells = tuple(types.CellType() for _ in held)
        new = types.FunctionType(old.__code__, old.__globals__, old.__name__, old.__defaults__, cells)
        self.note(old, new)
        for cell, value in zip(cells, held, strict=True):
            cell.cell_contents = self.copy(value)
        new.__kwdefaults__ = old.__kwdefaults__
        new.__dict__.update((key, self.copy(value)) for key, value in vars(old).items())
        return new

    def _owned(self, held: Any) -> bool:
        """Tell whether a closure's content belongs to the model, so that a copied function must hold its copy."""
        if isinstance(held, types.MethodType):
            held = held.__self__
        return bool(self.dialect.is_variable(held) or self.dialect.is_layer(held))

    def _object(self, old: Any) -> Any:
        special = self.dialect.copy_special(old, self)
        if special is not None:
            return special
        if hasattr(old, "__dict__") and type(old).__reduce_ex__ is object.__reduce_ex__ and not _slotted(old):
            new = self.note(old, type(old).__new__(type(old)))
            new.__dict__.update((k, self.copy(v)) for k, v in vars(old).items())
            return new
        try:
            return self.note(old, copy.deepcopy(old))
        except Exception as error:
            raise Uncopyable(f"an attribute of type {type(old).__name__} cannot be copied") from error


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _slotted(value: Any) -> bool:
    return any(getattr(c, "__slots__", ()) for c in type(value).__mro__)
