"""An average pool in front of a convolution is a longer kernel with a larger stride.

    conv_s(mean_{i<p} x[j*q + i]; w) = conv_{s*q}(x; w'),    w'[q*t + i] = (1/p) * w[t],  summed
    where they meet

axis by axis, with the same bias and activation. A zero that the convolution pads to the pooled map
is q zeros beside the input, where windows do not overlap (p <= q); cells that no window reached are
cut before zeros follow them. Per-channel affine maps commute with the average, so they may stand
between.
"""

from functools import partial

from keras_downswap.ir.geometry import Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import averaged, dilated
from keras_downswap.ir.predicates import is_pool, takes_means
from keras_downswap.ir.replacement import Replacement
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.layers import conv_with_padding, cropped, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_never_pads,
    require_position_free,
)
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless
from keras_downswap.rulekit.windows import known_leads


def average_pool_into_next_kernel(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap an average pool, affine calls and a convolution for a strided convolution with the composed kernel."""
    skip_unless(
        takes_means(pool), f"{pool.label} takes maxima, which no single convolution computes"
    )
    run = conv_downstream(graph, pool)
    conv = run[-1]
    require_position_free(conv, run[1:-1])
    require_never_pads(graph, pool)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    windows, fits, cuts = [], [], []
    axes = zip(pool.windows, conv.windows, graph.sizes(pool), known_leads(graph, conv), strict=True)
    for p, c, n, lead in axes:
        cut = _cut(pool, conv, p, c, n, lead)
        windows.append(Window(p.stride * (c.span - 1) + p.size, p.stride * c.stride))
        rest = None if n is None else n - cut
        fits.append(
            fit_padding(
                windows[-1], p.law.then(c.law), rest, lead * p.stride, causal=may_be_causal(conv)
            )
        )
        cuts.append((0, cut))
    kernel = partial(
        _spread,
        dilation=tuple(
            p.stride * c.dilation for p, c in zip(pool.windows, conv.windows, strict=True)
        ),
        pool=tuple(p.size for p in pool.windows),
    )
    steps = {
        pool.index: cropped(pool, cuts),
        conv.index: conv_with_padding(conv, windows, fits, kernel),
    }
    return Replacement(tuple(call.index for call in run), steps)


def _cut(pool: Call, conv: Call, p: Window, c: Window, n: int | None, lead: int) -> int:
    """Return how many cells at the end of one axis no window of the pool reached, and zeros must replace."""
    m = None if n is None else p.law(n)
    pads_after = (
        c.padding == "same" and c.span > 1
        if m is None
        else (c.law(m) - 1) * c.stride - lead + c.span > m
    )
    apart = p.size <= p.stride or not (lead > 0 or pads_after)
    require(apart, f"{conv.label} pads what {pool.label} makes, whose windows overlap")
    known = n is not None or not pads_after or p.size == 1
    require(
        known,
        f"{conv.label} pads what {pool.label} makes of an unknown length, whose last cells it may leave out",
    )
    return max(n - m * p.stride, 0) if pads_after and n is not None and m is not None else 0


def _spread(kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...]) -> Array:
    return averaged(dilated(kernel, dilation), pool, (1,) * len(pool))


RULE = Rule(
    name="average_pool_into_next_kernel",
    targets=frozenset({"strided_conv"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=average_pool_into_next_kernel,
    summary="average pool, convolution -> one strided convolution with the composed kernel",
    rank=1,
)
