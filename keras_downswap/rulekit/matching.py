"""Walks through a graph that refuse: what a rule finds upstream or downstream of its call."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import paths_upstream
from keras_downswap.rulekit.preconditions import (
    require_conv,
    require_floats,
    require_free_name,
    require_window,
)
from keras_downswap.rulekit.rule import require, skip_unless


@dataclass(frozen=True)
class Branch:
    """One way that leads from a convolution to a pool.

    Attributes:
        conv: The convolution.
        between: The calls between, which treat every position alike, upstream first.
        pool: The pool, with the explicit padding of a ZeroPadding layer where that counts as its
            own.
    """

    conv: Call
    between: tuple[Call, ...]
    pool: Call

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls, upstream first."""
        return (self.conv, *self.between, self.pool)


def branches_upstream(graph: Graph, pool: Call, padded: bool = False) -> list[Branch]:
    """Find the convolutions upstream of a pool, one for each branch that leads to it.

    Args:
        graph: The graph.
        pool: The pool.
        padded: Whether a ZeroPadding layer right before the pool may count as its own padding.

    Raises:
        Refused: If the pool is no downsampling site, some branch ends in no convolution, or another
            consumer would see the change.
    """
    require_window(graph, pool)
    paths = paths_upstream(graph, pool, padded)
    branches = []
    for path in paths:
        conv = path[0]
        which = "" if len(paths) == 1 else f" along one of {len(paths)} branches"
        upsamples = ", which upsamples" if "Transpose" in conv.class_name else ""
        found = f"upstream{which} is {conv.label}{upsamples}"
        is_conv = conv.role in (Role.CONV, Role.OTHER_CONV)
        require(is_conv, f"no convolution is upstream of {pool.label}: {found}")
        require_conv(conv)
        # Another consumer of any of these calls would see pooled values where it saw a whole map.
        for call, after in pairwise(path):
            _require_sole_consumer(graph, call, after)
        _require_same_axes(conv, pool)
        given = _dtype_of_output(graph, path[-2])
        wanted = _dtype_of_output(graph, path[-1])
        reason = f"{pool.label} turns {given} into {wanted}, which a swap would lose"
        require(given == wanted, reason)
        *between, padded_pool = path[1:]
        branches.append(Branch(conv, tuple(between), padded_pool))
    return branches


def _dtype_of_output(graph: Graph, call: Call) -> str:
    return graph.tensors[call.outputs[0]].dtype


def _require_same_axes(conv: Call, pool: Call) -> None:
    """Refuse a pair of which one runs at each step of time, or of different ranks or formats."""
    both_in_time = (conv.wrapped is None) == (pool.wrapped is None)
    same = both_in_time and len(conv.windows) == len(pool.windows)
    require(same, f"{conv.label} and {pool.label} slide over different axes")
    formats = conv.channels_last == pool.channels_last
    require(formats, f"{conv.label} and {pool.label} differ in data_format")


def _require_sole_consumer(graph: Graph, call: Call, after: Call) -> None:
    users = graph.consumers[call.outputs[0]]
    others = [user for user in users if user != after.index]
    second = graph.calls[others[0]].label if others else "itself a second time"
    alone = len(users) == 1
    require(alone, f"the output of {call.label} has a second consumer, {second}")
    inner = not graph.is_output(call)
    require(inner, f"the output of {call.label} is also an output of the model")


def conv_downstream(graph: Graph, pool: Call, linear: bool = True) -> tuple[Call, ...]:
    """Find the convolution that alone consumes the output of a pool.

    Args:
        graph: The graph.
        pool: The pool.
        linear: Whether only per-channel affine calls may stand between; else any elementwise ones.

    Returns:
        The pool, the calls between, and the convolution.

    Raises:
        Refused: If the pool is no downsampling site, or the convolution cannot replace it.
        NotApplicable: If something else consumes or changes what the pool computes.
    """
    require_window(graph, pool)
    run = [pool]
    conv: Call | None = None
    while conv is None:
        call = _sole_consumer_of_output(graph, pool, run[-1])
        run.append(call)
        if call.role is Role.CONV:
            conv = call
            continue
        passes = is_elementwise(graph, call, pool.channels_last)
        if linear:
            passes = passes and call.role is Role.LINEAR
        # A call inside a TimeDistributed layer sees time as a part of the batch, so its shapes and
        # windows are not comparable with those of calls outside.
        in_time = call.wrapped is not None or pool.wrapped is not None
        reason = f"{call.label}, not a convolution, consumes the output of {pool.label}"
        skip_unless(passes and not in_time, reason)
    require_conv(conv)
    _require_same_axes(conv, pool)
    given = graph.tensors[pool.inputs[0]].dtype
    wanted = graph.tensors[conv.inputs[0]].dtype
    differ = f"{pool.label} gets {given} and {conv.label} {wanted}: a swap would lose that"
    require(given == wanted, differ)
    require_floats(graph, pool)
    return tuple(run)


def _sole_consumer_of_output(graph: Graph, pool: Call, call: Call) -> Call:
    """Return the one consumer of what a call computes.

    Raises:
        NotApplicable: If there are several or none, or the model outputs it.
    """
    users = graph.consumers.get(call.outputs[0], ())
    labels = [graph.calls[user].label for user in users]
    consumers = " and ".join(labels) or "nothing"
    alone = len(users) == 1 and not graph.is_output(call)
    reason = f"no convolution alone consumes the output of {pool.label}"
    skip_unless(alone, f"{reason}: {call.label} feeds {consumers}")
    return graph.calls[users[0]]


def pointwise_run(graph: Graph, conv: Call) -> tuple[Call, ...]:
    """Walk from a convolution downstream through elementwise calls, each alone in what it consumes.

    Returns:
        The convolution and its followers. Stops before a call that names one of several outputs of
        the model.

    Raises:
        Refused: If the convolution itself names one of several outputs.
    """
    require_free_name(graph, conv)
    several_outputs = graph.scope == 0 and len(graph.outputs) > 1
    run = [conv]
    while True:
        call = graph.sole_consumer(run[-1])
        if call is None or not is_elementwise(graph, call, conv.channels_last):
            return tuple(run)
        if (call.wrapped is None) != (conv.wrapped is None):
            return tuple(run)
        # A layer after it would give that output another name.
        if several_outputs and graph.is_output(call):
            return tuple(run)
        run.append(call)
