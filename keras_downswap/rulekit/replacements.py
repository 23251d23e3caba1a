"""Whole answers of rules: which calls go, and what is called in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import KEEP, Make, MakeActivation, Replacement, Step
from keras_downswap.ir.walks import in_graph_order
from keras_downswap.rulekit.layers import POOL_KINDS, POOL_TARGETS, Layers, pool_layer
from keras_downswap.rulekit.matching import Branch, branches_upstream
from keras_downswap.rulekit.preconditions import require_window
from keras_downswap.rulekit.rule import require

Steps = tuple[Step, ...]
"""The layers that are called in the place of one call, in order."""

Fuse = Callable[[Graph, Branch], Layers]


def replace_call(call: Call, *steps: Step) -> Replacement:
    """Return the replacement of one call by the given steps, in order."""
    return Replacement((call.index,), {call.index: steps})


def replace_calls(run: Sequence[Call], steps: Mapping[int, Steps]) -> Replacement:
    """Return the replacement of some calls of a run.

    Args:
        run: The calls that the site spans, upstream first.
        steps: What is called in the place of a call, by its index; the other calls stay.
    """
    return Replacement(tuple(call.index for call in run), steps)


def replace_and_append(run: Sequence[Call], layers: Layers, last_layer: Make) -> Replacement:
    """Return the replacement of a run's first call, with one more layer after its last call."""
    first = run[0]
    last = run[-1]
    if first is last:
        return replace_call(first, *layers, last_layer)
    steps: dict[int, Steps] = {first.index: layers}
    steps[last.index] = (KEEP, last_layer)
    return replace_calls(run, steps)


def in_each_branch(graph: Graph, pool: Call, fuse: Fuse, padded: bool = False) -> Replacement:
    """Return a pool's work done by the convolutions of all branches that lead to it.

    Args:
        graph: The graph.
        pool: The pool, which is removed.
        fuse: Returns the layers that replace one branch's convolution; refuses through `require`.
        padded: Whether a ZeroPadding layer right before the pool may count as the pool's own
            padding: then where the windows lie agrees, not their values.

    Raises:
        Refused: If the convolution of some branch cannot do the pool's work: then none does.
    """
    branches = branches_upstream(graph, pool, padded)
    steps: dict[int, Steps] = {}
    for branch in branches:
        # The branch's pool has the padding of the layer before it: so that layer must go.
        steps[branch.conv.index] = fuse(graph, branch)
        for call in branch.between:
            if call.role is Role.RESIZE:
                steps[call.index] = ()
    steps[pool.index] = placeholder_for(graph, pool)
    calls = in_graph_order(branch.calls for branch in branches)
    return replace_calls(calls, steps)


def other_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Return a pool of the kind that a target names, over the same windows, as the replacement.

    Raises:
        Refused: If the pool is of that kind already, or pools integers.
    """
    kind = POOL_TARGETS[to]
    other = POOL_KINDS.get(pool.role) is not kind
    require(other, f"{pool.label} already is what to='{to}' asks for")
    require_window(graph, pool)
    dtype = graph.tensors[pool.inputs[0]].dtype
    floats = "averages are computed of floating-point numbers only"
    require("float" in dtype, f"{pool.label} pools {dtype}, and {floats}")
    new = pool_layer(kind, pool.name, pool.windows, pool)
    return replace_call(pool, new)


def placeholder_for(graph: Graph, pool: Call) -> Steps:
    """Return the replacement of a removed pool: nothing, as a rule.

    Where the pool names one of several outputs of the model, an identity of its name stays.
    """
    several = graph.scope == 0 and len(graph.outputs) > 1
    if several and graph.is_output(pool):
        # Users address such an output by its layer's name, in losses and metrics.
        identity = MakeActivation(pool.name, pool.layer, LayerKind.ACTIVATION, "linear")
        return (identity,)
    return ()
