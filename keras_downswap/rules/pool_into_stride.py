"""The pool's stride moves into the convolution; the pool goes, the kernel stays as it is.

    pool_{p,q}(conv_s(x))  ~  conv_{s * q}(x)[j],  sampled at position o of each of its windows

The lengths agree, the values do not: one sample stands for the window's maximum or mean. Where a
layer has to pad or crop anyway, o is the window's middle (the earlier of two); else it is what
plain `same` or `valid` samples.
"""

from keras_downswap.rulekit import (
    MAP,
    Call,
    Example,
    Graph,
    Make,
    Promise,
    Refusal,
    Replacement,
    composed_stride,
    conv,
    fused_conv,
    in_each_branch,
    is_pool,
    max_pool,
    relu,
    rule,
    sampled_leads,
)


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    verbatim=True,
    examples=[Example(MAP, conv(activation="relu"), max_pool())],
    refusals=[
        Refusal(MAP, relu(), max_pool(), reason="no convolution is upstream"),
        Refusal(
            MAP,
            conv(dilation_rate=2),
            max_pool(),
            reason="Keras has no convolution with stride and dilation",
        ),
    ],
)
def pool_into_stride(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution, same kernel."""
    return in_each_branch(graph, pool, _strided, padded=True)


def _strided(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    wishes = []
    for c, p, n in zip(conv.windows, pool.windows, graph.sizes(conv), strict=True):
        wishes.append(sampled_leads(c, p, n))
    return fused_conv(graph, conv, pool, composed_stride(conv, pool), wishes)
