"""An average pool before a convolution is a longer kernel with a larger stride.

    conv_s(mean_{i<p} x[j*q + i]; w) = conv_{s*q}(x; w'),    w'[q*t + i] = (1/p) * w[t]

summed where they meet, axis by axis, with the same bias and activation. A zero that the convolution
pads to the pooled map is q zeros beside the input, where windows do not overlap (p <= q); cells
that no window reached are cropped before zeros follow them. Per-channel affine maps commute with
the average, so they may stand between.
"""

from functools import partial

from keras_downswap.ir.kernel_math import averaged, dilated
from keras_downswap.ir.types import Array
from keras_downswap.rulekit import (
    Call,
    Graph,
    Promise,
    Replacement,
    Window,
    fit_padding,
    is_pool,
    require,
    rule,
)
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    max_pool,
    refuses,
    swaps,
)
from keras_downswap.rulekit.layers import conv_with_padding, cropped, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_means,
    require_never_pads,
    require_position_free,
)
from keras_downswap.rulekit.windows import known_leads


@rule(
    targets=["strided_conv"],
    promise=Promise.EXACT,
    anchors=is_pool,
    rank=1,
)
@swaps(MAP, average_pool(), conv())
@swaps(ODD, average_pool(), batch_norm(), conv(strides=2))
@swaps(ODD, average_pool(3, 2), conv(padding="valid"))
@refuses(MAP, max_pool(), conv(), reason="computes maxima, which no single convolution")
@refuses(MAP, average_pool(3, 2), conv(), reason="whose windows overlap")
def average_pool_into_next_kernel(graph: Graph, pool: Call) -> Replacement:
    """Average pool, convolution -> one strided convolution with the composed kernel."""
    require_means(pool)
    run = conv_downstream(graph, pool)
    conv = run[-1]
    require_position_free(conv, run[1:-1])
    require_never_pads(graph, pool)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])

    windows = []
    fits = []
    crops = []
    leads = known_leads(graph, conv)
    causal = may_be_causal(conv)
    for p, c, n, lead in zip(pool.windows, conv.windows, graph.sizes(pool), leads, strict=True):
        crop = _unreached(pool, conv, p, c, n, lead)
        window = Window(p.stride * (c.span - 1) + p.size, p.stride * c.stride)
        length = None if n is None else n - crop
        law = p.law.then(c.law)
        windows.append(window)
        fits.append(fit_padding(window, law, length, lead * p.stride, causal=causal))
        crops.append((0, crop))
    kernel = partial(_spread, dilation=_dilation(pool, conv), pool=_sizes(pool))
    steps = {
        pool.index: cropped(pool, crops),
        conv.index: conv_with_padding(conv, windows, fits, kernel),
    }
    return Replacement(tuple(call.index for call in run), steps)


def _dilation(pool: Call, conv: Call) -> tuple[int, ...]:
    """Return how many input cells lie between two taps: a tap of the pooled map is a stride away."""
    pairs = zip(pool.windows, conv.windows, strict=True)
    return tuple(p.stride * c.dilation for p, c in pairs)


def _sizes(pool: Call) -> tuple[int, ...]:
    return tuple(window.size for window in pool.windows)


def _unreached(pool: Call, conv: Call, p: Window, c: Window, n: int | None, lead: int) -> int:
    """Return how many cells at the end of one axis no window of the pool reached.

    Where the convolution pads after the pooled map, zeros must follow its last cell: those cells
    are in their place, and must go.
    """
    pooled = None if n is None else p.law(n)
    if pooled is None:
        pads_after = c.padding == "same" and c.span > 1
    else:
        last_start = (c.law(pooled) - 1) * c.stride - lead
        pads_after = last_start + c.span > pooled
    pads = lead > 0 or pads_after
    apart = p.size <= p.stride or not pads
    require(apart, f"{conv.label} pads the output of {pool.label}, whose windows overlap")
    known = n is not None or not pads_after or p.size == 1
    unknown = "of an unknown length, the last cells of which it may leave out"
    require(known, f"{conv.label} pads the output of {pool.label} {unknown}")
    if n is None or pooled is None or not pads_after:
        return 0
    return max(n - pooled * p.stride, 0)


def _spread(kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...]) -> Array:
    dense_stride = (1,) * len(pool)
    return averaged(dilated(kernel, dilation), pool, dense_stride)
