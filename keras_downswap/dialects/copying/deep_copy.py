"""Deep copies of layers: one memo for a whole model, so that ties and sharing survive.

Nothing is shared with the original but what cannot change. `copy.deepcopy` would not do: it copies
nodes, and with them the whole graph; it copies functions not at all, and so leaves closures that
hold on to the original's layers; and it knows nothing of variables and tables.
"""

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
    is_filled,
    is_pure,
    new_lock,
    parts_of,
    pickles_ordinarily,
    slots_of,
)

PLAIN = frozenset(
    {type(None), bool, int, float, str, type, types.BuiltinFunctionType, inspect.Signature}
)
"""The commonest of the types that are shared; looking here first halves the time of a copy."""

ATOMIC = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    range,
    types.BuiltinFunctionType,
    types.ModuleType,
    types.EllipsisType,
    inspect.Signature,
)
NODES = ("_inbound_nodes", "_outbound_nodes", "_inbound_nodes_value", "_outbound_nodes_value")
COMPILED = (
    "train_function",
    "test_function",
    "predict_function",
    "train_tf_function",
    "_adapt_function",
)
EMPTIED: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(NODES, list),
    **dict.fromkeys(COMPILED, type(None)),
    "_self_unconditional_deferred_dependencies": dict,
    "_self_name_based_restores": set,
}
"""Attributes that start anew: nodes, compiled functions, and checkpoint restorations to come.

Nodes lead to the whole original graph, and a compiled function computes with the variables that it
was traced with: a copy that kept either would hold on to the original, or train it.
"""


def _without_compiled_references(references: list[Any]) -> list[Any]:
    return [reference for reference in references if reference.name not in COMPILED]


def _without_compiled_names(references: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in references.items() if name not in COMPILED}


TRACKED: dict[str, Callable[[Any], Any]] = {
    "_self_unconditional_checkpoint_dependencies": _without_compiled_references,
    "_self_unconditional_dependency_names": _without_compiled_names,
}
"""Attributes that list others of the same object: what starts anew is taken off them too."""

Handler = Callable[[Any], Any] | None
"""How the values of one type are copied; None where they are shared."""


class Uncopyable(Exception):
    """An attribute holds on to its layer in a way that a copy cannot follow."""


