"""An average pool before a convolution is a longer kernel with a larger stride.

    conv_s(mean_{i<p} x[j*q + i]; w) = conv_{s*q}(x; w'),    w'[q*t + i] = (1/p) * w[t]

summed where they meet, axis by axis, with the same bias and activation. A zero that the convolution
pads to the pooled map is q zeros beside the input, where windows do not overlap (p <= q); cells
that no window reached are cropped before zeros follow them. Per-channel affine maps commute with
the average, so they may stand between.
"""

from functools import partial

from keras_downswap.ir.geometry import Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import averaged, dilated
from keras_downswap.ir.types import Array
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    max_pool,
    strided_conv,
)
from keras_downswap.rulekit.layers import conv_with_padding, cropped, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_means,
    require_never_pads,
    require_position_free,
)
from keras_downswap.rulekit.replacements import replace_calls
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import PairAxis, known_leads, pair_axes, window_pairs


@rule(targets=["strided_conv"], promise=Promise.EXACT, anchors=is_pool, rank=1)
@swaps(MAP, average_pool(), conv())
@swaps(ODD, average_pool(), batch_norm(), strided_conv())
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
    require_bias_in_place(graph, conv)

    windows = []
    fits = []
    crops = []
    leads = known_leads(graph, conv)
    causal = may_be_causal(conv)
    axes = pair_axes(graph, pool, conv)
    for axis, lead in zip(axes, leads, strict=True):
        crop = _unreached(pool, conv, axis, lead)
        length = None if axis.length is None else axis.length - crop
        window = _composed_window(axis)
        # The convolution pads cells of the pooled map, each of which is a stride of input cells.
        input_lead = lead * axis.first.stride
        fit = fit_padding(window, axis.law, length, input_lead, causal)
        windows.append(window)
        fits.append(fit)
        crops.append((0, crop))
    sizes = tuple(window.size for window in pool.windows)
    kernel = partial(_spread, dilation=_dilation(pool, conv), pool=sizes)
    cropping = cropped(pool, crops)
    layers = conv_with_padding(conv, windows, fits, kernel)
    steps = {pool.index: cropping, conv.index: layers}
    return replace_calls(run, steps)


def _composed_window(axis: PairAxis) -> Window:
    p = axis.first
    c = axis.second
    span = p.stride * (c.span - 1) + p.size
    return Window(span, p.stride * c.stride)


def _dilation(pool: Call, conv: Call) -> tuple[int, ...]:
    """Return how many input cells apart two taps are: pooled cells lie a pool's stride apart."""
    return tuple(p.stride * c.dilation for p, c in window_pairs(pool, conv))


def _unreached(pool: Call, conv: Call, axis: PairAxis, lead: int) -> int:
    """Return how many cells at the end of one axis no window of the pool reached.

    Where the convolution pads after the pooled map, zeros must follow its last cell: those cells
    are in their place, and must go.
    """
    p = axis.first
    pads_after = _pads_after(axis, lead)
    pads = lead > 0 or pads_after
    # A padded zero is a window of zeros: it must not share cells with a window of the map.
    apart = p.size <= p.stride or not pads
    require(apart, f"{conv.label} pads the output of {pool.label}, whose windows overlap")
    known = axis.length is not None or not pads_after or p.size == 1
    unknown = "of an unknown length, the last cells of which it may leave out"
    require(known, f"{conv.label} pads the output of {pool.label} {unknown}")
    if axis.length is None or axis.length_between is None or not pads_after:
        return 0
    # Uncut, they would meet taps that met padded zeros before, and the border would change.
    return max(axis.length - axis.length_between * p.stride, 0)


def _pads_after(axis: PairAxis, lead: int) -> bool:
    """Tell whether the convolution's last window reaches beyond the pooled map."""
    c = axis.second
    pooled = axis.length_between
    if pooled is None:
        # With `same` it does for some lengths, so it has to be reckoned with.
        return c.padding == "same" and c.span > 1
    last_start = (c.law(pooled) - 1) * c.stride - lead
    return last_start + c.span > pooled


def _spread(kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...]) -> Array:
    dense_stride = (1,) * len(pool)
    return averaged(dilated(kernel, dilation), pool, dense_stride)
