"""How the laws look at models of either Keras, from their public and private parts alone, without
this package.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

POOLS = frozenset(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3))
GLOBAL_POOLS = frozenset(f"Global{pool}" for pool in POOLS)
CONVS = frozenset(
    f"{kind}Conv{rank}D" for kind in ("", "Depthwise", "Separable") for rank in (1, 2, 3)
)
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
OWNED = frozenset({"Layer", "Operation", "Node", "KerasVariable"})


def root_of(value: Any) -> str:
    """Return which Keras a value belongs to: `tf_keras` or `keras`; an empty string for neither."""
    roots = (cls.__module__.split(".")[0] for cls in type(value).__mro__)
    return next((root for root in roots if root in ("tf_keras", "keras")), "")


def parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, layer) of every layer that is not itself a model with layers, nested ones as
    `outer/inner`.
    """
    for layer in model.layers:
        held = unwrapped(layer)
        path = layer.name if held is layer else f"{layer.name}/{held.name}"
        if hasattr(held, "layers") and hasattr(held, "inputs"):
            yield from ((f"{path}/{below}", inner) for below, inner in parts(held))
        else:
            yield path, layer


def unwrapped(layer: Any) -> Any:
    """Return what a TimeDistributed layer wraps; any other layer itself."""
    return layer.layer if type(layer).__name__ == "TimeDistributed" else layer


def is_sequential(model: Any) -> bool:
    """Tell whether a model is Sequential, and so has no structure of inputs and outputs."""
    return any(cls.__name__ == "Sequential" for cls in type(model).__mro__)


def array(value: Any) -> np.ndarray[Any, Any]:
    """Return the value of a variable or tensor of any backend."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _reached(value: Any) -> Iterator[Any]:
    """Yield what a value refers to: items, attributes, closures, defaults, bound objects."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, types.FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        yield from inspect.getclosurevars(value).nonlocals.values()
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    if hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType):
        yield from vars(value).values()


def owned(model: Any) -> dict[int, Any]:
    """Return every variable, layer and node that a call of the model could use, by identity."""
    import tensorflow as tf

    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    todo = [model]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        kinds = {cls.__name__ for cls in type(value).__mro__}
        if isinstance(value, tf.Variable) or (root_of(value) and kinds & OWNED):
            found[id(value)] = value
        if not isinstance(value, tf.Variable | tf.Tensor | tf.Graph) and "KerasTensor" not in kinds:
            todo += _reached(value)
    return found


def _producer(layer: Any) -> Any:
    """Return the layer whose output a layer consumes; None where it has several calls or inputs."""
    import tensorflow as tf

    nodes = layer._inbound_nodes
    tensors = nodes[0].input_tensors if len(nodes) == 1 else ()
    if len(tf.nest.flatten(tensors)) != 1:
        return None
    history = getattr(tf.nest.flatten(tensors)[0], "_keras_history", None)
    return getattr(history, "operation", None) or getattr(history, "layer", None)


def owed(model: Any) -> list[set[tuple[str, ...]]]:
    """Return, from Keras alone, what a report must mention: for each pool, strided convolution, and
    pair of both.

    Each is the set of its possible names, as a shared nested model is reached by several paths; a
    pair has two names.
    """
    entries: dict[tuple[int, bool], set[tuple[str, ...]]] = {}
    for path, outer in parts(model):
        wrapped, before = unwrapped(outer), _producer(outer)
        inside = [lay for lay in outer._flatten_layers(include_self=False) if lay is not wrapped]
        for name, layer in [(path, wrapped), *((f"{path}/{lay.name}", lay) for lay in inside)]:
            kind = type(layer).__name__
            strides = getattr(layer, "strides", 1)
            strided = strides > 1 if isinstance(strides, int) else max(strides) > 1
            if kind in POOLS | GLOBAL_POOLS or (kind in CONVS and strided):
                entries.setdefault((id(layer), False), set()).add((name,))
            conv = (
                unwrapped(before)
                if layer is wrapped and (outer is wrapped or type(before) is type(outer))
                else None
            )
            if kind in POOLS and type(conv).__name__ in CONVS:
                folder = path.removesuffix(wrapped.name).removesuffix(
                    f"{outer.name}/" if outer is not wrapped else ""
                )
                earlier = before.name if conv is before else f"{before.name}/{conv.name}"
                entries.setdefault((id(layer), True), set()).add((folder + earlier, name))
    return list(entries.values())
