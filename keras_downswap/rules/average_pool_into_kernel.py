"""An average pool behind a convolution is a longer kernel with a larger stride.

    mean_{i<p} conv_s(x; w)[j*q + i] = conv_{s*q}(x; w')[j],    w'[t] = (1/p) * sum_{i<p} w[t - i*s]

axis by axis, with the same bias. Per-channel affine maps (BatchNormalization at inference) commute
with the average, so they may stand between. Where the pool pads, its divisor changes from window to
window: no single kernel does that.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.ir.predicates import is_pool, takes_means
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_never_pads,
)
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless
from keras_downswap.rulekit.windows import composed_span, composing, known_leads, lengths_after


def average_pool_into_kernel(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, affine calls and average pool for strided convolutions with composed kernels."""
    return in_each_branch(graph, pool, _composed)


def _composed(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    skip_unless(
        takes_means(pool), f"{pool.label} takes maxima, which no single convolution computes"
    )
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    require_never_pads(graph, pool, lengths_after(graph, conv))
    windows = composed_span(conv, pool)
    kernel = composing(pair_mean, conv, pool)
    return fused_conv(graph, conv, pool, windows, known_leads(graph, conv), kernel)


RULE = Rule(
    name="average_pool_into_kernel",
    targets=frozenset({"strided_conv", "conv_relu", "cheapest"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=average_pool_into_kernel,
    summary="convolution, average pool -> one strided convolution with the composed kernel",
    spans=convs_upstream,
)
