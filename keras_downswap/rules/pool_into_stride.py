"""The pool's stride moves into the convolution; the pool goes, the kernel stays as it is.

    pool_{p,q}(conv_s(x))  ~  conv_{s * q}(x)[j],  sampled at position o of each of its windows

The lengths agree, the values do not: one sample stands for the window's maximum or mean. Where a
layer has to pad or crop anyway, o is the window's middle (the earlier of two); else it is what
plain `same` or `valid` samples.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, conv_relu, dilated_conv, max_pool, relu
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.windows import composed_stride, pair_axes, sampled_leads


@rule(targets=["strided_conv"], promise=Promise.APPROXIMATE, anchors=is_pool, verbatim=True)
@swaps(MAP, conv_relu(), max_pool())
@refuses(MAP, relu(), max_pool(), reason="no convolution is upstream")
@refuses(MAP, dilated_conv(), max_pool(), reason="no convolution with stride and dilation")
def pool_into_stride(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution, same kernel."""
    return in_each_branch(graph, pool, _strided, padded=True)


def _strided(graph: Graph, branch: Branch) -> Layers:
    # Wishes, not demands: any position of the window keeps the length, and a padding that needs no
    # layer wins over the best position.
    wishes = []
    for axis in pair_axes(graph, branch.conv, branch.pool):
        sampled = sampled_leads(axis.first, axis.second, axis.length)
        wishes.append(sampled)
    windows = composed_stride(branch.conv, branch.pool)
    return fused_conv(graph, branch, windows, wishes)
