"""Which pools of a swapped model are of another kind than in the old one, and what takes a scale in front of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_downswap.dialects.player import Place
from keras_downswap.graph import POOLS, Call, Graph
from keras_downswap.match import is_elementwise, sole_upstream
from keras_downswap.recover.pairs import Pairs
from keras_downswap.recover.targets import affected, mixes_channels, obstacle


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
        while up is not None and (obstacle(up, uses[up.layer]) or not takes(up)):
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
