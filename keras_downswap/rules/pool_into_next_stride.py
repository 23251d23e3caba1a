"""The pool's stride moves into the convolution after it; the pool goes, the kernel stays as it is.

    conv_s(pool_{p,q}(x))  ~  conv_{s * q}(x)

The lengths agree, the values do not: taps that stood q cells apart on the input now stand side by
side, about the same middle where a layer has to pad or crop anyway.
"""

from keras_downswap.ir.replacement import Step
from keras_downswap.rulekit import (
    Call,
    Graph,
    Promise,
    Replacement,
    Window,
    fit_padding,
    is_pool,
    rule,
)
from keras_downswap.rulekit.examples import MAP, conv, max_pool, refuses, relu, swaps
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.windows import composed_stride


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    verbatim=True,
    rank=1,
)
@swaps(MAP, max_pool(), conv())
@refuses(MAP, max_pool(), relu(), reason="no convolution alone consumes")
@refuses(
    MAP,
    max_pool(),
    conv(dilation_rate=2),
    reason="Keras has no convolution with stride and dilation",
)
def pool_into_next_stride(graph: Graph, pool: Call) -> Replacement:
    """Pool, convolution -> strided convolution, same kernel."""
    run = conv_downstream(graph, pool, linear=False)
    conv = run[-1]
    windows = composed_stride(conv, pool)
    causal = may_be_causal(conv)
    pairs = zip(pool.windows, conv.windows, strict=True)
    fits = []
    for window, (p, c), n in zip(windows, pairs, graph.sizes(pool), strict=True):
        law = p.law.then(c.law)
        fits.append(fit_padding(window, law, n, _middles(p, c, n), causal=causal))
    steps: dict[int, tuple[Step, ...]] = {
        pool.index: (),
        conv.index: conv_with_padding(conv, windows, fits),
    }
    return Replacement(tuple(call.index for call in run), steps)


def _middles(p: Window, c: Window, n: int | None) -> tuple[int, ...]:
    """Return the leads at which the kernel's middle tap stays where the pair's middle was.

    The middle may lie between two cells: then both leads beside it are wished for.
    """
    half = c.span - 1
    known = c.lead(None if n is None else p.law(n))
    conv_lead = half // 2 if known is None else known
    pool_lead = p.lead(n) or 0
    # Twice the wanted lead, so that a middle between two cells is a whole number.
    pair_start = 2 * (p.stride * conv_lead + pool_lead)
    shorter = (p.stride - 1) * half + (p.size - 1)
    twice = pair_start - shorter
    below = twice // 2
    above = (twice + 1) // 2
    return (below, above)
