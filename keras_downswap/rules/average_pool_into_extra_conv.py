"""An average pool is a strided convolution with a filter per channel, which sees that channel only.

    mean_{i<p} x[j*q + i] = conv_q(x; w)[j],    w[t, c, c'] = (c = c') / p

axis by axis. Where the pool pads, its divisor changes from window to window: no single kernel does
that. The kernel is open to training: the All-CNN form of Springenberg et al. 2014.
"""

from keras_downswap.ir.kernel_math import dense_mean
from keras_downswap.rulekit import Call, Graph, Promise, Replacement, is_pool, rule
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool, refuses, swaps
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_conv
from keras_downswap.rulekit.preconditions import (
    require_floats,
    require_means,
    require_never_pads,
    require_window,
)


@rule(
    targets=["extra_conv"],
    promise=Promise.EXACT,
    anchors=is_pool,
)
@swaps(MAP, average_pool())
@swaps(ODD, average_pool(3, 2))
@refuses(MAP, max_pool(), reason="computes maxima")
@refuses(ODD, average_pool(padding="same"), reason="its divisor changes")
def average_pool_into_extra_conv(graph: Graph, pool: Call) -> Replacement:
    """Average pool -> strided convolution that starts at the mean."""
    require_means(pool)
    require_window(graph, pool)
    require_never_pads(graph, pool)
    require_floats(graph, pool)
    depth = depth_of(graph, pool)
    new = fixed_conv(pool, pool.name, pool.windows, dense_mean, depth, frozen=False)
    return Replacement((pool.index,), {pool.index: (new,)})
