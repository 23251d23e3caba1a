"""A strided 1x1 convolution on a shortcut, whose channel count stays, becomes a max pool, as in FishNet.

    conv_s(x; w)  ~  max_{i<s} x[j*s + i]    on the way to a sum

The convolution goes, and its weights with it: a form to train, where gradients pass shortcuts
without a convolution.
"""

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise, is_strided_conv
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import pool_layer
from keras_downswap.rulekit.preconditions import require_conv, require_pointwise
from keras_downswap.rulekit.rule import Promise, Rule, require
from keras_downswap.rulekit.windows import strided_pools


def shortcut_into_pool(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided 1x1 convolution in front of a sum for a max pool under its name."""
    require_conv(conv)
    require_pointwise(conv)
    given, made = graph.input_shape(conv), graph.output_shape(conv)
    axis = -1 if conv.channels_last else 1
    require(
        given[axis] == made[axis],
        f"{conv.label} makes {made[axis]} channels of {given[axis]}, which no pool does",
    )
    call = graph.sole_consumer(conv)
    while (
        call is not None
        and is_elementwise(graph, call, conv.channels_last)
        and call.role is Role.LINEAR
    ):
        call = graph.sole_consumer(call)
    sums = call is not None and call.role is Role.JOIN and bool(call.settings.get("linear"))
    require(
        sums and call is not None and "axis" not in call.settings,
        f"{conv.label} is on no shortcut to a sum",
    )
    pool = pool_layer("MaxPooling", conv.name, strided_pools(graph, conv), conv, conv)
    return Replacement((conv.index,), {conv.index: (pool,)})


RULE = Rule(
    name="shortcut_into_pool",
    targets=frozenset({"identity_shortcut"}),
    promise=Promise.APPROXIMATE,
    verbatim=False,
    anchors=is_strided_conv,
    apply=shortcut_into_pool,
    summary="strided 1x1 convolution on a shortcut -> max pool, no convolution",
)
