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
Partners = Mapping[int, Call]
"""For calls of one model, by number, those of the other."""
Occurrence = tuple[str, int]
"""The name of a layer, and how often that was called before."""


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

    def is_site(self, ref: CallRef) -> bool:
        """Tell whether a call of the new model is a site's, or was added by a swap."""
        return ref in self.sites or ref in self.added


def pair_tensors(old: Graph, new: Graph) -> Pairs:
    """Pair the tensors of two models, nested ones included."""
    pairs = Pairs()
    outermost = _ScopePairer(_Side(old, ()), _Side(new, ()), "", pairs)
    outermost.pair()
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

    def producer(self, tensor: int) -> int:
        """Return the number of the call that produces a tensor."""
        return self.graph.tensors[tensor].producer


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
        old_graph, new_graph = self.old.graph, self.new.graph
        differing_old = self._differing_tensors(old_graph, self.new_of)
        differing_new = self._differing_tensors(new_graph, self.old_of)
        for call, old_call in self._paired_calls():
            for tensor, old_tensor in zip(call.outputs, old_call.outputs, strict=False):
                if old_tensor not in differing_old and tensor not in differing_new:
                    self._note(tensor, old_tensor)
            took_over_a_pool = call.role is Role.CONV and old_call.outputs[0] in differing_old
            if took_over_a_pool or _does_otherwise(call, old_call):
                ref = (self.new.path, call.index)
                self.pairs.sites[ref] = self.prefix + call.path
        for call in new_graph.calls:
            if call.role is Role.CONV and call.index not in self.old_of:
                ref = (self.new.path, call.index)
                self.pairs.added[ref] = self.prefix + call.path

        # The first pair of a tensor holds. So arguments come after outputs: they only pair the end
        # of a stretch whose own outputs have no counterpart.
        for call, old_call in self._paired_calls():
            self._pair_arguments(call.inputs, old_call.inputs)
        self._pair_arguments(new_graph.outputs, old_graph.outputs)

        for call, old_call in self._paired_calls():
            nested = self.new.nested(call)
            old_nested = self.old.nested(old_call)
            if old_nested is not None and nested is not None:
                prefix = f"{self.prefix}{call.path}/"
                inner = _ScopePairer(old_nested, nested, prefix, self.pairs)
                inner.pair()

    def _paired_calls(self) -> Iterator[tuple[Call, Call]]:
        """Yield each call of the new scope that has a counterpart, with that."""
        for index, old_call in self.old_of.items():
            yield self.new.graph.calls[index], old_call

    def _note(self, tensor: int, old_tensor: int) -> None:
        """Pair two tensors, unless their shapes contradict it or the first is paired already."""
        shape = self.new.graph.tensors[tensor].shape
        old_shape = self.old.graph.tensors[old_tensor].shape
        if _may_be_equal(shape, old_shape):
            ref = (self.new.path, tensor)
            old_ref = (self.old.path, old_tensor)
            self.pairs.tensors.setdefault(ref, old_ref)

    def _pair_arguments(self, tensors: Sequence[int], old_tensors: Sequence[int]) -> None:
        """Pair arguments of paired calls, where only one model has the call that produces it."""
        for tensor, old_tensor in zip(tensors, old_tensors, strict=False):
            is_common = self.new.producer(tensor) in self.old_of
            is_old_common = self.old.producer(old_tensor) in self.new_of
            if not is_common or not is_old_common:
                end = self._before_added_padding(tensor)
                self._note(end, old_tensor)
                self.pairs.ends.append((self.new.path, end))

    def _before_added_padding(self, tensor: int) -> int:
        """Return the input of the padding and cropping that a swap added before a convolution."""
        calls = self.new.graph.calls
        call = calls[self.new.producer(tensor)]
        # What is compared must not be padded: the old model's tensor is not.
        while call.role is Role.RESIZE and call.index not in self.old_of:
            tensor = call.inputs[0]
            call = calls[self.new.producer(tensor)]
        return tensor

    def _differing_tensors(self, graph: Graph, partners: Partners) -> set[int]:
        """Return the tensors between a pool of this model alone and the convolutions before it.

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
        self, graph: Graph, pool: Call, paths: Sequence[Sequence[Call]], partners: Partners
    ) -> bool:
        """Tell whether the convolutions before a pool do its work in the other model."""
        changed = False
        for path in paths:
            conv = path[0]
            other = partners.get(conv.index)
            if conv.role is not Role.CONV or other is None:
                return False
            if _has_other_readers(graph, path):
                return False
            if pool.strided and self._is_as_long(graph, conv, other):
                return False
            changed = changed or _does_otherwise(conv, other)
        if changed:
            return True
        # The convolutions before it are the same in both models. Then the one after it did the
        # pool's work, if that has changed.
        return not self._next_conv_changed(graph, pool, partners)

    def _is_as_long(self, graph: Graph, conv: Call, other: Call) -> bool:
        """Tell whether a convolution has as long an output in the other model as in this one.

        Then it does no strided pool's work there.
        """
        is_new = graph is self.new.graph
        other_graph = self.old.graph if is_new else self.new.graph
        lengths = spatial(graph.output_shape(conv), conv.channels_last)
        other_shape = other_graph.output_shape(other)
        other_lengths = spatial(other_shape, conv.channels_last)
        return None not in lengths and lengths == other_lengths

    @staticmethod
    def _next_conv_changed(graph: Graph, pool: Call, partners: Partners) -> bool:
        """Tell whether the convolution after a pool does otherwise in the other model."""
        call: Call | None = graph.sole_consumer(pool)
        while call is not None and is_elementwise(graph, call, pool.channels_last):
            call = graph.sole_consumer(call)
        if call is None or call.index not in partners:
            return False
        return _does_otherwise(call, partners[call.index])


def _does_otherwise(call: Call, other: Call) -> bool:
    """Tell whether two calls of one name differ, and a convolution or a pool is among them."""
    if call.role not in SLIDING and other.role not in SLIDING:
        return False
    return call.class_name != other.class_name or call.windows != other.windows


def _occurrences(graph: Graph) -> Iterator[tuple[Occurrence, Call]]:
    """Yield every call with what identifies it in both models: a name alone would not.

    A layer may be called several times.
    """
    counts: dict[str, int] = {}
    for call in graph.calls:
        count = counts.get(call.path, 0)
        counts[call.path] = count + 1
        yield (call.path, count), call


def _has_other_readers(graph: Graph, path: Sequence[Call]) -> bool:
    """Tell whether other calls read something between a convolution and a pool.

    Then the pool cannot have been swapped: they would have read what is gone.
    """
    before_pool = path[:-1]
    return any(graph.sole_consumer(call) is None for call in before_pool)


def _may_be_equal(one: Shape, other: Shape) -> bool:
    if len(one) != len(other):
        return False
    for length, other_length in zip(one, other, strict=True):
        is_known = length is not None and other_length is not None
        if is_known and length != other_length:
            return False
    return True
