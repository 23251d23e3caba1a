"""Two pools of a kind in a row are one pool.

    max_{j<p2} max_{i<p1} x[(.*s2 + j)*s1 + i] = max over p1 + (p2 - 1)*s1 cells, stride s1*s2
    the same for means where the windows of the first tile the map (p1 = s1)

where the windows of the first leave no cell out (p1 >= s1). Maps that commute with the pool may
stand between: per-channel affine ones with means, non-decreasing ones with maxima. Neither pool may
reach outside its input.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.ir.walks import commuting_run, sole_upstream
from keras_downswap.rulekit.layers import placeholder_for, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_never_pads,
    require_one_dtype,
    require_window,
)
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless

KINDS = {Role.MAX_POOL: "MaxPooling", Role.AVERAGE_POOL: "AveragePooling"}


def pools_into_one(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap two pools for one in the place of the first; what stands between follows it."""
    require_window(graph, pool)
    run = commuting_run(graph, pool)
    first = sole_upstream(graph, run[0])
    skip_unless(
        first is not None and first.role is pool.role,
        f"{pool.label} stands behind no pool of its kind",
    )
    assert first is not None
    require_window(graph, first)
    same = first.channels_last == pool.channels_last and len(first.windows) == len(pool.windows)
    require(
        same and first.wrapped == pool.wrapped is None,
        f"{first.label} and {pool.label} slide over other axes",
    )
    require_one_dtype(graph, (first, *run))
    tiles = all(w.size == w.stride for w in first.windows)
    gapless = all(w.size >= w.stride for w in first.windows)
    require(
        tiles or pool.role is Role.MAX_POOL, f"the windows of {first.label} do not tile its map"
    )
    require(gapless, f"the windows of {first.label} leave cells out, which one window would see")
    for call in (first, pool):
        require_never_pads(graph, call)
    axes = zip(first.windows, pool.windows, strict=True)
    windows = [Window(a.size + (b.size - 1) * a.stride, a.stride * b.stride) for a, b in axes]
    new = pool_layer(KINDS[pool.role], pool.name, windows, first, first)
    chain = tuple(call.index for call in (first, *run))
    return Replacement(chain, {first.index: (new,), pool.index: placeholder_for(graph, pool)})


RULE = Rule(
    name="pools_into_one",
    targets=frozenset({"cheapest"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pools_into_one,
    summary="pool, pool -> one pool",
    rank=-1,
)
