"""An average pool moves before the 1x1 convolution upstream, as it is.

    mean_{i<p} conv(x; w)[j*q + i] = conv(mean_{i<p} x[j*q + i]; w)    (one tap, stride 1)

whatever the pool pads: its weights sum to one in every window, so the bias stays too. Per-channel
affine maps commute with the mean, so they may stand between.
"""

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    padded_average_pool,
    pointwise,
)
from keras_downswap.rulekit.layers import Layers, conv_layer, pool_layer
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.preconditions import (
    require_average_pool,
    require_bias_in_place,
    require_linear,
    require_pointwise,
    require_pool_stride,
    require_unit_stride,
)
from keras_downswap.rulekit.replacements import in_each_branch


@rule(targets=["cheapest"], promise=Promise.EXACT, anchors=is_pool, verbatim=True, rank=-1)
@swaps(MAP, pointwise(), average_pool())
@swaps(ODD, pointwise(), batch_norm(), padded_average_pool())
@refuses(MAP, conv(), average_pool(), reason="has more than one tap")
@refuses(MAP, pointwise(activation="relu"), average_pool(), reason="only linear maps commute")
def average_pool_before_pointwise(graph: Graph, pool: Call) -> Replacement:
    """1x1 convolution, average pool -> average pool, the same convolution."""
    return in_each_branch(graph, pool, _pool_first)


def _pool_first(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    pool = branch.pool
    require_average_pool(pool)
    require_pointwise(conv)
    require_unit_stride(conv)
    require_pool_stride(pool, conv)
    require_linear(conv, branch.between)
    require_bias_in_place(graph, conv, after=pool)
    # The pool may pad: Keras divides by the cells inside the map alone, so the weights of a window
    # sum to one at the border too, and the mean of a constant bias is that bias.
    mean = pool_layer(LayerKind.AVERAGE_POOLING, pool.name, pool.windows, conv)
    return (mean, conv_layer(conv, conv.windows, "valid"))
