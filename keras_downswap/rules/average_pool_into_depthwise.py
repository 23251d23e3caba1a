"""An average pool by itself is a convolution of each channel by itself.

    mean_{i<p} x[j*q + i] = conv_q(x; w)[j],    w[t] = 1/p

axis by axis, without a bias. Where the pool pads, its divisor changes from window to window, which
no single kernel does. The kernel is frozen, as a pool has nothing to train.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import mean
from keras_downswap.rulekit import LAST_RESORT, Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    max_pool,
    padded_average_pool,
    relu,
)
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_depthwise
from keras_downswap.rulekit.preconditions import (
    require_floats,
    require_means,
    require_never_pads,
    require_window,
)
from keras_downswap.rulekit.replacements import replace_call


# Of the last rank: a convolution upstream that does the pool's work saves a layer.
@rule(
    targets=["strided_conv", "conv_relu"],
    promise=Promise.EXACT,
    anchors=is_pool,
    rank=LAST_RESORT,
)
@swaps(MAP, relu(), average_pool())
@swaps(ODD, relu(), average_pool(3, 2))
@swaps(ODD, relu(), average_pool((2, 3), (1, 2)))
@refuses(MAP, relu(), max_pool(), reason="computes maxima")
@refuses(ODD, relu(), padded_average_pool(), reason="its divisor changes")
def average_pool_into_depthwise(graph: Graph, pool: Call) -> Replacement:
    """Average pool -> strided depthwise convolution with a fixed kernel."""
    require_means(pool)
    require_window(graph, pool)
    require_never_pads(graph, pool)
    require_floats(graph, pool)
    depth = depth_of(graph, pool)
    kernel = FixedKernel(pool.name, pool.windows, mean)
    return replace_call(pool, fixed_depthwise(pool, kernel, depth))
