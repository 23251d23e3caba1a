"""A strided 1x1 convolution reads only the cells that subsampling leaves: those can come first.

    conv_s(x)[j] = conv_1(x[. * s])[j]    for a kernel of one tap, which never pads

No value is computed that is thrown away, unlike after a stride-1 convolution.
"""

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, pointwise, strided_conv
from keras_downswap.rulekit.layers import conv_layer, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_conv,
    require_pointwise,
)
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.windows import pointwise_windows, subsampling_windows


@rule(targets=["subsample"], promise=Promise.EXACT, anchors=is_strided_conv, verbatim=True, rank=-1)
@swaps(MAP, pointwise(strides=2))
@swaps(ODD, pointwise(strides=3, activation="relu"))
@refuses(MAP, strided_conv(), reason="has more than one tap")
def stride_before_pointwise(graph: Graph, conv: Call) -> Replacement:
    """Strided 1x1 convolution -> pool of size 1, 1x1 convolution, same kernel."""
    require_conv(conv)
    require_pointwise(conv)
    require_bias_in_place(graph, conv)
    # A pool over single cells, which only subsamples: whether of maxima or of means is the same.
    cells = subsampling_windows(conv)
    pool = pool_layer(LayerKind.MAX_POOLING, f"{conv.name}_pool", cells, conv)
    new = conv_layer(conv, pointwise_windows(conv), "valid")
    return replace_call(conv, pool, new)
