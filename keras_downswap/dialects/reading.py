"""Reads a model, and the models nested in it, into graphs, and keeps what is live beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.describe import (
    OTHER,
    Description,
    describe_function,
    describe_join,
    is_downsampling_class,
)
from keras_downswap.dialects.installed import dialect_of
from keras_downswap.errors import UnreadableModel
from keras_downswap.ir.graph import POOLS, Call, Graph, Role, Shape, Tensor


@dataclass(frozen=True)
class LiveScope:
    """The live side of one graph: the model, and its nodes and symbolic tensors by the graph's numbers."""

    model: Any
    graph: Graph
    nodes: tuple[Any, ...]
    tensors: tuple[Any, ...]

    @cached_property
    def numbers(self) -> Mapping[int, int]:
        """The graph's number of each symbolic tensor, by its identity."""
        return {id(tensor): number for number, tensor in enumerate(self.tensors)}


@dataclass
class Reading:
    """A model and everything that was read from it.

    Attributes:
        dialect: The Keras it belongs to.
        scopes: Every scope by number; 0 is the model itself.
        layers: Every layer by number.
        holders: How many layers and calls hold each variable as their own, by its identity.
    """

    dialect: Dialect
    scopes: dict[int, LiveScope] = field(default_factory=dict)
    layers: list[Any] = field(default_factory=list)
    scope_of: dict[int, int] = field(default_factory=dict)
    number_of: dict[int, int] = field(default_factory=dict)
    holders: dict[int, int] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The graph of the model itself."""
        return self.scopes[0].graph

    @property
    def model(self) -> Any:
        """The model itself."""
        return self.scopes[0].model

    def number(self, layer: Any) -> int:
        """Return the number of a layer, giving it one if it has none yet."""
        if id(layer) not in self.number_of:
            self.number_of[id(layer)] = len(self.layers)
            self.layers.append(layer)
        return self.number_of[id(layer)]

    def run_call(
        self, scope: int, call: Call, values: Mapping[int, Any], **further: Any
    ) -> list[Any]:
        """Call a layer as the model does, with whatever else it is given there, and return what it makes.

        Args:
            scope: The number of the graph that holds the call.
            call: The call.
            values: The backend tensor that each tensor it takes stands for.
            further: Arguments besides.
        """
        dialect, live = self.dialect, self.scopes[scope]
        arguments = dialect.node_arguments(live.nodes[call.index])
        args, kwargs = dialect.map(
            lambda v: values[live.numbers[id(v)]] if dialect.is_tensor(v) else v, arguments
        )
        return dialect.flatten(
            dialect.call_layer(self.layers[call.layer], args, {**kwargs, **further})
        )


def read_model(model: Any) -> Reading:
    """Read a model, and every model nested in it, into graphs.

    Raises:
        UnreadableModel: If the value is a model of neither Keras, or a model without a graph.
    """
    dialect = dialect_of(model)
    if not dialect.has_graph(model):
        raise UnreadableModel(
            f"{type(model).__name__} '{getattr(model, 'name', '?')}' has no graph of layers to read: expected a "
            "functional model, or a Sequential model that knows its input shape; received a subclassed or unbuilt "
            "model. Build it (call it once, or add an Input), or wrap its parts in a functional model."
        )
    reading = Reading(dialect)
    for layer in dialect.sublayers(model):
        below = {id(v) for part in dialect.sublayers(layer) for v in dialect.weights(part)}
        _hold(reading, (v for v in dialect.weights(layer) if id(v) not in below))
    read_scope(model, reading)
    return reading


def read_scope(model: Any, reading: Reading) -> Graph:
    """Read one model into a reading, unless it is there already, and return its graph."""
    if id(model) in reading.scope_of:
        return reading.scopes[reading.scope_of[id(model)]].graph
    dialect, number = reading.dialect, len(reading.scope_of)
    reading.scope_of[id(model)] = number
    nodes = _in_call_order(dialect, dialect.nodes(model))
    tensors: list[Any] = []
    facts: list[Tensor] = []
    known: dict[int, int] = {}
    calls = []
    for node in nodes:
        _hold(reading, filter(dialect.is_variable, dialect.flatten(dialect.node_arguments(node))))
    for index, node in enumerate(nodes):
        args, kwargs = dialect.node_arguments(node)
        inputs = tuple(
            known[id(t)] for t in dialect.flatten((args, kwargs)) if dialect.is_tensor(t)
        )
        produced = dialect.flatten(dialect.node_outputs(node))
        for tensor in produced:
            known[id(tensor)] = len(tensors)
            tensors.append(tensor)
            facts.append(Tensor(dialect.shape(tensor), dialect.dtype(tensor), index))
        outputs = tuple(known[id(t)] for t in produced)
        given = {key: value for key, value in kwargs.items() if value is not None}
        rest = (*args, *(value for key, value in given.items() if key != "training"))
        plain = len(inputs) == 1 and all(dialect.is_tensor(value) for value in rest)
        shape = facts[inputs[0]].shape if inputs else ()
        call = _call(reading, index, node, inputs, outputs, given, shape if plain else None)
        call = replace(call, is_inlinable=_opens(dialect, call, [facts[t] for t in inputs], given))
        joins = len(inputs) > 1 and all(map(dialect.is_tensor, dialect.flatten(rest)))
        calls.append(
            _join(reading, node, call, len(shape)) if joins and call.role is Role.OTHER else call
        )
    ends = (tuple(known[id(t)] for t in dialect.flatten(part)) for part in dialect.boundary(model))
    graph = Graph(number, str(model.name), tuple(calls), tuple(facts), *ends)
    reading.scopes[number] = LiveScope(model, graph, tuple(nodes), tuple(tensors))
    return graph


def _hold(reading: Reading, variables: Iterable[Any]) -> None:
    for variable in variables:
        reading.holders[id(variable)] = reading.holders.get(id(variable), 0) + 1


def _in_call_order(dialect: Dialect, nodes: list[Any]) -> list[Any]:
    """Sort nodes so that producers come first and the calls of each shared layer in the order they were made."""
    calls: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        calls.setdefault(id(dialect.node_layer(node)), []).append(i)
    shared = [indices for indices in calls.values() if len(indices) > 1]
    if not shared:
        return nodes
    made_by = {
        id(t): i
        for i, node in enumerate(nodes)
        for t in dialect.flatten(dialect.node_outputs(node))
    }
    after: list[set[int]] = []
    for node in nodes:
        after.append(
            {
                made_by[id(t)]
                for t in dialect.flatten(dialect.node_arguments(node))
                if id(t) in made_by
            }
        )
    for indices in shared:
        made = {
            id(node): at
            for at, node in enumerate(dialect.node_layer(nodes[indices[0]])._inbound_nodes)
        }
        for first, second in pairwise(sorted(indices, key=lambda i, made=made: made[id(nodes[i])])):  # type: ignore[misc]
            after[second].add(first)
    return [nodes[i] for i in TopologicalSorter(dict(enumerate(after))).static_order()]


def _call(
    reading: Reading,
    index: int,
    node: Any,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    given: Mapping[str, Any],
    shape: Shape | None,
) -> Call:
    """Picture one call; `shape` is that of its input where it takes one tensor and nothing else."""
    dialect = reading.dialect
    layer = dialect.node_layer(node)
    inner = dialect.unwrapped(layer) if shape else layer
    nested = read_scope(inner, reading) if dialect.has_graph(inner) else None
    facts = Description(Role.INPUT) if not inputs else Description(Role.MODEL) if nested else OTHER
    if inputs and dialect.function_name(layer):
        facts = describe_function(
            dialect.function_name(layer), dialect.function_strides(node), len(inputs)
        )
    elif inputs and nested is None and shape is not None:
        facts = _facts(dialect, inner, len(shape) - (inner is not layer))
    if facts.role is Role.CONV and any(
        reading.holders.get(id(v), 0) > 1 for v in dialect.weights(inner)
    ):
        facts = replace(
            facts,
            obstacle="holds a weight that another layer or call holds too: a swap would untie them",
        )
    wrapped = str(inner.name) if inner is not layer and facts.role is not Role.OTHER else None
    opaque = (
        ()
        if nested or (facts.role is not Role.OTHER and wrapped is None)
        else dialect.sublayers(layer)
    )
    hidden = tuple(
        (str(part.name), type(part).__name__)
        for part in opaque
        if wrapped is None and _downsamples(dialect, part)
    )
    inside = tuple(reading.number(part) for part in opaque)
    frozen = given.get("training")
    return Call(
        index, reading.number(layer), str(layer.name), type(inner if wrapped else layer).__name__, facts.role, inputs,
        outputs, facts.windows, facts.channels_last, facts.settings, facts.obstacle,
        frozen if isinstance(frozen, bool) else None, nested, hidden, inside, wrapped,
    )  # fmt: skip


def _opens(dialect: Dialect, call: Call, taken: Sequence[Tensor], given: Mapping[str, Any]) -> bool:
    """Tell whether a nested model is given its inputs, of their ranks, and nothing else."""
    if call.nested_graph is None or len(taken) != len(call.nested_graph.inputs):
        return False
    ranks = [len(tensor.shape) - (call.wrapped is not None) for tensor in taken]
    plain = all(value is None or value is False for value in dialect.flatten(list(given.values())))
    return plain and ranks == [
        len(call.nested_graph.tensors[t].shape) for t in call.nested_graph.inputs
    ]


def _join(reading: Reading, node: Any, call: Call, rank: int) -> Call:
    """Picture a call that takes several tensors and nothing else."""
    dialect, layer = reading.dialect, reading.dialect.node_layer(node)
    name = dialect.function_name(layer) or dialect.stock_class(layer)
    facts = describe_join(layer, name, rank) if rank else OTHER
    return replace(call, role=facts.role, settings=facts.settings)


def _facts(dialect: Dialect, layer: Any, rank: int) -> Description:
    """Describe a stock layer; of a subclass of a pool or convolution, that it is one and stays."""
    if dialect.stock_class(layer):
        return dialect.describe(layer, rank)
    for base in type(layer).__mro__:
        if dialect.is_stock(base) and is_downsampling_class(base.__name__):
            try:
                facts = dialect.describe(layer, rank, base.__name__)
            except (AttributeError, TypeError, ValueError):
                return OTHER
            return replace(
                facts,
                obstacle=f"is a subclass of {base.__name__}, which may compute something else",
            )
    return OTHER


def _downsamples(dialect: Dialect, layer: Any) -> bool:
    facts = _facts(dialect, layer, 4)
    return (
        facts.role in POOLS
        or facts.role is Role.GLOBAL_POOL
        or any(w.stride > 1 for w in facts.windows)
    )
