"""A maximum is computed by ReLUs: a tournament of the window's cells, a round to each layer.

    max(a, b) = relu(a - b) + b,    b = relu(b) - relu(-b),  and b = relu(b) where nothing is
    negative

The first round is a strided depthwise convolution over the window, each later one a grouped 1x1
convolution, the last adds up; ceil(log2 p) rounds for p cells. Padded zeros win only against
negative numbers. The kernels are frozen.
"""

from functools import partial
from math import prod

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import round_of, tournament
from keras_downswap.ir.predicates import is_pool, never_negative
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_conv, fixed_depthwise
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless


def max_pool_into_relus(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a max pool for convolutions with ReLU between them; the last takes the pool's name."""
    skip_unless(pool.role is Role.MAX_POOL, f"{pool.label} is no max pool")
    require_window(graph, pool)
    require_floats(graph, pool)
    signed = not never_negative(graph, pool.inputs[0])
    for window, n in zip(pool.windows, graph.sizes(pool), strict=True):
        reason = f"{pool.label} pads, and what it takes may be negative: a convolution pads zeros, which would win"
        require(not signed or window.never_pads(n), reason)
    cells, depth = prod(w.size for w in pool.windows), depth_of(graph, pool)
    matrices = tournament(cells, signed)
    ones = [Window(1)] * len(pool.windows)
    made: list[Make] = []
    for number, matrix in enumerate(matrices):
        last = number == len(matrices) - 1
        name = pool.name if last else f"{pool.name}_round{number + 1}"
        kernel, activation = partial(round_of, cells, signed, number), "linear" if last else "relu"
        if number == 0:
            made.append(
                fixed_depthwise(
                    graph, pool, name, pool.windows, kernel, matrix.shape[1], activation
                )
            )
        else:
            made.append(
                fixed_conv(pool, name, ones, kernel, depth * matrix.shape[1], depth, activation)
            )
    return Replacement((pool.index,), {pool.index: tuple(made)}, signed=signed)


RULE = Rule(
    name="max_pool_into_relus",
    targets=frozenset({"conv_relu"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=max_pool_into_relus,
    summary="max pool -> strided depthwise convolution, ReLU, 1x1 convolutions",
)
