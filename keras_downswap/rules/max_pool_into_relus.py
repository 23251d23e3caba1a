"""A maximum is computed by ReLUs: a tournament of the window's cells, a round to each layer.

    max(a, b) = relu(a - b) + b,    b = relu(b) - relu(-b)

where b = relu(b) if nothing is negative. The first round is a strided depthwise convolution over
the window, each later one a grouped 1x1 convolution, the last adds up; ceil(log2 p) rounds for p
cells. Padded zeros win only against negative numbers. The kernels are frozen.
"""

from functools import partial
from math import prod

from keras_downswap.ir.kernel_math import round_of, tournament
from keras_downswap.ir.predicates import never_negative
from keras_downswap.rulekit import (
    Call,
    Graph,
    Make,
    Promise,
    Replacement,
    Role,
    Window,
    is_pool,
    require,
    rule,
    skip_unless,
)
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool, refuses, relu, swaps
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_conv, fixed_depthwise
from keras_downswap.rulekit.preconditions import require_floats, require_window


@rule(
    targets=["conv_relu"],
    promise=Promise.EXACT,
    anchors=is_pool,
)
@swaps(MAP, relu(), max_pool())
@swaps(ODD, max_pool(3, 2))
@swaps(ODD, relu(), max_pool(3, 2, padding="same"))
@swaps(ODD, max_pool((2, 3)))
@refuses(MAP, average_pool(), reason="is no max pool")
@refuses(ODD, max_pool(padding="same"), reason="a convolution pads zeros, which would win")
def max_pool_into_relus(graph: Graph, pool: Call) -> Replacement:
    """Max pool -> strided depthwise convolution, ReLU, 1x1 convolutions."""
    skip_unless(pool.role is Role.MAX_POOL, f"{pool.label} is no max pool")
    require_window(graph, pool)
    require_floats(graph, pool)
    signed = not never_negative(graph, pool.inputs[0])
    for window, n in zip(pool.windows, graph.sizes(pool), strict=True):
        zeros_win = "its input may be negative: a convolution pads zeros, which would win"
        safe = not signed or window.never_pads(n)
        require(safe, f"{pool.label} pads, and {zeros_win}")
    layers = _rounds(graph, pool, signed)
    return Replacement((pool.index,), {pool.index: layers}, signed=signed)


def _rounds(graph: Graph, pool: Call, signed: bool) -> tuple[Make, ...]:
    """Return a layer for each round of the tournament; the last has the pool's name."""
    cells = prod(window.size for window in pool.windows)
    depth = depth_of(graph, pool)
    matrices = tournament(cells, signed)
    point = [Window(1)] * len(pool.windows)
    made: list[Make] = []
    for number, matrix in enumerate(matrices):
        last = number == len(matrices) - 1
        name = pool.name if last else f"{pool.name}_round{number + 1}"
        activation = "linear" if last else "relu"
        kernel = partial(round_of, cells, signed, number)
        features = matrix.shape[1]
        if number == 0:
            layer = fixed_depthwise(
                pool,
                name,
                pool.windows,
                kernel,
                depth=depth,
                features=features,
                activation=activation,
            )
        else:
            filters = depth * features
            layer = fixed_conv(
                pool, name, point, kernel, filters, groups=depth, activation=activation
            )
        made.append(layer)
    return tuple(made)
