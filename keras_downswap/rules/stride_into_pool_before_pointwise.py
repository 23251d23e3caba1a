"""A strided 1x1 convolution becomes a pool and the convolution with stride 1, as in ResNet-D's shortcuts.

    conv_s(x)  ~  conv_1(pool_{s,s}(x))    for a kernel of one tap

The law of the stride is n -> (n + s - 1) // s, that of a `same` pool of stride s; a `valid` pool is
taken where it gives the same length too. The convolution runs on the pooled map, at its old cost.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import conv_layer, pool_layer
from keras_downswap.rulekit.preconditions import require_conv, require_pointwise
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import strided_pools
from keras_downswap.rules.stride_into_pool import KINDS


def stride_into_pool_before_pointwise(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided 1x1 convolution for a pool and the convolution with stride 1 and the same weights."""
    require_conv(conv)
    require_pointwise(conv)
    pools = strided_pools(graph, conv)
    pool = pool_layer(KINDS[to], f"{conv.name}_pool", pools, conv, conv)
    return Replacement(
        (conv.index,), {conv.index: (pool, conv_layer(conv, [Window(1)] * len(pools), "valid"))}
    )


RULE = Rule(
    name="stride_into_pool_before_pointwise",
    targets=frozenset(KINDS),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_strided_conv,
    apply=stride_into_pool_before_pointwise,
    summary="strided 1x1 convolution -> pool, 1x1 convolution, same kernel",
    rank=-1,
)
