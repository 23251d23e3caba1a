"""A maximum is computed by ReLUs: a tournament of the window's cells, a round to each layer.

    max(a, b) = relu(a - b) + b,    b = relu(b) - relu(-b)

where b = relu(b) if nothing is negative. The first round is a strided depthwise convolution over
the window, each later one a grouped 1x1 convolution, the last adds up; ceil(log2 p) rounds for p
cells. Padded zeros win only against negative numbers. The kernels are frozen.
"""

from dataclasses import replace
from functools import partial
from math import prod

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import round_of, tournament
from keras_downswap.ir.predicates import never_negative
from keras_downswap.ir.replacement import Make
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool, relu
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_conv, fixed_depthwise
from keras_downswap.rulekit.layers import Layers
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.rule import require, skip_unless
from keras_downswap.rulekit.windows import pointwise_windows, windows_with_lengths


@rule(targets=["conv_relu"], promise=Promise.EXACT, anchors=is_pool)
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
    zeros_win = "its input may be negative: a convolution pads zeros, which would win"
    for window, length in windows_with_lengths(graph, pool):
        # A max pool leaves out what it pads; the zeros of a convolution take part in the maximum,
        # and are the largest where all cells of the window are negative.
        safe = not signed or window.never_pads(length)
        require(safe, f"{pool.label} pads, and {zeros_win}")
    answer = replace_call(pool, *_rounds(graph, pool, signed))
    # Where nothing can be negative the kernels are smaller, and right for such values only.
    return replace(answer, signed=signed)


def _rounds(graph: Graph, pool: Call, signed: bool) -> Layers:
    """Return a layer for each round of the tournament; the last has the pool's name."""
    cells = prod(window.size for window in pool.windows)
    depth = depth_of(graph, pool)
    matrices = tournament(cells, signed)
    layers: list[Make] = []
    for number, matrix in enumerate(matrices):
        last = number == len(matrices) - 1
        name = pool.name if last else f"{pool.name}_round{number + 1}"
        # The last round adds what the ReLUs before it computed, and may be negative.
        activation = "linear" if last else "relu"
        values = partial(round_of, cells, signed, number)
        features = matrix.shape[1]
        if number == 0:
            kernel = FixedKernel(name, pool.windows, values, activation)
            layer = fixed_depthwise(pool, kernel, depth, features)
        else:
            # Each channel has its own features by now, and they must not mix.
            kernel = FixedKernel(name, pointwise_windows(pool), values, activation)
            layer = fixed_conv(pool, kernel, depth * features, groups=depth)
        layers.append(layer)
    return tuple(layers)
