"""The pool's stride moves into the convolution after it; the pool goes, the kernel stays as it is.

    conv_s(pool_{p,q}(x))  ~  conv_{s * q}(x)

The lengths agree, the values do not: taps that stood q cells apart on the input now stand side by
side, about the same middle where a layer has to pad or crop anyway.
"""

from keras_downswap.ir.geometry import fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, conv, dilated_conv, max_pool, relu
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.replacements import replace_calls
from keras_downswap.rulekit.windows import PairAxis, composed_stride, pair_axes


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    verbatim=True,
    rank=1,
)
@swaps(MAP, max_pool(), conv())
@refuses(MAP, max_pool(), relu(), reason="no convolution alone consumes")
@refuses(MAP, max_pool(), dilated_conv(), reason="no convolution with stride and dilation")
def pool_into_next_stride(graph: Graph, pool: Call) -> Replacement:
    """Pool, convolution -> strided convolution, same kernel."""
    run = conv_downstream(graph, pool, linear=False)
    conv = run[-1]
    windows = composed_stride(conv, pool)
    causal = may_be_causal(conv)
    fits = []
    axes = pair_axes(graph, pool, conv)
    for axis, window in zip(axes, windows, strict=True):
        wishes = _middles(axis)
        fit = fit_padding(window, axis.law, axis.length, wishes, causal)
        fits.append(fit)
    steps = {pool.index: (), conv.index: conv_with_padding(conv, windows, fits)}
    return replace_calls(run, steps)


def _middles(axis: PairAxis) -> tuple[int, ...]:
    """Return the leads at which the kernel's middle tap stays where the pair's middle was.

    The middle may lie between two cells: then both leads beside it are wished for.
    """
    p = axis.first
    c = axis.second
    half = c.span - 1
    known = c.lead(axis.length_between)
    conv_lead = half // 2 if known is None else known
    pool_lead = p.lead(axis.length) or 0
    # Twice the wanted lead, so that a middle between two cells is a whole number.
    pair_start = 2 * (p.stride * conv_lead + pool_lead)
    shorter = (p.stride - 1) * half + (p.size - 1)
    twice = pair_start - shorter
    below = twice // 2
    above = (twice + 1) // 2
    return (below, above)
