"""A strided 1x1 convolution on a shortcut, whose channel count stays, becomes a max pool, as in FishNet.

    conv_s(x; w)  ~  max_{i<s} x[j*s + i]    on the way to a sum

The convolution goes, and its weights with it: a form to train, where gradients pass shortcuts
without a convolution.
"""

from keras_downswap.ir.graph import channels
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.rulekit import (
    Call,
    Graph,
    LayerKind,
    Promise,
    Replacement,
    Role,
    is_strided_conv,
    require,
    rule,
)
from keras_downswap.rulekit.examples import MAP, add, conv, refuses, relu, swaps
from keras_downswap.rulekit.layers import pool_layer
from keras_downswap.rulekit.preconditions import require_conv, require_pointwise
from keras_downswap.rulekit.windows import strided_pools


@rule(
    targets=["identity_shortcut"],
    promise=Promise.APPROXIMATE,
    anchors=is_strided_conv,
)
@swaps(MAP, conv(size=1, strides=2), add())
@refuses(MAP, conv(size=1, strides=2), relu(), reason="is on no shortcut to a sum")
@refuses(MAP, conv(8, size=1, strides=2), reason="8 channels of 4")
def shortcut_into_pool(graph: Graph, conv: Call) -> Replacement:
    """Strided 1x1 convolution on a shortcut -> max pool, no convolution."""
    require_conv(conv)
    require_pointwise(conv)
    given = channels(graph.input_shape(conv), conv.channels_last)
    made = channels(graph.output_shape(conv), conv.channels_last)
    counts = f"{conv.label} computes {made} channels of {given}"
    require(given == made, f"{counts}, which no pool does")
    require(_leads_to_sum(graph, conv), f"{conv.label} is on no shortcut to a sum")
    windows = strided_pools(graph, conv)
    pool = pool_layer(LayerKind.MAX_POOLING, conv.name, windows, conv, conv)
    return Replacement((conv.index,), {conv.index: (pool,)})


def _leads_to_sum(graph: Graph, conv: Call) -> bool:
    """Tell whether affine maps alone lie between a convolution and a sum that consumes it."""
    call = graph.sole_consumer(conv)
    while call is not None and call.role is Role.LINEAR:
        if not is_elementwise(graph, call, conv.channels_last):
            return False
        call = graph.sole_consumer(call)
    # Concatenate is linear too, along an axis; it joins channels, and adds nothing up.
    return call is not None and call.is_linear_join and call.axis is None
