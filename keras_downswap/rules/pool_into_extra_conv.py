"""A pool becomes a strided convolution over the same windows, with as many filters as channels.

    max_{i<p} x[j*q + i]  ~  conv_q(x; w)[j],    w[t, c, c'] = (c = c') / p

Windows, and so lengths, are the same for every n; the values of a max pool are not. The kernel
starts at the mean and is open to training: the All-CNN form of Springenberg et al. 2014, which lost
nothing when trained from scratch.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import dense_mean
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, global_average_pool, max_pool
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_conv
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.replacements import replace_call


@rule(targets=["extra_conv"], promise=Promise.APPROXIMATE, anchors=is_pool)
@swaps(MAP, max_pool())
@refuses(MAP, global_average_pool(), reason="is global pooling")
def pool_into_extra_conv(graph: Graph, pool: Call) -> Replacement:
    """Pool -> strided convolution that starts at the mean."""
    require_window(graph, pool)
    require_floats(graph, pool)
    depth = depth_of(graph, pool)
    # The pool's own padding stays: the zeros change values at the border, never the length.
    kernel = FixedKernel(pool.name, pool.windows, dense_mean, frozen=False)
    return replace_call(pool, fixed_conv(pool, kernel, depth))
