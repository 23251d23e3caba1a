"""A strided 1x1 convolution reads only the cells that subsampling leaves, so these can be taken first.

    conv_s(x)[j] = conv_1(x[. * s])[j]    for a kernel of one tap, which never pads

No value is computed that is thrown away, unlike after a stride-1 convolution.
"""

from keras_downswap.rulekit import (
    Call,
    Graph,
    LayerKind,
    Promise,
    Replacement,
    Window,
    is_strided_conv,
    rule,
)
from keras_downswap.rulekit.examples import MAP, ODD, conv, refuses, swaps
from keras_downswap.rulekit.layers import conv_layer, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_conv,
    require_pointwise,
)


@rule(
    targets=["subsample"],
    promise=Promise.EXACT,
    anchors=is_strided_conv,
    verbatim=True,
    rank=-1,
)
@swaps(MAP, conv(size=1, strides=2))
@swaps(ODD, conv(size=1, strides=3, activation="relu"))
@refuses(MAP, conv(strides=2), reason="has more than one tap")
def stride_before_pointwise(graph: Graph, conv: Call) -> Replacement:
    """Strided 1x1 convolution -> pool of size 1, 1x1 convolution, same kernel."""
    require_conv(conv)
    require_pointwise(conv)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    cells = [Window(1, window.stride) for window in conv.windows]
    pool = pool_layer(LayerKind.MAX_POOLING, f"{conv.name}_pool", cells, conv, conv)
    point = [Window(1)] * len(conv.windows)
    new = conv_layer(conv, point, "valid")
    return Replacement((conv.index,), {conv.index: (pool, new)})
