"""The pool's stride moves into the convolution; the pool goes, the kernel stays as it is.

    pool_{p,q}(conv_s(x))  ~  conv_{s * q}(x)[j],  sampled at position o of each of the pool's
    windows

The lengths agree, the values do not: one sample stands for the window's maximum or mean. Where a
layer has to pad or crop anyway, o is the window's middle (the earlier of two); else it is what
plain `same` or `valid` samples.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import composed_stride, sampled_leads


def pool_into_stride(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, elementwise calls and pool for strided convolutions with the same weights."""
    return in_each_branch(graph, pool, _strided, padded=True)


def _strided(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    axes = zip(conv.windows, pool.windows, graph.sizes(conv), strict=True)
    wishes = [sampled_leads(c, p, n) for c, p, n in axes]
    return fused_conv(graph, conv, pool, composed_stride(conv, pool), wishes)


RULE = Rule(
    name="pool_into_stride",
    targets=frozenset({"strided_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_pool,
    apply=pool_into_stride,
    summary="convolution, pool -> strided convolution, same kernel",
    spans=convs_upstream,
)
