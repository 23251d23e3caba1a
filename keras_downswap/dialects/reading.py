"""Reads a model, and the models inside it, into graphs, and keeps what is live beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.call_order import in_call_order
from keras_downswap.dialects.describe import (
    OTHER,
    Description,
    describe_function,
    describe_join,
    is_downsampling_class,
)
from keras_downswap.dialects.held_models import models_held_by
from keras_downswap.dialects.installed import dialect_of
from keras_downswap.errors import UnreadableModel
from keras_downswap.ir.graph import POOLS, Call, Graph, Role, Shape, Tensor

MAP_RANK = 4
"""Rank as which a layer inside an opaque one is described: whether it downsamples needs no more."""


@dataclass(frozen=True)
class LiveScope:
    """The live side of one graph.

    Attributes:
        model: The model that has the graph.
        graph: The graph.
        nodes: The model's nodes, by the index of the graph's call.
        tensors: The model's symbolic tensors, by the graph's number.
    """

    model: Any
    graph: Graph
    nodes: tuple[Any, ...]
    tensors: tuple[Any, ...]

    @cached_property
    def numbers(self) -> Mapping[int, int]:
        """The graph's number of each symbolic tensor, by its identity."""
        return {id(tensor): number for number, tensor in enumerate(self.tensors)}


@dataclass(frozen=True)
class Reading:
    """A model and everything that was read from it; nothing is added afterwards.

    Attributes:
        dialect: The Keras it belongs to.
        scopes: Every scope by number; 0 is the model itself. Models that no call leads to, as one
            that an opaque layer holds, have scopes too, after those that calls lead to.
        layers: Every layer by number.
        scope_of: The number of the scope of each model, by its identity.
        number_of: The number of each layer, by its identity.
    """

    dialect: Dialect
    scopes: Mapping[int, LiveScope]
    layers: tuple[Any, ...]
    scope_of: Mapping[int, int]
    number_of: Mapping[int, int]

    @property
    def graph(self) -> Graph:
        """The graph of the model itself."""
        return self.scopes[0].graph

    @property
    def model(self) -> Any:
        """The model itself."""
        return self.scopes[0].model

    def number(self, layer: Any) -> int:
        """Return the number of a layer."""
        return self.number_of[id(layer)]


def read_model(model: Any) -> Reading:
    """Read a model, and every model inside it, into graphs.

    Raises:
        UnreadableModel: If the value is a model of neither Keras, or a model without a graph.
        UnsupportedKeras: If the installed Keras lacks what reading or copying needs.
    """
    dialect = dialect_of(model)
    if not dialect.has_graph(model):
        raise UnreadableModel(
            f"{type(model).__name__} '{getattr(model, 'name', '?')}' has no graph of layers to "
            "read: expected a functional model, or a Sequential model that knows its input shape; "
            "received a subclassed or unbuilt model. Build it (call it once, or add an Input), or "
            "wrap its parts in a functional model."
        )
    reader = _Reader(dialect)
    reader.count_holders(model)
    reader.read_scope(model)
    for held in models_held_by(dialect, model):
        reader.read_scope(held)
    return reader.reading()


@dataclass
class _OpenScope:
    """A scope that is being read: its tensors so far, live and as facts, and their numbers."""

    tensors: list[Any] = field(default_factory=list)
    facts: list[Tensor] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)

    def add(self, dialect: Dialect, tensor: Any, producer: int) -> int:
        """Number a tensor that a call produces."""
        number = len(self.tensors)
        self.numbers[id(tensor)] = number
        self.tensors.append(tensor)
        self.facts.append(Tensor(dialect.shape(tensor), dialect.dtype(tensor), producer))
        return number

    def numbers_of(self, tensors: Iterable[Any]) -> tuple[int, ...]:
        """Return the numbers of tensors that were added."""
        return tuple(self.numbers[id(tensor)] for tensor in tensors)


@dataclass(frozen=True)
class _NodeFacts:
    """What a node says of its call.

    Attributes:
        node: The node.
        layer: The layer that it calls.
        inputs: The numbers of the tensors that it consumes.
        outputs: The numbers of those that it produces.
        options: Its keyword arguments that are not None.
        sole_shape: The shape of its input, where it has one tensor and no other argument but
            `training`; None otherwise.
        only_tensors: Whether it has no arguments but tensors and `training`.
    """

    node: Any
    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]
    sole_shape: Shape | None
    only_tensors: bool


