"""What a model looks like to a rule: calls of layers, producers first, without any framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from keras_downswap.ir.facts import (
    ConvFacts,
    ElementwiseFacts,
    Facts,
    JoinFacts,
    LayerKind,
    PoolFacts,
    ResizeFacts,
)
from keras_downswap.ir.geometry import Window

Shape = tuple[int | None, ...]


class Role(Enum):
    """What a call does to the spatial axes of its input."""

    INPUT = "input"
    CONV = "convolution"
    MAX_POOL = "max pooling"
    AVERAGE_POOL = "average pooling"
    GLOBAL_POOL = "global pooling"
    LINEAR = "per-channel affine map"
    POINTWISE = "elementwise non-linear map"
    JOIN = "join of several tensors, position by position"
    OTHER_CONV = "convolution of another kind"
    RESIZE = "padding or cropping"
    MODEL = "nested model"
    OTHER = "other"


POOLS = frozenset({Role.MAX_POOL, Role.AVERAGE_POOL})


@dataclass(frozen=True)
class Tensor:
    """A symbolic tensor: its shape (batch first, None where unknown), dtype and producing call."""

    shape: Shape
    dtype: str
    producer: int


@dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        index: Position in `Graph.calls`.
        layer: Number of the layer, the same for every call of a shared layer, in every scope.
        name: The layer's name.
        class_name: The layer's class, for people.
        role: What it does to the spatial axes; stock classes only, a subclass is OTHER.
        inputs: Tensors consumed, in argument order.
        outputs: Tensors produced.
        windows: One `Window` per spatial axis, for convolutions and pools.
        channels_last: Whether the channel axis is the last one.
        facts: What else is known of it, by its kind; None where nothing is.
        obstacle: Why this call must stay as it is, whatever a rule says; None where nothing stands
            in the way.
        frozen_training: The value of `training=` if the call froze it, else None.
        nested_graph: The graph of a nested model.
        unreachable_sites: Downsampling layers inside an opaque layer, as (name, class); no rule
            reaches them.
        inner_layers: Numbers of all layers inside another, which calls them unseen by rules.
        wrapped: Name of the layer that a TimeDistributed layer calls at each step; the facts are
            that layer's, and shapes are seen as it sees them, with time a part of the batch. None
            for any other layer.
        is_inlinable: Whether the call of a nested model runs just its graph at inference, so that
            its calls can stand for it.
    """

    index: int
    layer: int
    name: str
    class_name: str
    role: Role
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    windows: tuple[Window, ...] = ()
    channels_last: bool = True
    facts: Facts | None = None
    obstacle: str | None = None
    frozen_training: bool | None = None
    nested_graph: Graph | None = None
    unreachable_sites: tuple[tuple[str, str], ...] = ()
    inner_layers: tuple[int, ...] = ()
    wrapped: str | None = None
    is_inlinable: bool = False

    @property
    def path(self) -> str:
        """The layer's name, and behind a slash that of the layer it wraps."""
        return self.name if self.wrapped is None else f"{self.name}/{self.wrapped}"

    @property
    def label(self) -> str:
        """The layer in words: its class and name."""
        return f"{self.class_name} '{self.path}'"

    def uses(self, counts: Mapping[int, int]) -> int:
        """Return how often what it calls is called, given `Graph.uses` of the whole model."""
        return max(counts[layer] for layer in (self.layer, *self.inner_layers))

    @property
    def conv(self) -> ConvFacts:
        """The facts of a convolution.

        Raises:
            TypeError: If the call is not an ordinary, depthwise or separable convolution.
        """
        if isinstance(self.facts, ConvFacts):
            return self.facts
        raise TypeError(f"{self.label} is not an ordinary, depthwise or separable convolution")

    @property
    def activation(self) -> str:
        """The name of its activation; `linear` where it has none."""
        facts = self.facts
        if isinstance(facts, ConvFacts):
            return facts.activation
        if isinstance(facts, ElementwiseFacts) and facts.activation is not None:
            return facts.activation
        return "linear"

    @property
    def axis(self) -> int | None:
        """The axis along which it concatenates, mixes values or differs; None for none."""
        facts = self.facts
        return facts.axis if isinstance(facts, JoinFacts | ElementwiseFacts) else None

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Cells that padding adds, or cropping cuts (negative), along each axis; else empty."""
        return self.facts.cells if isinstance(self.facts, ResizeFacts) else ()

    @property
    def padding_layers(self) -> frozenset[LayerKind]:
        """Which of ZeroPadding and Cropping this Keras has for its rank and data format."""
        facts = self.facts
        if isinstance(facts, ConvFacts | PoolFacts):
            return facts.padding_layers
        return frozenset()

    @property
    def is_linear_join(self) -> bool:
        """Whether it joins several tensors by a linear map of them together."""
        return isinstance(self.facts, JoinFacts) and self.facts.is_linear

    @property
    def keeps_sign(self) -> bool:
        """Whether it has no negative output where no input is negative, as far as is known."""
        facts = self.facts
        return isinstance(facts, JoinFacts | ElementwiseFacts) and facts.keeps_sign

    @property
    def strided(self) -> bool:
        """Whether some axis has a stride above 1."""
        return any(w.stride > 1 for w in self.windows)

    @property
    def downsamples(self) -> bool:
        """Whether a report owes this call an entry: every pool, and every strided convolution."""
        return self.role in POOLS or self.role is Role.GLOBAL_POOL or self.strided


@dataclass(frozen=True)
class Graph:
    """All calls of one scope (a model or a nested model), producers first.

    Attributes:
        scope: Number of this scope; 0 is the model itself.
        name: The model's name.
        calls: Every call, producers before consumers.
        tensors: Every tensor by number.
        inputs: The model's inputs, in order.
        outputs: The model's outputs, in order; a tensor may occur twice.
    """

    scope: int
    name: str
    calls: tuple[Call, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def consumers(self) -> Mapping[int, tuple[int, ...]]:
        """Calls that consume each tensor."""
        found: dict[int, list[int]] = {}
        for call in self.calls:
            for tensor in call.inputs:
                found.setdefault(tensor, []).append(call.index)
        return {tensor: tuple(calls) for tensor, calls in found.items()}

    @cached_property
    def branch_by_branch(self) -> tuple[Call, ...]:
        """Every call, producers first; what leads to one argument is whole before the next."""
        ends = [self.calls[self.tensors[tensor].producer] for tensor in self.outputs]
        done: dict[int, Call] = {}
        # A stack: the calls that lead to the outputs come off it first, then all others.
        todo = [*reversed(self.calls), *reversed(ends)]
        while todo:
            call = todo[-1]
            missing = None if call.index in done else self._first_source_outside(call, done)
            if missing is not None:
                todo.append(missing)
                continue
            todo.pop()
            done.setdefault(call.index, call)
        return tuple(done.values())

    def _first_source_outside(self, call: Call, done: Mapping[int, Call]) -> Call | None:
        """Return the first call whose output `call` consumes and that is not done yet."""
        for tensor in call.inputs:
            source = self.calls[self.tensors[tensor].producer]
            if source.index not in done:
                return source
        return None

    def producer(self, call: Call) -> Call:
        """Return the call that produced the (first) input of `call`."""
        return self.calls[self.tensors[call.inputs[0]].producer]

    def sole_consumer(self, call: Call) -> Call | None:
        """Return the one call that consumes the output of `call`.

        Returns:
            None where it has several consumers or none, or is an output of the model.
        """
        users = self.consumers.get(call.outputs[0], ())
        if len(users) != 1 or self.is_output(call):
            return None
        return self.calls[users[0]]

    def is_output(self, call: Call) -> bool:
        """Tell whether a tensor of `call` is an output of the model."""
        return any(tensor in self.outputs for tensor in call.outputs)

    def input_shape(self, call: Call) -> Shape:
        """Return the shape of the first input of `call`, without the time axis of a wrapper."""
        return self._seen(call.inputs[0], call)

    def output_shape(self, call: Call) -> Shape:
        """Return the shape of the first output of `call`, without the time axis of a wrapper."""
        return self._seen(call.outputs[0], call)

    def _seen(self, tensor: int, call: Call) -> Shape:
        shape = self.tensors[tensor].shape
        if call.wrapped is None:
            return shape
        batch, _time, *rest = shape
        return (batch, *rest)

    def times(self, call: Call) -> int | None:
        """Return how often `call` runs for one sample: once, or at each step of a wrapper."""
        return 1 if call.wrapped is None else self.tensors[call.inputs[0]].shape[1]

    def sizes(self, call: Call) -> Shape:
        """Return the spatial sizes of the first input of `call`, None where unknown."""
        return spatial(self.input_shape(call), call.channels_last)

    def channels_last(self, calls: Iterable[int]) -> bool:
        """Tell whether the channel axis of a site is the last one.

        Only convolutions and pools are told their data format; other calls do not count.
        """
        for index in calls:
            call = self.calls[index]
            told = bool(call.windows) or call.role is Role.GLOBAL_POOL
            if told and not call.channels_last:
                return False
        return True

    def uses(self) -> Counter[int]:
        """Count how often each layer is called; inside nested models for each call of those.

        A call of a layer that holds others counts as one of each of them.
        """
        found: Counter[int] = Counter()
        for call in self.calls:
            found.update({call.layer, *call.inner_layers})
            if call.nested_graph is not None:
                found += call.nested_graph.uses()
        return found

    def scopes(self) -> Iterator[tuple[str, Graph]]:
        """Yield (path prefix, graph) of this scope and of every nested one, each scope once."""
        seen: set[int] = set()
        todo: list[tuple[str, Graph]] = [("", self)]
        while todo:
            prefix, graph = todo.pop(0)
            if graph.scope in seen:
                continue
            seen.add(graph.scope)
            yield prefix, graph
            nested = []
            for call in graph.calls:
                if call.nested_graph is not None:
                    nested.append((f"{prefix}{call.path}/", call.nested_graph))
            # Depth first: what is nested in a model comes before the models after it.
            todo = [*nested, *todo]

    def __str__(self) -> str:
        """Draw the graph, a line a call."""
        lines = []
        for call in self.calls:
            producers = [self.calls[self.tensors[tensor].producer] for tensor in call.inputs]
            sources = ", ".join(producer.name for producer in producers)
            shapes = ", ".join(str(self.tensors[tensor].shape) for tensor in call.outputs)
            lines.append(f"{call.name}: {call.class_name}({sources}) -> {shapes}")
        return "\n".join(lines)


def spatial(shape: Shape, channels_last: bool) -> Shape:
    """Return the spatial part of a (batch, ..., channels) or (batch, channels, ...) shape."""
    return shape[1:-1] if channels_last else shape[2:]


def channels(shape: Shape, channels_last: bool) -> int | None:
    """Return the channel count of a shape."""
    return shape[-1] if channels_last else shape[1]
