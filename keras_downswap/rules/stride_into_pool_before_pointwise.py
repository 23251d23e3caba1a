"""A strided 1x1 convolution becomes a pool and the convolution with stride 1, as in ResNet-D.

    conv_s(x)  ~  conv_1(pool_{s,s}(x))    for a kernel of one tap

The law of the stride is n -> (n + s - 1) // s, that of a `same` pool of stride s; a `valid` pool is
used where it gives the same length too. The convolution runs on the pooled map, at its old cost.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, pointwise, strided_conv
from keras_downswap.rulekit.layers import POOL_TARGETS, conv_layer, pool_layer
from keras_downswap.rulekit.preconditions import require_conv, require_pointwise
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.windows import pointwise_windows, strided_pools


# Of a lower rank than the rule of larger kernels, which would pool after the convolution: there
# a 1x1 convolution computes s*s times as many values.
@rule(
    targets=POOL_TARGETS,
    promise=Promise.APPROXIMATE,
    anchors=is_strided_conv,
    verbatim=True,
    rank=-1,
)
@swaps(MAP, pointwise(strides=2), to="average_pool")
@refuses(MAP, strided_conv(), to="average_pool", reason="has more than one tap")
def stride_into_pool_before_pointwise(graph: Graph, conv: Call, to: str) -> Replacement:
    """Strided 1x1 convolution -> pool, 1x1 convolution, same kernel."""
    require_conv(conv)
    require_pointwise(conv)
    windows = strided_pools(graph, conv)
    pool = pool_layer(POOL_TARGETS[to], f"{conv.name}_pool", windows, conv)
    new = conv_layer(conv, pointwise_windows(conv), "valid")
    return replace_call(conv, pool, new)
