"""A pool's stride and window move into the convolution, whose kernel comes to see all that the pair saw.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  conv_{s*q}(x; w')[j] + b',    w'[t] = (1/p) * sum_{i<p} w[t
    - i*s]

axis by axis. For Gaussian sums the best linear stand-in for their maximum is their mean and an
offset (Stein's lemma), so the mean is where a fit of the kernel starts; nothing here fits it.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import composed_span, composing, covering_leads


def pool_into_cover(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, elementwise calls and pool for strided convolutions that cover the pair's receptive field."""
    return in_each_branch(graph, pool, _covering, padded=True)


def _covering(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    leads = covering_leads(graph, conv, pool)
    return fused_conv(
        graph, conv, pool, composed_span(conv, pool), leads, composing(pair_mean, conv, pool)
    )


RULE = Rule(
    name="pool_into_cover",
    targets=frozenset({"strided_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=False,
    anchors=is_pool,
    apply=pool_into_cover,
    summary="convolution, pool -> strided convolution with a kernel that covers both, started at the mean",
    spans=convs_upstream,
    rank=-1,
    form="cover",
)
