"""A strided 1x1 convolution on a shortcut becomes a max pool, as in FishNet.

    conv_s(x; w)  ~  max_{i<s} x[j*s + i]    on the way to a sum

where it keeps the channel count. The convolution goes, and its weights with it: a form to train,
where gradients pass shortcuts without a convolution.
"""

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph, Role, channels
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, add, pointwise, relu
from keras_downswap.rulekit.layers import pool_layer
from keras_downswap.rulekit.preconditions import require_conv, require_pointwise
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import strided_pools


@rule(targets=["identity_shortcut"], promise=Promise.APPROXIMATE, anchors=is_strided_conv)
@swaps(MAP, pointwise(strides=2), add())
@refuses(MAP, pointwise(strides=2), relu(), reason="is on no shortcut to a sum")
@refuses(MAP, pointwise(8, strides=2), reason="8 channels of 4")
def shortcut_into_pool(graph: Graph, conv: Call) -> Replacement:
    """Strided 1x1 convolution on a shortcut -> max pool, no convolution."""
    require_conv(conv)
    require_pointwise(conv)
    given = channels(graph.input_shape(conv), conv.channels_last)
    computed = channels(graph.output_shape(conv), conv.channels_last)
    counts = f"{conv.label} computes {computed} channels of {given}"
    require(given == computed, f"{counts}, which no pool does")
    # Elsewhere the path would lose its only weights; a sum has another branch with its own.
    require(_leads_to_sum(graph, conv), f"{conv.label} is on no shortcut to a sum")
    windows = strided_pools(graph, conv)
    pool = pool_layer(LayerKind.MAX_POOLING, conv.name, windows, conv)
    return replace_call(conv, pool)


def _leads_to_sum(graph: Graph, conv: Call) -> bool:
    """Tell whether affine maps alone lie between a convolution and a sum that consumes it."""
    call = graph.sole_consumer(conv)
    while call is not None and call.role is Role.LINEAR:
        if not is_elementwise(graph, call, conv.channels_last):
            return False
        call = graph.sole_consumer(call)
    # Concatenate is linear too, along an axis; it joins channels, and adds nothing up.
    return call is not None and call.is_linear_join and call.axis is None