class _Reader:
    """Collects what becomes a `Reading`."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.scopes: dict[int, LiveScope] = {}
        self.layers: list[Any] = []
        self.scope_of: dict[int, int] = {}
        self.number_of: dict[int, int] = {}
        self.holders: Counter[int] = Counter()

    def reading(self) -> Reading:
        """Return what was read."""
        layers = tuple(self.layers)
        return Reading(self.dialect, self.scopes, layers, self.scope_of, self.number_of)

    def count_holders(self, model: Any) -> None:
        """Count how many layers hold each variable as their own, not through a layer inside them.

        A variable that two layers hold is tied: a swap that gave one of them another kernel would
        untie the two, without a word from either Keras.
        """
        dialect = self.dialect
        for layer in dialect.sublayers(model):
            inside = set()
            for part in dialect.sublayers(layer):
                inside |= {id(variable) for variable in dialect.weights(part)}
            self._hold(v for v in dialect.weights(layer) if id(v) not in inside)

    def read_scope(self, model: Any) -> Graph:
        """Read one model, unless it has been read already, and return its graph."""
        if id(model) in self.scope_of:
            return self.scopes[self.scope_of[id(model)]].graph
        dialect = self.dialect
        number = len(self.scope_of)
        self.scope_of[id(model)] = number
        nodes = in_call_order(dialect, dialect.nodes(model))
        # A call may be given a variable of some layer as an argument, and so hold it as well. All
        # are counted before the first call is described, since a description says what is tied.
        for node in nodes:
            arguments = dialect.flatten(dialect.node_arguments(node))
            self._hold(filter(dialect.is_variable, arguments))

        scope = _OpenScope()
        calls = [self._read_call(scope, index, node) for index, node in enumerate(nodes)]
        inputs, outputs = dialect.boundary(model)
        graph = Graph(
            number,
            str(model.name),
            tuple(calls),
            tuple(scope.facts),
            scope.numbers_of(dialect.flatten(inputs)),
            scope.numbers_of(dialect.flatten(outputs)),
        )
        self.scopes[number] = LiveScope(model, graph, tuple(nodes), tuple(scope.tensors))
        return graph

    def _hold(self, variables: Iterable[Any]) -> None:
        self.holders.update(id(variable) for variable in variables)

    def _number(self, layer: Any) -> int:
        """Return the number of a layer, giving it one if it has none yet."""
        if id(layer) not in self.number_of:
            self.number_of[id(layer)] = len(self.layers)
            self.layers.append(layer)
        return self.number_of[id(layer)]

    def _read_call(self, scope: _OpenScope, index: int, node: Any) -> Call:
        facts = self._node_facts(scope, index, node)
        call = self._call(index, facts)
        could_join = len(facts.inputs) > 1 and facts.only_tensors
        if could_join and call.role is Role.OTHER:
            call = self._as_join(facts, call, len(scope.facts[facts.inputs[0]].shape))
        inputs = [scope.facts[tensor] for tensor in facts.inputs]
        inlinable = self._is_inlinable(call, inputs, facts.options)
        return replace(call, is_inlinable=inlinable)

    def _node_facts(self, scope: _OpenScope, index: int, node: Any) -> _NodeFacts:
        dialect = self.dialect
        args, kwargs = dialect.node_arguments(node)
        consumed = filter(dialect.is_tensor, dialect.flatten((args, kwargs)))
        inputs = scope.numbers_of(consumed)
        produced = dialect.flatten(dialect.node_outputs(node))
        outputs = tuple(scope.add(dialect, tensor, index) for tensor in produced)
        options = {key: value for key, value in kwargs.items() if value is not None}
        others = [value for key, value in options.items() if key != "training"]
        arguments = [*args, *others]
        sole_shape = None
        is_plain = all(map(dialect.is_tensor, arguments))
        if is_plain and len(inputs) == 1:
            sole_shape = scope.facts[inputs[0]].shape
        only_tensors = all(map(dialect.is_tensor, dialect.flatten(arguments)))
        layer = dialect.node_layer(node)
        return _NodeFacts(node, layer, inputs, outputs, options, sole_shape, only_tensors)

    def _call(self, index: int, facts: _NodeFacts) -> Call:
        """Describe one call."""
        dialect = self.dialect
        layer = facts.layer
        inner = dialect.unwrapped(layer) if facts.sole_shape else layer
        nested = self.read_scope(inner) if dialect.has_graph(inner) else None
        found = self._describe_call(facts, inner, nested)
        found = self._with_tie(inner, found)

        is_known = found.role is not Role.OTHER
        wrapped = str(inner.name) if inner is not layer and is_known else None
        # What a layer with a known role holds is described by its role; what a wrapper holds is
        # called with the wrapper, and uses of it are counted through the wrapper's call.
        is_opaque = nested is None and (wrapped is not None or not is_known)
        parts = dialect.sublayers(layer) if is_opaque else ()
        unreachable = []
        if wrapped is None:
            for part in parts:
                if self._downsamples(part):
                    unreachable.append((str(part.name), type(part).__name__))
        frozen = facts.options.get("training")
        return Call(
            index=index,
            layer=self._number(layer),
            name=str(layer.name),
            class_name=type(layer if wrapped is None else inner).__name__,
            role=found.role,
            inputs=facts.inputs,
            outputs=facts.outputs,
            windows=found.windows,
            channels_last=found.channels_last,
            facts=found.facts,
            obstacle=found.obstacle,
            frozen_training=frozen if isinstance(frozen, bool) else None,
            nested_graph=nested,
            unreachable_sites=tuple(unreachable),
            inner_layers=tuple(self._number(part) for part in parts),
            wrapped=wrapped,
        )

    def _describe_call(self, facts: _NodeFacts, inner: Any, nested: Graph | None) -> Description:
        dialect = self.dialect
        if not facts.inputs:
            return Description(Role.INPUT)
        function = dialect.function_name(facts.layer)
        if function:
            strides = dialect.function_strides(facts.node)
            return describe_function(function, strides, len(facts.inputs))
        if nested is not None:
            return Description(Role.MODEL)
        if facts.sole_shape is None:
            return OTHER
        rank = len(facts.sole_shape)
        # The layer inside a TimeDistributed is called without the axis of time.
        if inner is not facts.layer:
            rank -= 1
        return self._describe_layer(inner, rank)

    def _with_tie(self, layer: Any, found: Description) -> Description:
        if found.role is not Role.CONV:
            return found
        tied = any(self.holders[id(weight)] > 1 for weight in self.dialect.weights(layer))
        if not tied:
            return found
        obstacle = "holds a weight that another layer or call holds too: a swap would untie them"
        return replace(found, obstacle=obstacle)

    def _as_join(self, facts: _NodeFacts, call: Call, rank: int) -> Call:
        """Describe a call that has several tensors and nothing else for arguments."""
        dialect = self.dialect
        name = dialect.function_name(facts.layer) or dialect.stock_class(facts.layer)
        found = describe_join(facts.layer, name, rank) if rank else OTHER
        return replace(call, role=found.role, facts=found.facts)

    def _is_inlinable(self, call: Call, inputs: list[Tensor], options: Mapping[str, Any]) -> bool:
        """Tell whether a nested model is given its inputs, of their ranks, and nothing else."""
        nested = call.nested_graph
        if nested is None or len(inputs) != len(nested.inputs):
            return False
        given = self.dialect.flatten(list(options.values()))
        if any(value is not None and value is not False for value in given):
            return False
        ranks = [len(tensor.shape) for tensor in inputs]
        if call.wrapped is not None:
            ranks = [rank - 1 for rank in ranks]
        return ranks == [len(nested.tensors[tensor].shape) for tensor in nested.inputs]

    def _describe_layer(self, layer: Any, rank: int) -> Description:
        """Describe a stock layer; of a subclass of a pool or convolution, that it is one."""
        dialect = self.dialect
        if dialect.stock_class(layer):
            return dialect.describe(layer, rank)
        for base in type(layer).__mro__:
            if dialect.is_stock(base) and is_downsampling_class(base.__name__):
                try:
                    found = dialect.describe(layer, rank, base.__name__)
                except (AttributeError, TypeError, ValueError):
                    # The subclass does without what its base stores, or stores something else.
                    return OTHER
                obstacle = f"is a subclass of {base.__name__}, which may compute something else"
                return replace(found, obstacle=obstacle)
        return OTHER

    def _downsamples(self, layer: Any) -> bool:
        found = self._describe_layer(layer, MAP_RANK)
        strided = any(window.stride > 1 for window in found.windows)
        return found.role in POOLS or found.role is Role.GLOBAL_POOL or strided
