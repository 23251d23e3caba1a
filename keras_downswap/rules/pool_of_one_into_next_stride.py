"""Subsampling before a 1x1 convolution is a stride of that convolution.

    conv_s(x[j * q]) = conv_{s * q}(x)[j]    for a kernel of one tap, which never pads

whatever per-channel affine maps stand between.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, conv, max_pool, pointwise, subsampling
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_pointwise,
    require_position_free,
    require_single_cells,
)
from keras_downswap.rulekit.replacements import replace_calls
from keras_downswap.rulekit.windows import window_pairs


@rule(targets=["strided_conv"], promise=Promise.EXACT, anchors=is_pool, verbatim=True, rank=1)
@swaps(MAP, subsampling(2), pointwise())
@swaps(ODD, subsampling(3), pointwise(strides=2))
@refuses(MAP, max_pool(), pointwise(), reason="has a window above 1")
@refuses(MAP, subsampling(2), conv(), reason="has more than one tap")
def pool_of_one_into_next_stride(graph: Graph, pool: Call) -> Replacement:
    """Subsampling, 1x1 convolution -> strided 1x1 convolution, same kernel."""
    require_single_cells(pool)
    run = conv_downstream(graph, pool)
    conv = run[-1]
    # With more taps the kernel's neighbours would be cells that the pool left out.
    require_pointwise(conv)
    require_position_free(conv, run[1:-1])
    require_bias_in_place(graph, conv)
    windows = []
    for p, c in window_pairs(pool, conv):
        windows.append(Window(1, p.stride * c.stride))
    new = conv_layer(conv, windows, "valid")
    steps = {pool.index: (), conv.index: (new,)}
    return replace_calls(run, steps)
