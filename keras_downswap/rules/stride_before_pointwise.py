"""A strided 1x1 convolution reads only the cells that subsampling leaves, so these can be taken first.

    conv_s(x)[j] = conv_1(x[. * s])[j]    for a kernel of one tap, which never pads

No value is computed that is thrown away, unlike behind a stride-1 convolution.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import conv_layer, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_conv,
    require_pointwise,
)
from keras_downswap.rulekit.rule import Promise, Rule


def stride_before_pointwise(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided 1x1 convolution for a max pool of size 1 and the convolution with stride 1."""
    require_conv(conv)
    require_pointwise(conv)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    pool = pool_layer(
        "MaxPooling", f"{conv.name}_pool", [Window(1, w.stride) for w in conv.windows], conv, conv
    )
    return Replacement(
        (conv.index,),
        {conv.index: (pool, conv_layer(conv, [Window(1)] * len(conv.windows), "valid"))},
    )


RULE = Rule(
    name="stride_before_pointwise",
    targets=frozenset({"subsample"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_strided_conv,
    apply=stride_before_pointwise,
    summary="strided 1x1 convolution -> pool of size 1, 1x1 convolution, same kernel",
    rank=-1,
)
