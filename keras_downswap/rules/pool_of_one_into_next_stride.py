"""Subsampling in front of a 1x1 convolution is a stride of that convolution.

    conv_s(x[j * q]) = conv_{s * q}(x)[j]    for a kernel of one tap, which never pads

whatever per-channel affine maps stand between.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_pointwise,
    require_position_free,
)
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless


def pool_of_one_into_next_stride(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool of size 1 and a 1x1 convolution for a strided 1x1 convolution with the same weights."""
    skip_unless(
        all(w.size == 1 for w in pool.windows),
        f"{pool.label} has a window above 1, so it does not subsample",
    )
    run = conv_downstream(graph, pool)
    conv = run[-1]
    require_pointwise(conv)
    require_position_free(conv, run[1:-1])
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    windows = [
        Window(1, p.stride * c.stride) for p, c in zip(pool.windows, conv.windows, strict=True)
    ]
    new = conv_layer(conv, windows, "valid")
    return Replacement(tuple(call.index for call in run), {pool.index: (), conv.index: (new,)})


RULE = Rule(
    name="pool_of_one_into_next_stride",
    targets=frozenset({"strided_conv"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pool_of_one_into_next_stride,
    summary="subsampling, 1x1 convolution -> strided 1x1 convolution, same kernel",
    rank=1,
)
