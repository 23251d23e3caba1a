"""An average pool after a convolution is a longer kernel with a larger stride.

    mean_{i<p} conv_s(x; w)[j*q + i] = conv_{s*q}(x; w')[j],    w'[t] = (1/p) * sum_{i<p} w[t - i*s]

axis by axis, with the same bias. Per-channel affine maps (BatchNormalization at inference) commute
with the average, so they may stand between. Where the pool pads, its divisor changes from window to
window: no single kernel does that.
"""

from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.rulekit import (
    MAP,
    ODD,
    Call,
    Example,
    Graph,
    Make,
    Promise,
    Refusal,
    Replacement,
    average_pool,
    batch_norm,
    composed_span,
    composing,
    conv,
    fused_conv,
    in_each_branch,
    is_pool,
    known_leads,
    lengths_after,
    max_pool,
    require_bias_in_place,
    require_linear,
    require_means,
    require_never_pads,
    rule,
)


@rule(
    targets=["strided_conv", "conv_relu", "cheapest"],
    promise=Promise.EXACT,
    anchors=is_pool,
    examples=[
        Example(MAP, conv(), batch_norm(), average_pool()),
        Example(ODD, conv(size=(2, 5)), average_pool(3, 2)),
        Example(ODD, conv(strides=2), average_pool()),
        Example(MAP, conv(dilation_rate=2), average_pool(4)),
    ],
    refusals=[
        Refusal(MAP, conv(), max_pool(), reason="computes maxima, which no single convolution"),
        Refusal(MAP, conv(activation="relu"), average_pool(), reason="only linear maps commute"),
        Refusal(ODD, conv(), average_pool(padding="same"), reason="its divisor changes"),
    ],
)
def average_pool_into_kernel(graph: Graph, pool: Call) -> Replacement:
    """Convolution, average pool -> one strided convolution with the composed kernel."""
    return in_each_branch(graph, pool, _composed)


def _composed(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    require_means(pool)
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    require_never_pads(graph, pool, lengths_after(graph, conv))
    windows = composed_span(conv, pool)
    kernel = composing(pair_mean, conv, pool)
    return fused_conv(graph, conv, pool, windows, known_leads(graph, conv), kernel)
