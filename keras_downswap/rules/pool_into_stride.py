"""The pool's stride moves into the convolution; the pool goes, the kernel stays as it is.

    pool_{p,q}(conv_s(x))  ~  conv_{s * q}(x)[j],  sampled at position o of each of its windows

The lengths agree, the values do not: one sample stands for the window's maximum or mean. Where a
layer has to pad or crop anyway, o is the window's middle (the earlier of two); else it is what
plain `same` or `valid` samples.
"""

from keras_downswap.rulekit import Call, Graph, Make, Promise, Replacement, is_pool, rule
from keras_downswap.rulekit.examples import MAP, conv, max_pool, refuses, relu, swaps
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.windows import composed_stride, sampled_leads


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    verbatim=True,
)
@swaps(MAP, conv(activation="relu"), max_pool())
@refuses(MAP, relu(), max_pool(), reason="no convolution is upstream")
@refuses(
    MAP,
    conv(dilation_rate=2),
    max_pool(),
    reason="Keras has no convolution with stride and dilation",
)
def pool_into_stride(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution, same kernel."""
    return in_each_branch(graph, pool, _strided, padded=True)


def _strided(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    wishes = []
    for c, p, n in zip(conv.windows, pool.windows, graph.sizes(conv), strict=True):
        wishes.append(sampled_leads(c, p, n))
    return fused_conv(graph, conv, pool, composed_stride(conv, pool), wishes)
