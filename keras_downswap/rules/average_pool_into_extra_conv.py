"""An average pool is a strided convolution with a filter per channel, which sees that channel only.

    mean_{i<p} x[j*q + i] = conv_q(x; w)[j],    w[t, c, c'] = (c = c') / p

axis by axis. Where the pool pads, its divisor changes from window to window: no single kernel does
that. The kernel is open to training: the All-CNN form of Springenberg et al. 2014.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import dense_mean
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool, padded_average_pool
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_conv
from keras_downswap.rulekit.preconditions import (
    require_floats,
    require_means,
    require_never_pads,
    require_window,
)
from keras_downswap.rulekit.replacements import replace_call


@rule(targets=["extra_conv"], promise=Promise.EXACT, anchors=is_pool)
@swaps(MAP, average_pool())
@swaps(ODD, average_pool(3, 2))
@refuses(MAP, max_pool(), reason="computes maxima")
@refuses(ODD, padded_average_pool(), reason="its divisor changes")
def average_pool_into_extra_conv(graph: Graph, pool: Call) -> Replacement:
    """Average pool -> strided convolution that starts at the mean."""
    require_means(pool)
    require_window(graph, pool)
    require_never_pads(graph, pool)
    require_floats(graph, pool)
    depth = depth_of(graph, pool)
    # Not frozen, and across all channels: training may move the kernel away from the mean.
    kernel = FixedKernel(pool.name, pool.windows, dense_mean, frozen=False)
    return replace_call(pool, fixed_conv(pool, kernel, depth))
