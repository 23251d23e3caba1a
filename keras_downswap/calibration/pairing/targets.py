"""Which layers of a swapped model a closed form can fit, and to what in the old one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keras_downswap.calibration.execution.interpreter import ScopePath, TensorRef
from keras_downswap.calibration.execution.live_kernel import Join, Kernel
from keras_downswap.calibration.pairing.pairs import Pairs
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, is_elementwise, is_position_wise

DENSE = "Dense"


@dataclass(frozen=True)
class Target:
    """A layer with a kernel, and the tensor behind it that has its like in the old model.

    Attributes:
        place: The layer's call in the new model.
        name: Its name, as `outer/inner` where nested.
        call: The call.
        chain: The calls between it and `end`, in order: elementwise ones, and joins with other
            branches.
        joins: The joins among them, by the number of the call.
        beside: The tensors of the new model that these take besides, in order.
        end: The tensor of the new model that is compared.
        goal: The tensor of the old model that it stands for.
        rank: Number of axes between batch and channels of what the layer makes.
        site: Whether the layer downsamples otherwise than in the old model.
        scope: The number of the graph that holds the call.
    """

    place: TensorRef
    name: str
    call: Call
    chain: tuple[Call, ...]
    joins: Mapping[int, Join]
    beside: tuple[TensorRef, ...]
    end: TensorRef
    goal: TensorRef
    rank: int
    site: bool
    scope: int

    def kernel(self, new: Reading) -> Kernel:
        """Return the live side of the layer."""
        return Kernel(new, self.call, self.chain, self.rank, self.site, self.joins, self.scope)


def affected(graph: Graph, pairs: Pairs) -> list[tuple[TensorRef, str, Call, Graph]]:
    """Return every call that sees what some site makes, sites included, in the order in which they run.

    Returns:
        For each its place, its layer's name as `outer/inner`, the call, and the graph that holds
        it.
    """
    found: list[tuple[TensorRef, str, Call, Graph]] = []
    _follow(graph, (), "", pairs, set(), found)
    return found


def _follow(
    graph: Graph,
    trail: ScopePath,
    prefix: str,
    pairs: Pairs,
    moved: set[TensorRef],
    found: list[tuple[TensorRef, str, Call, Graph]],
) -> None:
    """Follow through a scope what sites move; `moved` are the tensors that they have moved so far."""
    for call in graph.calls:
        place = (trail, call.index)
        moves = (
            place in pairs.sites
            or place in pairs.added
            or any((trail, t) in moved for t in call.inputs)
        )
        if call.nested_graph is not None:
            deeper = (*trail, call.index)
            moved.update(
                (deeper, i)
                for i, t in zip(call.nested_graph.inputs, call.inputs, strict=False)
                if (trail, t) in moved
            )
            before = len(found)
            _follow(call.nested_graph, deeper, f"{prefix}{call.path}/", pairs, moved, found)
            moves = moves or len(found) > before
        elif moves:
            found.append((place, prefix + call.path, call, graph))
        if moves:
            moved.update((trail, t) for t in call.outputs)


def targets_of(new: Graph, pairs: Pairs) -> tuple[list[Target], dict[str, str]]:
    """Find the layers that a closed form can fit: sites, and what sees what they make.

    Args:
        new: The new model.
        pairs: What in it stands for what in the old one.

    Returns:
        The layers in the order in which they run, and for each site that is none of them the
        reason.
    """
    uses = new.uses()
    found: list[Target] = []
    reasons: dict[str, str] = {}
    for place, name, call, graph in affected(new, pairs):
        if call.role is not Role.CONV and call.class_name != DENSE:
            continue
        reason = obstacle(graph, call, call.uses(uses))
        site = place in pairs.sites or place in pairs.added
        end = None if reason else _end(graph, place[0], call, pairs)
        if end is not None:
            way, tensor = end, end.tensor
            rank = len(graph.tensors[tensor].shape) - 2
            beside = tuple((place[0], other) for other in way.beside)
            ends = (place[0], tensor), pairs.tensors[place[0], tensor]
            found.append(
                Target(
                    place, name, call, way.chain, way.joins, beside, *ends, rank, site, graph.scope
                )
            )
        elif site:
            reasons[name] = reason or _why_not(graph, call)
    return found, reasons


def obstacle(graph: Graph, call: Call, uses: int) -> str:
    """Say why a layer cannot be fitted by one of its calls; empty where it can."""
    if uses > 1:
        return f"{call.label} is called in {uses} places, and one kernel serves them all"
    if call.windows and len(call.windows) != len(graph.input_shape(call)) - 2:
        return f"{call.label} slides over the last axes of a map that has more"
    if call.wrapped is not None and not call.channels_last:
        return f"{call.label} runs inside a TimeDistributed layer with its channels first"
    if call.role is Role.OTHER_CONV or call.frozen_training is not None:
        return f"{call.label} is called in a way of its own"
    if call.obstacle is not None:
        return f"{call.label} {call.obstacle}"
    return ""


def _why_not(graph: Graph, call: Call) -> str:
    """Say what keeps a layer from being compared."""
    way = _Way(call.outputs[0])
    while (further := _further(graph, call, way, False)) is not None:
        way = further
    user = graph.sole_consumer(way.chain[-1] if way.chain else call)
    if user is not None and user.role is Role.JOIN and not _known(graph, call, _others(user, way)):
        return f"{call.label} meets branches in {user.label} that run later, and these take up what it gets wrong"
    behind = "several layers, or none," if user is None else user.label
    return (
        f"{call.label} is followed by {behind} before anything stands for a tensor of the original"
    )


@dataclass(frozen=True)
class _Way:
    """What leads from a layer to a tensor behind it: see `Target`."""

    tensor: int
    chain: tuple[Call, ...] = ()
    joins: Mapping[int, Join] = field(default_factory=dict)
    beside: tuple[int, ...] = ()

    def through(self, call: Call, join: Join | None = None, beside: tuple[int, ...] = ()) -> _Way:
        """Return the way on through a call that takes the tensor."""
        joins = self.joins if join is None else {**self.joins, call.index: join}
        return _Way(call.outputs[0], (*self.chain, call), joins, (*self.beside, *beside))


def _end(graph: Graph, trail: ScopePath, call: Call, pairs: Pairs) -> _Way | None:
    """Return the way to the last paired tensor behind a call that elementwise calls and joins lead to.

    A map that mixes channels has no slope of its own for each of them: where something in front of
    it can be compared, the way ends there. At a join it goes on where all other branches were run
    before the call.
    """
    best: _Way | None = None
    way: _Way | None = _Way(call.outputs[0])
    while way is not None:
        if (trail, way.tensor) in pairs.tensors:
            best = way
        way = _further(graph, call, way, best is not None)
    return best


def _further(graph: Graph, call: Call, way: _Way, found: bool) -> _Way | None:
    user = graph.sole_consumer(way.chain[-1] if way.chain else call)
    if user is None or user.frozen_training:
        return None
    if user.role is Role.JOIN:
        return _joined(graph, call, way, user)
    alike = is_elementwise(graph, user, call.channels_last) and not (
        mixes_channels(user) and (found or way.joins)
    )
    return way.through(user) if alike else None


def _joined(graph: Graph, call: Call, way: _Way, join: Call) -> _Way | None:
    """Return the way on through a join; None where it cannot be told what other branches bring."""
    axis = len(graph.tensors[way.tensor].shape) - 1 if call.channels_last else 1
    widths = [graph.tensors[t].shape[axis] for t in (*join.inputs, *join.outputs)]
    if not is_position_wise(graph, join, call.channels_last) or None in widths:
        return None
    position = join.inputs.index(way.tensor)
    if join.class_name == "Concatenate":
        before, after = (
            sum(n or 0 for n in part) for part in (widths[:position], widths[position + 1 : -1])
        )
        return way.through(join, Join(position, 0, (before, after)))
    others = _others(join, way)
    alike = _known(graph, call, others) and widths[-1] == widths[position]
    return way.through(join, Join(position, len(others)), others) if alike else None


def _others(join: Call, way: _Way) -> tuple[int, ...]:
    return tuple(tensor for tensor in join.inputs if tensor != way.tensor)


def _known(graph: Graph, call: Call, tensors: tuple[int, ...]) -> bool:
    """Tell whether a player has made tensors before it comes to a call."""
    order = {c.index: number for number, c in enumerate(graph.branch_by_branch)}
    return all(order[graph.tensors[tensor].producer] < order[call.index] for tensor in tensors)


def mixes_channels(call: Call) -> bool:
    """Tell whether a call, or its activation, makes each channel of all channels, as a softmax does."""
    along = call.role is Role.POINTWISE and "axis" in call.settings and call.class_name != "PReLU"
    return along or call.settings.get("activation") in ALONG_LAST_AXIS


def run_order(graph: Graph, trail: ScopePath = ()) -> Iterator[TensorRef]:
    """Yield the place of every call in the order in which a player begins them."""
    for call in graph.branch_by_branch:
        yield trail, call.index
        if call.nested_graph is not None and call.is_inlinable:
            yield from run_order(call.nested_graph, (*trail, call.index))
