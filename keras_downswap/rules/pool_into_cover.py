"""A pool's stride and window move into the convolution, whose kernel covers the pair's receptive field.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  conv_{s*q}(x; w')[j] + b',  w'[t] = (1/p) sum_{i<p} w[t - i*s]

axis by axis. For Gaussian sums the best linear stand-in for their maximum is their mean and an
offset (Stein's lemma), so the mean is where a fit of the kernel starts; nothing here fits it.
"""

from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.rulekit import Call, Graph, Make, Promise, Replacement, is_pool, rule
from keras_downswap.rulekit.examples import MAP, conv, max_pool, refuses, relu, swaps
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.windows import composed_span, composing, covering_leads


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    rank=-1,
    form="cover",
)
@swaps(MAP, conv(activation="relu"), max_pool())
@refuses(MAP, relu(), max_pool(), reason="no convolution is upstream")
def pool_into_cover(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution that covers both, started at the mean."""
    return in_each_branch(graph, pool, _covering, padded=True)


def _covering(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    leads = covering_leads(graph, conv, pool)
    windows = composed_span(conv, pool)
    kernel = composing(pair_mean, conv, pool)
    return fused_conv(graph, conv, pool, windows, leads, kernel)
