"""Which tensors of a swapped model stand for which of the old one, from the two graphs alone.

Layers that survive keep their names, so calls are paired by name; what a paired call makes is the
same thing in both models, but for the tensors between a convolution and the pool whose work it took
over (or that now does its work). The end of such a stretch is found by its consumers: a paired call
takes the same argument in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from keras_downswap.calibration.execution.interpreter import ScopePath, TensorRef
from keras_downswap.ir.graph import POOLS, Call, Graph, Role, Shape, spatial
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import paths_upstream


@dataclass
class Pairs:
    """What was paired.

    Attributes:
        tensors: For a tensor of the new model the tensor of the old model that it stands for.
        ends: Those tensors of the new model where the work of layers ends that only one of the two
            models has.
        sites: Calls of the new model that do otherwise than those of the same name in the old one,
            with their names.
        added: Convolutions that the old model has none of the name of, likewise.
    """

    tensors: dict[TensorRef, TensorRef] = field(default_factory=dict)
    ends: list[TensorRef] = field(default_factory=list)
    sites: dict[TensorRef, str] = field(default_factory=dict)
    added: dict[TensorRef, str] = field(default_factory=dict)


def paired(old: Graph, new: Graph) -> Pairs:
    """Pair the tensors of two models, nested ones included."""
    pairs = Pairs()
    _Scope(old, new, (), (), "", pairs).pair()
    return pairs


class _Scope:
    """Two scopes being paired."""

    def __init__(
        self, old: Graph, new: Graph, from_: ScopePath, to: ScopePath, prefix: str, pairs: Pairs
    ) -> None:
        self.old, self.new, self.from_, self.to, self.prefix, self.pairs = (
            old,
            new,
            from_,
            to,
            prefix,
            pairs,
        )
        theirs = dict(_occurrences(old))
        self.partner = {call.index: theirs[key] for key, call in _occurrences(new) if key in theirs}
        self.back = {theirs.index: new.calls[index] for index, theirs in self.partner.items()}

    def pair(self) -> None:
        """Pair what paired calls make, then what they take, then what is inside them."""
        apart, apart_now = self._apart(self.old, self.back), self._apart(self.new, self.partner)
        for index, theirs in self.partner.items():
            call = self.new.calls[index]
            for mine, other in zip(call.outputs, theirs.outputs, strict=False):
                if other not in apart and mine not in apart_now:
                    self._note(mine, other)
            if self._changed(call, theirs) or (
                call.role is Role.CONV and theirs.outputs[0] in apart
            ):
                self.pairs.sites[self.to, index] = self.prefix + call.path
        for call in self.new.calls:
            if call.role is Role.CONV and call.index not in self.partner:
                self.pairs.added[self.to, call.index] = self.prefix + call.path
        for index, theirs in self.partner.items():
            self._ends(self.new.calls[index].inputs, theirs.inputs)
        self._ends(self.new.outputs, self.old.outputs)
        for index, theirs in self.partner.items():
            call = self.new.calls[index]
            if call.nested_graph is not None and theirs.nested_graph is not None:
                trails = (*self.from_, theirs.index), (*self.to, index)
                _Scope(
                    theirs.nested_graph,
                    call.nested_graph,
                    *trails,
                    f"{self.prefix}{call.path}/",
                    self.pairs,
                ).pair()

    def _note(self, mine: int, other: int) -> None:
        if _may_be_equal(self.new.tensors[mine].shape, self.old.tensors[other].shape):
            self.pairs.tensors.setdefault((self.to, mine), (self.from_, other))

    def _ends(self, mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        """Pair arguments of paired calls where one of them comes from a call that the other model lacks."""
        for ours, other in zip(mine, theirs, strict=False):
            lost = self.old.tensors[other].producer not in self.back
            if lost or self.new.tensors[ours].producer not in self.partner:
                self._note(self._in_front(ours), other)
                self.pairs.ends.append((self.to, self._in_front(ours)))

    def _in_front(self, tensor: int) -> int:
        """Return what goes into the padding and cropping that a swap put in front of a convolution."""
        call = self.new.calls[self.new.tensors[tensor].producer]
        while call.role is Role.RESIZE and call.index not in self.partner:
            tensor = call.inputs[0]
            call = self.new.calls[self.new.tensors[tensor].producer]
        return tensor

    def _apart(self, graph: Graph, partners: dict[int, Call]) -> set[int]:
        """Return the tensors between a pool that only this model has and the convolutions that do its work there."""
        found: set[int] = set()
        for pool in graph.calls:
            if pool.index in partners or pool.role not in POOLS:
                continue
            paths = paths_upstream(graph, pool, padded=True)
            convs = [path[0] for path in paths]
            if not all(conv.role is Role.CONV and conv.index in partners for conv in convs):
                continue
            if any(
                _has_others(graph, path) or self._as_long(graph, path[0], pool, partners)
                for path in paths
            ):
                continue
            if not any(
                self._changed(conv, partners[conv.index]) for conv in convs
            ) and self._next_changed(graph, pool, partners):
                continue
            found |= {tensor for path in paths for call in path[:-1] for tensor in call.outputs}
        return found

    def _as_long(self, graph: Graph, conv: Call, pool: Call, partners: dict[int, Call]) -> bool:
        """Tell whether a convolution makes maps as long as in the other model: it does no strided pool's work then."""
        other = self.old if graph is self.new else self.new
        shapes = graph.output_shape(conv), other.output_shape(partners[conv.index])
        mine, theirs = (spatial(shape, conv.channels_last) for shape in shapes)
        return pool.strided and None not in mine and mine == theirs

    def _next_changed(self, graph: Graph, pool: Call, partners: dict[int, Call]) -> bool:
        """Tell whether the convolution behind a pool is another in the other model."""
        call: Call | None = graph.sole_consumer(pool)
        while call is not None and is_elementwise(graph, call, pool.channels_last):
            call = graph.sole_consumer(call)
        return (
            call is not None
            and call.index in partners
            and self._changed(call, partners[call.index])
        )

    @staticmethod
    def _changed(call: Call, other: Call) -> bool:
        sliding = call.role in POOLS | {Role.CONV} or other.role in POOLS | {Role.CONV}
        return sliding and (call.class_name != other.class_name or call.windows != other.windows)


def _occurrences(graph: Graph) -> Iterator[tuple[tuple[str, int], Call]]:
    """Yield every call with the name of its layer and how often that was called before."""
    seen: dict[str, int] = {}
    for call in graph.calls:
        seen[call.path] = seen.get(call.path, -1) + 1
        yield (call.path, seen[call.path]), call


def _has_others(graph: Graph, path: tuple[Call, ...]) -> bool:
    """Tell whether others read what runs from a convolution to a pool: then it cannot have been swapped for another."""
    return any(graph.sole_consumer(call) is None for call in path[:-1])


def _may_be_equal(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True)
    )
