"""A pool moves in front of the elementwise maps that commute with it, which then run on fewer values.

    max_{i<p} f(x[i]) = f(max_{i<p} x[i])    for f non-decreasing
    mean_{i<p} f(x[i]) = f(mean_{i<p} x[i])  for f affine in each channel

whatever the pool pads: a maximum is one of its cells, and the weights of a mean sum to one.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import KEEP, Replacement, Step
from keras_downswap.ir.walks import commuting_run
from keras_downswap.rulekit.layers import placeholder_for, pool_layer
from keras_downswap.rulekit.preconditions import require_one_dtype, require_window
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless
from keras_downswap.rules.pools_into_one import KINDS


def pool_before_elementwise(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap elementwise calls and a pool for the pool and the same calls behind it."""
    require_window(graph, pool)
    run = commuting_run(graph, pool)
    skip_unless(
        len(run) > 1, f"{pool.label} stands behind no elementwise map that commutes with it"
    )
    require_one_dtype(graph, run)
    new = pool_layer(KINDS[pool.role], pool.name, pool.windows, pool, pool)
    steps: dict[int, tuple[Step, ...]] = {
        run[0].index: (new, KEEP),
        pool.index: placeholder_for(graph, pool),
    }
    return Replacement(tuple(call.index for call in run), steps)


RULE = Rule(
    name="pool_before_elementwise",
    targets=frozenset({"cheapest"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pool_before_elementwise,
    summary="elementwise maps, pool -> pool, elementwise maps",
    rank=-1,
)