class LayerCopier:
    """Copies layers attribute by attribute; every object is copied once, whoever refers to it.

    The memo maps an original, by its identity, to its copy. One memo for a whole model is what
    keeps ties: two layers that hold one variable, a layer that holds another one of the model, a
    closure over a layer, all find the one copy there. Each original stays referred to as long as
    the memo lives, since a freed object's identity may be given to another.

    Args:
        dialect: Recognises layers, variables, symbolic tensors and graph models, and copies
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
        """Return the copy of a layer: of its class, with no nodes, with variables of its own.

        Raises:
            Uncopyable: If an attribute cannot be followed; nothing is recorded for the layer then.
        """
        if id(old) in self.memo:
            return self.memo[id(old)]
        if self.dialect.has_graph(old):
            return self.register(old, self.rebuild(old))
        with self.all_or_nothing():
            # Registered before its attributes are copied: those that lead back to the layer find
            # the copy instead of beginning another. The constructor is not run; it may be anything.
            new = self.register(old, object.__new__(type(old)))
            try:
                self._copy_attributes(old, new)
            except Uncopyable:
                raise
            except Exception as error:
                kind = type(old).__name__
                raise Uncopyable(f"{kind} '{old.name}' cannot be copied: {error}") from error
        return new

    def _copy_attributes(self, old: Any, new: Any) -> None:
        # Into `__dict__` itself: the layer's own `__setattr__` would track the values once more.
        for key, value in vars(old).items():
            if key in EMPTIED:
                new.__dict__[key] = EMPTIED[key]()
            elif key in TRACKED:
                new.__dict__[key] = self.copy(TRACKED[key](value))
            else:
                new.__dict__[key] = self.shared_or_copied(value)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Forget every copy that was begun inside, should it fail.

        A half-made copy must not be found later: another layer would get it for a whole one.
        """
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
        known = id(old)
        return self.memo[known] if known in self.memo else handler(old)

    def shared_or_copied(self, value: Any) -> Any:
        """Return the copy of any attribute value, sooner for what is often there."""
        return value if type(value) in PLAIN else self.copy(value)

    def copy_all(self, values: Iterable[Any]) -> list[Any]:
        """Return the copies of several values."""
        return [self.shared_or_copied(value) for value in values]

    def copy_items(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the copies of a mapping's keys and values, in a plain dict."""
        new = {}
        for key, value in values.items():
            new_key = self.shared_or_copied(key)
            new[new_key] = self.shared_or_copied(value)
        return new

    def _handler(self, old: Any) -> Handler:
        """Choose how values of one type are copied, from one value of it."""
        dialect = self.dialect
        if isinstance(old, ATOMIC) or dialect.is_constant(old):
            return None
        if dialect.is_tensor(old):
            return self._tensor
        if dialect.is_variable(old):
            return self._variable
        if dialect.is_layer(old):
            return self.copy_layer
        if isinstance(old, types.MethodType):
            return self._method
        if isinstance(old, functools.partial):
            return self._partial
        if isinstance(old, types.FunctionType):
            return self._function
        if isinstance(old, weakref.ref):
            return self._weak_reference
        if isinstance(old, (threading.local, *LOCKS)):
            return lambda lock: self.register(lock, new_lock(lock))
        return dialect.special_handler(old, self) or self._handler_of_object(old)

    def _handler_of_object(self, old: Any) -> Handler:
        kind = type(old)
        if isinstance(old, tuple) and hasattr(old, "_fields"):
            return lambda value: self.register(value, kind(*self.copy_all(value)))
        if kind in (tuple, set, frozenset):
            return lambda value: self.register(value, kind(self.copy_all(value)))
        if kind is list:
            return self._list
        if isinstance(old, dict) and kind.__module__ in ("builtins", "collections"):
            return self._dict
        # An object that pickles in its own way, or keeps state in C, has more to it than its
        # attributes: only its class knows how it is copied.
        if not pickles_ordinarily(kind) or not is_pure(kind):
            return self._foreign
        slots = slots_of(kind)
        return lambda value: self._object(value, slots)

    def _tensor(self, old: Any) -> Any:
        return self.register(old, self.dialect.unconnected_tensor(old))

    def _variable(self, old: Any) -> Any:
        return self.register(old, self.dialect.copy_variable(old, self))

    def _method(self, old: types.MethodType) -> Any:
        # Not registered: Python creates a method anew at each access, so identity says nothing.
        function = self.copy(old.__func__)
        return types.MethodType(function, self.copy(old.__self__))

    def _partial(self, old: functools.partial[Any]) -> Any:
        arguments = self.copy(old.args)
        keywords = self.copy(old.keywords)
        return functools.partial(self.copy(old.func), *arguments, **keywords)

    def _weak_reference(self, old: weakref.ref[Any]) -> Any:
        target = old()
        if target is None:
            return self.register(old, old)
        return self.register(old, weakref.ref(self.copy(target)))

    def _list(self, old: list[Any]) -> Any:
        # Registered while empty, as are dicts and objects: they may contain themselves.
        new: list[Any] = self.register(old, [])
        new.extend(self.copy_all(old))
        return new

    def _dict(self, old: dict[Any, Any]) -> Any:
        # A defaultdict or OrderedDict keeps its kind and its factory by a copy that is emptied.
        emptied = {} if type(old) is dict else copy.copy(old)
        new = self.register(old, emptied)
        new.clear()
        new.update(self.copy_items(old))
        return new

    def _function(self, old: types.FunctionType) -> Any:
        """Share a function, unless it holds on to a part of the model.

        A Lambda layer's function that closes over a layer would otherwise compute with the
        original's weights. Its copy gets cells of its own with the copied parts. All other
        functions stay the same object, by which a Keras recognises its own when it saves them.
        """
        if not (old.__closure__ or old.__defaults__ or old.__kwdefaults__):
            return old
        if not self._holds_part_of_model(old, set()):
            return old
        cells = None
        if old.__closure__ is not None:
            cells = tuple(types.CellType() for _ in old.__closure__)
        name = old.__name__
        new = types.FunctionType(old.__code__, old.__globals__, name, closure=cells)
        # Registered with empty cells, since a function may close over itself.
        self.register(old, new)
        new_cells = new.__closure__ or ()
        old_cells = old.__closure__ or ()
        for cell, old_cell in zip(new_cells, old_cells, strict=True):
            if is_filled(old_cell):
                cell.cell_contents = self.copy(old_cell.cell_contents)
        new.__defaults__ = self.copy(old.__defaults__)
        new.__kwdefaults__ = self.copy(old.__kwdefaults__)
        new.__qualname__ = old.__qualname__
        new.__module__ = old.__module__
        new.__doc__ = old.__doc__
        new.__dict__.update(self.copy_items(vars(old)))
        return new

    def _holds_part_of_model(self, value: Any, seen: set[int]) -> bool:
        """Tell whether a layer or a variable can be reached from what a function closes over."""
        if type(value) in PLAIN or id(value) in seen:
            return False
        seen.add(id(value))
        if self.dialect.is_variable(value) or self.dialect.is_layer(value):
            return True
        return any(self._holds_part_of_model(part, seen) for part in parts_of(value))

    def _object(self, old: Any, slots: tuple[str, ...]) -> Any:
        new = self.register(old, object.__new__(type(old)))
        for slot in slots:
            if hasattr(old, slot):
                value = self.copy(getattr(old, slot))
                object.__setattr__(new, slot, value)
        if hasattr(old, "__dict__"):
            new.__dict__.update(self.copy_items(vars(old)))
        return new

    def _foreign(self, old: Any) -> Any:
        try:
            return self.register(old, copy.deepcopy(old))
        except Exception as error:
            kind = type(old).__name__
            raise Uncopyable(f"an attribute of type {kind} cannot be copied") from error
