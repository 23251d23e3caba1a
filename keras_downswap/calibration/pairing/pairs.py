"""Which tensors of a swapped model stand for which of the old one, from the two graphs alone.

Layers that survive keep their names, so calls are paired by name. The outputs of paired calls stand
for each other, except for the tensors between a convolution and the pool whose work it took over
(or that now does its work): there, the two models differ. The end of such a stretch is found by its
consumers: a paired call has the same arguments in both models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keras_downswap.calibration.execution.interpreter import CallRef, ScopePath, TensorRef
from keras_downswap.ir.graph import POOLS, Call, Graph, Role, Shape, spatial
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import paths_upstream

SLIDING = POOLS | {Role.CONV}


@dataclass
class Pairs:
    """What was paired.

    Attributes:
        tensors: For a tensor of the new model the tensor of the old model that it stands for.
        ends: Those tensors of the new model where the work of layers ends that only one of the two
            models has.
        sites: Calls of the new model that do otherwise than those of the same name in the old one,
            with their names.
        added: Convolutions of the new model whose name the old model lacks, likewise.
    """

    tensors: dict[TensorRef, TensorRef] = field(default_factory=dict)
    ends: list[TensorRef] = field(default_factory=list)
    sites: dict[CallRef, str] = field(default_factory=dict)
    added: dict[CallRef, str] = field(default_factory=dict)


def pair_tensors(old: Graph, new: Graph) -> Pairs:
    """Pair the tensors of two models, nested ones included."""
    pairs = Pairs()
    _ScopePairer(_Side(old, ()), _Side(new, ()), "", pairs).pair()
    return pairs


@dataclass(frozen=True)
class _Side:
    """A scope of one of the two models, and where it is."""

    graph: Graph
    path: ScopePath

    def nested(self, call: Call) -> _Side | None:
        """Return the scope that a call opens; None where it opens none."""
        if call.nested_graph is None:
            return None
        return _Side(call.nested_graph, (*self.path, call.index))


class _ScopePairer:
    """Pairs two scopes.

    Attributes:
        old: The old model's scope.
        new: The new model's scope.
        prefix: What stands before the names of its layers.
        pairs: Filled with what is paired.
        old_of: For a call of the new scope, by its number, the call of the old one.
        new_of: For a call of the old scope, by its number, the call of the new one.
    """

    def __init__(self, old: _Side, new: _Side, prefix: str, pairs: Pairs) -> None:
        self.old = old
        self.new = new
        self.prefix = prefix
        self.pairs = pairs
        old_calls = dict(_occurrences(old.graph))
        self.old_of: dict[int, Call] = {}
        self.new_of: dict[int, Call] = {}
        for key, call in _occurrences(new.graph):
            if key in old_calls:
                self.old_of[call.index] = old_calls[key]
                self.new_of[old_calls[key].index] = call

    def pair(self) -> None:
        """Pair what paired calls produce, then what they consume, then what is inside them."""
        differing_old = self._differing_tensors(self.old.graph, self.new_of)
        differing_new = self._differing_tensors(self.new.graph, self.old_of)
        for index, old_call in self.old_of.items():
            call = self.new.graph.calls[index]
            for tensor, old_tensor in zip(call.outputs, old_call.outputs, strict=False):
                if old_tensor not in differing_old and tensor not in differing_new:
                    self._note(tensor, old_tensor)
            took_over_a_pool = call.role is Role.CONV and old_call.outputs[0] in differing_old
            if took_over_a_pool or _does_otherwise(call, old_call):
                self.pairs.sites[self.new.path, index] = self.prefix + call.path
        for call in self.new.graph.calls:
            if call.role is Role.CONV and call.index not in self.old_of:
                self.pairs.added[self.new.path, call.index] = self.prefix + call.path

        for index, old_call in self.old_of.items():
            self._pair_arguments(self.new.graph.calls[index].inputs, old_call.inputs)
        self._pair_arguments(self.new.graph.outputs, self.old.graph.outputs)

        for index, old_call in self.old_of.items():
            call = self.new.graph.calls[index]
            old_nested, nested = self.old.nested(old_call), self.new.nested(call)
            if old_nested is not None and nested is not None:
                prefix = f"{self.prefix}{call.path}/"
                _ScopePairer(old_nested, nested, prefix, self.pairs).pair()

    def _note(self, tensor: int, old_tensor: int) -> None:
        """Pair two tensors whose shapes do not contradict it; the first pair of a tensor holds."""
        shape = self.new.graph.tensors[tensor].shape
        old_shape = self.old.graph.tensors[old_tensor].shape
        if _may_be_equal(shape, old_shape):
            ref = (self.new.path, tensor)
            self.pairs.tensors.setdefault(ref, (self.old.path, old_tensor))

    def _pair_arguments(self, tensors: Sequence[int], old_tensors: Sequence[int]) -> None:
        """Pair arguments of paired calls, where a call that only one model has produces one of them."""
        for tensor, old_tensor in zip(tensors, old_tensors, strict=False):
            producer = self.new.graph.tensors[tensor].producer
            old_producer = self.old.graph.tensors[old_tensor].producer
            if old_producer not in self.new_of or producer not in self.old_of:
                end = self._before_added_padding(tensor)
                self._note(end, old_tensor)
                self.pairs.ends.append((self.new.path, end))

    def _before_added_padding(self, tensor: int) -> int:
        """Return the input of the padding and cropping that a swap added before a convolution."""
        graph = self.new.graph
        call = graph.calls[graph.tensors[tensor].producer]
        while call.role is Role.RESIZE and call.index not in self.old_of:
            tensor = call.inputs[0]
            call = graph.calls[graph.tensors[tensor].producer]
        return tensor

    def _differing_tensors(self, graph: Graph, partners: Mapping[int, Call]) -> set[int]:
        """Return the tensors between a pool that only this model has and the convolutions before it.

        The other model's convolutions do the pool's work, so what is between has no counterpart
        there: its map is larger, or not pooled yet.

        Args:
            graph: The scope of this model.
            partners: For its calls, by number, those of the other model.
        """
        found: set[int] = set()
        for pool in graph.calls:
            if pool.role not in POOLS or pool.index in partners:
                continue
            paths = paths_upstream(graph, pool, padded=True)
            if self._were_swapped(graph, pool, paths, partners):
                for path in paths:
                    for call in path[:-1]:
                        found.update(call.outputs)
        return found

    def _were_swapped(
        self,
        graph: Graph,
        pool: Call,
        paths: Sequence[tuple[Call, ...]],
        partners: Mapping[int, Call],
    ) -> bool:
        """Tell whether the convolutions before a pool, one for each path, do its work in the other model."""
        convs = [path[0] for path in paths]
        if not all(conv.role is Role.CONV and conv.index in partners for conv in convs):
            return False
        if any(_has_other_readers(graph, path) for path in paths):
            return False
        if any(self._is_as_long(graph, conv, pool, partners) for conv in convs):
            return False
        if any(_does_otherwise(conv, partners[conv.index]) for conv in convs):
            return True
        # The convolutions before it are the same in both models. Then the one after it did the
        # pool's work, if that has changed.
        return not self._next_conv_changed(graph, pool, partners)

    def _is_as_long(
        self, graph: Graph, conv: Call, pool: Call, partners: Mapping[int, Call]
    ) -> bool:
        """Tell whether a convolution has as long an output in the other model: then it does no strided pool's work."""
        is_new = graph is self.new.graph
        other = self.old.graph if is_new else self.new.graph
        lengths = spatial(graph.output_shape(conv), conv.channels_last)
        other_shape = other.output_shape(partners[conv.index])
        other_lengths = spatial(other_shape, conv.channels_last)
        return pool.strided and None not in lengths and lengths == other_lengths

    @staticmethod
    def _next_conv_changed(graph: Graph, pool: Call, partners: Mapping[int, Call]) -> bool:
        """Tell whether the convolution after a pool does otherwise in the other model."""
        call: Call | None = graph.sole_consumer(pool)
        while call is not None and is_elementwise(graph, call, pool.channels_last):
            call = graph.sole_consumer(call)
        if call is None or call.index not in partners:
            return False
        return _does_otherwise(call, partners[call.index])


def _does_otherwise(call: Call, other: Call) -> bool:
    """Tell whether two calls of one name, a convolution or a pool among them, compute differently."""
    if call.role not in SLIDING and other.role not in SLIDING:
        return False
    return call.class_name != other.class_name or call.windows != other.windows


def _occurrences(graph: Graph) -> Iterator[tuple[tuple[str, int], Call]]:
    """Yield every call with the name of its layer and how often that was called before."""
    counts: dict[str, int] = {}
    for call in graph.calls:
        count = counts.get(call.path, 0)
        counts[call.path] = count + 1
        yield (call.path, count), call


def _has_other_readers(graph: Graph, path: Sequence[Call]) -> bool:
    """Tell whether other calls read something between a convolution and a pool.

    Then the pool cannot have been swapped: they would have read what is gone.
    """
    return any(graph.sole_consumer(call) is None for call in path[:-1])


def _may_be_equal(one: Shape, other: Shape) -> bool:
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(a is None or b is None or a == b for a, b in pairs)
