"""A pool's stride and window move into the convolution, whose kernel covers what both reach.

    max_{i<p} conv_s(x; w)[j*q + i] ~ conv_{s*q}(x; w')[j] + b',  w'[t] = (1/p) sum_{i<p} w[t - i*s]

axis by axis. For Gaussian sums the best linear stand-in for their maximum is their mean and an
offset (Stein's lemma), so the mean is where a fit of the kernel starts; nothing here fits it.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, conv_relu, max_pool, relu
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.windows import composed_span, composing, covering_leads


# Before the rule of plain strides, which serves the target too and would swap every site.
@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    rank=-1,
    form="cover",
)
@swaps(MAP, conv_relu(), max_pool())
@refuses(MAP, relu(), max_pool(), reason="no convolution is upstream")
def pool_into_cover(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution that covers both, started at the mean."""
    return in_each_branch(graph, pool, _covering, padded=True)


def _covering(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    pool = branch.pool
    leads = covering_leads(graph, conv, pool)
    windows = composed_span(conv, pool)
    kernel = composing(pair_mean, conv, pool)
    return fused_conv(graph, branch, windows, leads, kernel)
