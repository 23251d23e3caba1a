"""Which pools of a swapped model are of another kind now, and the layers fitted before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_downswap.calibration.pairing.pairs import Pairs
from keras_downswap.calibration.pairing.targets import (
    AffectedCall,
    FitTarget,
    affected_calls,
    fit_obstacle,
    mixes_channels,
)
from keras_downswap.ir.graph import POOLS, Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import sole_upstream


@dataclass(frozen=True)
class PoolTarget(FitTarget):
    """A pool that is of another kind than in the old model, and the layer before it that is fitted.

    The name is the pool's, and `end` is its output. `following` are the elementwise calls between
    the layer and the pool.

    Attributes:
        pool: The pool's call.
    """

    pool: Call


def find_pool_targets(
    new: Graph, pairs: Pairs, takes_scale: Callable[[Call], bool]
) -> tuple[list[PoolTarget], dict[str, str]]:
    """Find the pools of another kind, and the layers before them that take a scale and an offset.

    Args:
        new: The new model.
        pairs: What in it stands for what in the old one.
        takes_scale: Whether the weights of a call's layer can take them up, and may change.

    Returns:
        The pools in the order of the graph, and for each that has no such layer the reason.
    """
    uses = new.uses()

    def can_be_fitted(graph: Graph, call: Call) -> bool:
        obstacle = fit_obstacle(graph, call, call.uses(uses))
        return not obstacle and takes_scale(call)

    found: list[PoolTarget] = []
    reasons: dict[str, str] = {}
    for affected in affected_calls(new, pairs):
        pool, graph = affected.call, affected.graph
        if pool.role not in POOLS or affected.ref not in pairs.sites:
            continue
        # The nearest layer is the best one: the fewer calls between, the less the fit must look
        # through, and one further up is tried only where it cannot be fitted.
        between: list[Call] = []
        layer = _call_before(graph, pool, pool)
        while layer is not None and not can_be_fitted(graph, layer):
            between.insert(0, layer)
            layer = _call_before(graph, layer, pool)
        end = (affected.ref[0], pool.outputs[0])
        if end not in pairs.tensors:
            reasons[affected.name] = f"what {pool.label} makes stands for no tensor of the original"
        elif layer is None:
            reasons[affected.name] = (
                f"no layer that {pool.label} alone reads can have a scale and an offset "
                "for each channel"
            )
        else:
            found.append(_pool_target(affected, layer, between, pairs))
    return found, reasons


def _pool_target(
    affected: AffectedCall, layer: Call, between: list[Call], pairs: Pairs
) -> PoolTarget:
    path = affected.ref[0]
    pool, graph = affected.call, affected.graph
    end = (path, pool.outputs[0])
    return PoolTarget(
        call_ref=(path, layer.index),
        name=affected.name,
        call=layer,
        following=tuple(between),
        end=end,
        goal=pairs.tensors[end],
        rank=len(graph.tensors[pool.outputs[0]].shape) - 2,
        scope=graph.scope,
        pool=pool,
    )


def _call_before(graph: Graph, call: Call, pool: Call) -> Call | None:
    """Return the call before one, if both treat each channel of the pool by itself.

    Otherwise a scale of a channel of its output would be none of a channel of the pool's input.

    Args:
        graph: The graph.
        call: The pool, or a call before it.
        pool: The pool.
    """
    is_opaque = call.role is Role.CONV or bool(call.frozen_training)
    if is_opaque and call is not pool:
        return None
    # Inside TimeDistributed, shapes have an axis more, and "channels first" no longer says where.
    if call.wrapped is not None and not pool.channels_last:
        return None
    # If another call read that output too, a scale would change what it sees.
    before = sole_upstream(graph, call)
    if before is None or mixes_channels(before):
        return None
    if before.role is not Role.CONV:
        return before if is_elementwise(graph, before, pool.channels_last) else None
    # A convolution may mix channels, as it ends the walk; its output must be laid out as the pool
    # has it.
    same_layout = before.channels_last == pool.channels_last
    same_time = (before.wrapped is None) == (pool.wrapped is None)
    return before if same_layout and same_time else None
