"""A pool moves before the elementwise maps that commute with it, which then run on fewer values.

    max_{i<p} f(x[i]) = f(max_{i<p} x[i])    for f non-decreasing
    mean_{i<p} f(x[i]) = f(mean_{i<p} x[i])  for f affine in each channel

whatever the pool pads: a maximum is one of its cells, and the weights of a mean sum to one.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import KEEP
from keras_downswap.ir.walks import commuting_run
from keras_downswap.rulekit import Promise, Replacement, Steps, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    max_pool,
    padded_average_pool,
    relu,
)
from keras_downswap.rulekit.layers import POOL_KINDS, pool_layer
from keras_downswap.rulekit.preconditions import require_one_dtype, require_window
from keras_downswap.rulekit.replacements import placeholder_for, replace_calls
from keras_downswap.rulekit.rule import skip_unless


@rule(targets=["cheapest"], promise=Promise.EXACT, anchors=is_pool, verbatim=True, rank=-1)
@swaps(MAP, relu(), max_pool(3, 2))
@swaps(ODD, batch_norm(), padded_average_pool())
@refuses(MAP, relu(), average_pool(), reason="no elementwise map that commutes")
@refuses(MAP, batch_norm(), max_pool(), reason="no elementwise map that commutes")
def pool_before_elementwise(graph: Graph, pool: Call) -> Replacement:
    """Elementwise maps, pool -> pool, elementwise maps."""
    require_window(graph, pool)
    run = commuting_run(graph, pool)
    commutes = "no elementwise map that commutes with it"
    skip_unless(len(run) > 1, f"{pool.label} has {commutes} right before it")
    # In another dtype the pool would round differently than after the maps.
    require_one_dtype(graph, run)
    kind = POOL_KINDS[pool.role]
    new = pool_layer(kind, pool.name, pool.windows, pool)
    first = run[0]
    steps: dict[int, Steps] = {first.index: (new, KEEP)}
    steps[pool.index] = placeholder_for(graph, pool)
    return replace_calls(run, steps)
