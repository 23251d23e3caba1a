"""Subsampling before a 1x1 convolution is a stride of that convolution.

    conv_s(x[j * q]) = conv_{s * q}(x)[j]    for a kernel of one tap, which never pads

whatever per-channel affine maps stand between.
"""

from keras_downswap.rulekit import Call, Graph, Promise, Replacement, Window, is_pool, rule
from keras_downswap.rulekit.examples import MAP, ODD, conv, max_pool, refuses, swaps
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_pointwise,
    require_position_free,
    require_single_cells,
)


@rule(
    targets=["strided_conv"],
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
    rank=1,
)
@swaps(MAP, max_pool(1, 2), conv(size=1))
@swaps(ODD, max_pool(1, 3), conv(size=1, strides=2))
@refuses(MAP, max_pool(), conv(size=1), reason="has a window above 1")
@refuses(MAP, max_pool(1, 2), conv(), reason="has more than one tap")
def pool_of_one_into_next_stride(graph: Graph, pool: Call) -> Replacement:
    """Subsampling, 1x1 convolution -> strided 1x1 convolution, same kernel."""
    require_single_cells(pool)
    run = conv_downstream(graph, pool)
    conv = run[-1]
    require_pointwise(conv)
    require_position_free(conv, run[1:-1])
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    windows = []
    for p, c in zip(pool.windows, conv.windows, strict=True):
        windows.append(Window(1, p.stride * c.stride))
    new = conv_layer(conv, windows, "valid")
    return Replacement(tuple(call.index for call in run), {pool.index: (), conv.index: (new,)})
