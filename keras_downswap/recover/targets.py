"""Which layers of a swapped model a closed form can fit, and to what in the old one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keras_downswap.dialects.kernel import Kernel
from keras_downswap.dialects.player import Place, Trail
from keras_downswap.dialects.reading import Reading
from keras_downswap.graph import POOLS, Call, Graph, Role
from keras_downswap.match import is_elementwise, sole_upstream
from keras_downswap.recover.pairs import Pairs

DENSE = "Dense"


@dataclass(frozen=True)
class Target:
    """A layer with a kernel, and the tensor behind it that has its like in the old model.

    Attributes:
        place: The layer's call in the new model.
        name: Its name, as `outer/inner` where nested.
        call: The call.
        chain: The elementwise calls between it and `end`, in order.
        end: The tensor of the new model that is compared.
        goal: The tensor of the old model that it stands for.
        rank: Number of axes between batch and channels of what the layer makes.
        site: Whether the layer downsamples otherwise than in the old model.
    """

    place: Place
    name: str
    call: Call
    chain: tuple[Call, ...]
    end: Place
    goal: Place
    rank: int
    site: bool

    def kernel(self, new: Reading) -> Kernel:
        """Return the live side of the layer."""
        return Kernel(new, self.call, self.chain, self.rank, self.site)


def affected(graph: Graph, pairs: Pairs) -> list[tuple[Place, str, Call, Graph]]:
    """Return every call that sees what some site makes, sites included, in the order in which they run.

    Returns:
        For each its place, its layer's name as `outer/inner`, the call, and the graph that holds it.
    """
    found: list[tuple[Place, str, Call, Graph]] = []
    _follow(graph, (), "", pairs, set(), found)
    return found


def _follow(
    graph: Graph,
    trail: Trail,
    prefix: str,
    pairs: Pairs,
    moved: set[Place],
    found: list[tuple[Place, str, Call, Graph]],
) -> None:
    """Follow through a scope what sites move; `moved` are the tensors that they have moved so far."""
    for call in graph.calls:
        place = (trail, call.index)
        moves = place in pairs.sites or place in pairs.added or any((trail, t) in moved for t in call.inputs)
        if call.inner is not None and call.wrapped is None:
            deeper = (*trail, call.index)
            moved.update(
                (deeper, i) for i, t in zip(call.inner.inputs, call.inputs, strict=False) if (trail, t) in moved
            )
            before = len(found)
            _follow(call.inner, deeper, f"{prefix}{call.path}/", pairs, moved, found)
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
        The layers in the order in which they run, and for each site that is none of them the reason.
    """
    uses = new.uses()
    found: list[Target] = []
    reasons: dict[str, str] = {}
    for place, name, call, graph in affected(new, pairs):
        if call.role is not Role.CONV and call.class_name != DENSE:
            continue
        reason = _obstacle(call, uses[call.layer])
        end = None if reason else _end(graph, place[0], call, pairs)
        if end is not None:
            chain, tensor = end
            goal = pairs.tensors[place[0], tensor]
            rank = len(graph.tensors[tensor].shape) - 2
            found.append(
                Target(
                    place,
                    name,
                    call,
                    chain,
                    (place[0], tensor),
                    goal,
                    rank,
                    place in pairs.sites or place in pairs.added,
                )
            )
        elif place in pairs.sites or place in pairs.added:
            reasons[name] = reason or _why_not(graph, call)
    return found, reasons


def _obstacle(call: Call, uses: int) -> str:
    if uses > 1:
        return f"{call.label} is called in {uses} places, and one kernel serves them all"
    if call.wrapped is not None:
        return f"{call.label} runs inside a TimeDistributed layer"
    if call.role is Role.OTHER_CONV or call.frozen_training is not None:
        return f"{call.label} is called in a way of its own"
    return ""


def _why_not(graph: Graph, call: Call) -> str:
    """Say what keeps a layer from being compared."""
    last = call
    while (user := graph.sole_consumer(last)) is not None and is_elementwise(graph, user, call.channels_last):
        last = user
    behind = "several layers, or none," if user is None else user.label
    return f"{call.label} is followed by {behind} before anything stands for a tensor of the original"


def _end(graph: Graph, trail: tuple[int, ...], call: Call, pairs: Pairs) -> tuple[tuple[Call, ...], int] | None:
    """Return the last paired tensor behind a call that elementwise calls lead to, and these calls.

    A map that mixes channels has no slope of its own for each of them: where something in front of it can be compared,
    the way ends there.
    """
    chain: list[Call] = []
    best: tuple[tuple[Call, ...], int] | None = None
    at: Any = call
    while True:
        tensor = at.outputs[0]
        if (trail, tensor) in pairs.tensors:
            best = (tuple(chain), tensor)
        user = graph.sole_consumer(at)
        if user is None or user.frozen_training is not None or not is_elementwise(graph, user, call.channels_last):
            return best
        if best is not None and mixes_channels(user):
            return best
        chain.append(user)
        at = user


def mixes_channels(call: Call) -> bool:
    """Tell whether an elementwise call makes each channel of all channels, as a softmax and LayerNormalization do."""
    return call.role is Role.POINTWISE and "axis" in call.settings and call.class_name != "PReLU"


@dataclass(frozen=True)
class PoolTarget:
    """A pool that is of another kind than in the old model, and the layer in front that takes its scale and offset.

    Attributes:
        place: That layer's call in the new model.
        name: The pool's name, as `outer/inner` where nested.
        call: The call of the layer in front.
        chain: The elementwise calls between it and the pool, in order.
        pool: The pool's call.
        end: The tensor of the new model that is compared.
        goal: The tensor of the old model that it stands for.
    """

    place: Place
    name: str
    call: Call
    chain: tuple[Call, ...]
    pool: Call
    end: Place
    goal: Place


def pools_of(new: Graph, pairs: Pairs, takes: Callable[[Call], bool]) -> tuple[list[PoolTarget], dict[str, str]]:
    """Find the pools of another kind, and what takes a scale and an offset for each channel in front of them.

    Args:
        new: The new model.
        pairs: What in it stands for what in the old one.
        takes: Tells whether the weights of a call's layer can take them, and may.

    Returns:
        The pools in the order in which they run, and for each that has no such layer the reason.
    """
    uses = new.uses()
    found: list[PoolTarget] = []
    reasons: dict[str, str] = {}
    for place, name, call, graph in affected(new, pairs):
        end = place[0], call.outputs[0]
        if call.role not in POOLS or place not in pairs.sites or end not in pairs.tensors:
            continue
        chain: list[Call] = []
        up = _in_front(graph, call)
        while up is not None and (_obstacle(up, uses[up.layer]) or not takes(up)):
            going_on = is_elementwise(graph, up, call.channels_last) and not mixes_channels(up)
            chain.insert(0, up)
            up = _in_front(graph, up) if going_on and up.frozen_training is None else None
        if up is None:
            reasons[name] = f"no layer in front of {call.label} alone takes a scale and an offset for each channel"
        else:
            found.append(PoolTarget((place[0], up.index), name, up, tuple(chain), call, end, pairs.tensors[end]))
    return found, reasons


def _in_front(graph: Graph, call: Call) -> Call | None:
    return None if call.wrapped is not None else sole_upstream(graph, call)


def run_order(graph: Graph, trail: Trail = ()) -> Iterator[Place]:
    """Yield the place of every call in the order in which they begin: a nested model in front of what is inside."""
    for call in graph.calls:
        yield trail, call.index
        if call.inner is not None and call.wrapped is None:
            yield from run_order(call.inner, (*trail, call.index))
