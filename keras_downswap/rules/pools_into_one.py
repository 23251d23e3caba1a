"""Two pools of a kind in a row are one pool.

    max_{j<p2} max_{i<p1} x[(.*s2 + j)*s1 + i] = max over p1 + (p2 - 1)*s1 cells, stride s1*s2
    the same for means where the windows of the first tile the map (p1 = s1)

where the windows of the first leave no cell out (p1 >= s1). Maps that commute with the pool may
stand between: per-channel affine ones with means, non-decreasing ones with maxima. Neither pool may
reach outside its input.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.walks import commuting_run, sole_upstream
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool
from keras_downswap.rulekit.layers import POOL_KINDS, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_never_pads,
    require_one_dtype,
    require_window,
)
from keras_downswap.rulekit.replacements import Steps, placeholder_for, replace_calls
from keras_downswap.rulekit.rule import NotApplicable, require
from keras_downswap.rulekit.windows import window_pairs


@rule(targets=["cheapest"], promise=Promise.EXACT, anchors=is_pool, verbatim=True, rank=-1)
@swaps(MAP, max_pool(name="a"), max_pool(3, 2, name="b"))
@swaps(ODD, average_pool(name="a"), average_pool(3, 2, name="b"))
@refuses(MAP, average_pool(name="a"), max_pool(name="b"), reason="no pool of its kind")
@refuses(MAP, average_pool(3, 2, name="a"), average_pool(name="b"), reason="do not tile")
def pools_into_one(graph: Graph, pool: Call) -> Replacement:
    """Pool, pool -> one pool."""
    require_window(graph, pool)
    run = commuting_run(graph, pool)
    first = sole_upstream(graph, run[0])
    if first is None or first.role is not pool.role:
        raise NotApplicable(f"{pool.label} has no pool of its kind right before it")
    require_window(graph, first)
    _require_same_axes(first, pool)
    require_one_dtype(graph, (first, *run))
    # A mean of means counts a cell as often as windows overlap there; a maximum may count it twice.
    tiles = all(window.size == window.stride for window in first.windows)
    maxima = pool.role is Role.MAX_POOL
    require(tiles or maxima, f"the windows of {first.label} do not tile its map")
    gapless = all(window.size >= window.stride for window in first.windows)
    require(gapless, f"the windows of {first.label} leave cells out, which one window would see")
    require_never_pads(graph, first)
    require_never_pads(graph, pool)

    windows = []
    for a, b in window_pairs(first, pool):
        size = a.size + (b.size - 1) * a.stride
        windows.append(Window(size, a.stride * b.stride))
    kind = POOL_KINDS[pool.role]
    new = pool_layer(kind, pool.name, windows, first)
    rest = placeholder_for(graph, pool)
    steps: dict[int, Steps] = {first.index: (new,), pool.index: rest}
    return replace_calls((first, *run), steps)


def _require_same_axes(first: Call, pool: Call) -> None:
    formats = first.channels_last == pool.channels_last
    ranks = len(first.windows) == len(pool.windows)
    plain = first.wrapped is None and pool.wrapped is None
    same = formats and ranks and plain
    require(same, f"{first.label} and {pool.label} slide over different axes")
