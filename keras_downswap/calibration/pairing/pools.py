"""Which pools of a swapped model are of another kind than in the old one, and what takes a scale in front of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_downswap.calibration.execution.interpreter import TensorRef
from keras_downswap.calibration.pairing.pairs import Pairs
from keras_downswap.calibration.pairing.targets import affected, mixes_channels, obstacle
from keras_downswap.ir.graph import POOLS, Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import sole_upstream


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
        scope: The number of the graph that holds the calls.
    """

    place: TensorRef
    name: str
    call: Call
    chain: tuple[Call, ...]
    pool: Call
    end: TensorRef
    goal: TensorRef
    scope: int


def pools_of(
    new: Graph, pairs: Pairs, takes: Callable[[Call], bool]
) -> tuple[list[PoolTarget], dict[str, str]]:
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
        if call.role not in POOLS or place not in pairs.sites:
            continue
        chain: list[Call] = []
        up = _in_front(graph, call, call)
        while up is not None and (obstacle(graph, up, up.uses(uses)) or not takes(up)):
            chain.insert(0, up)
            up = _in_front(graph, up, call)
        end = place[0], call.outputs[0]
        if end not in pairs.tensors:
            reasons[name] = f"what {call.label} makes stands for no tensor of the original"
        elif up is None:
            reasons[name] = (
                f"no layer in front of {call.label} alone takes a scale and an offset for each channel"
            )
        else:
            front = (place[0], up.index), name, up, tuple(chain)
            found.append(PoolTarget(*front, call, end, pairs.tensors[end], graph.scope))
    return found, reasons


def _in_front(graph: Graph, call: Call, pool: Call) -> Call | None:
    """Return the call in front of one that treats channels apart, where it treats those of the pool apart as well."""
    opaque = call is not pool and (call.role is Role.CONV or bool(call.frozen_training))
    up = (
        None
        if opaque or (call.wrapped is not None and not pool.channels_last)
        else sole_upstream(graph, call)
    )
    if up is None or mixes_channels(up):
        return None
    if up.role is Role.CONV:
        return (
            up
            if up.channels_last == pool.channels_last
            and (up.wrapped is None) == (pool.wrapped is None)
            else None
        )
    return up if is_elementwise(graph, up, pool.channels_last) else None
