"""A pool is anti-aliased: what it computes is low-pass filtered before it is subsampled.

    max_{i<p} x[j*q + i]   ~  sum_t b[t] * max_{i<p} x[j*q + t + i]
    mean_{i<p} x[j*q + i]  ~  sum_t b[t] * x[j*q + t]

with b the binomial kernel of 2q - 1 taps, in a frozen depthwise convolution of stride q: Zhang
2019, whose borders are reflected where these are padded with zeros, since Keras has no layer that
reflects.
"""

from collections.abc import Sequence

from keras_downswap.ir.geometry import Padding
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.replacement import Step
from keras_downswap.rulekit import (
    Call,
    FittedPadding,
    Graph,
    LayerKind,
    Promise,
    Replacement,
    Role,
    Window,
    fit_padding,
    is_pool,
    require,
    rule,
)
from keras_downswap.rulekit.examples import MAP, max_pool, refuses, swaps
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_depthwise
from keras_downswap.rulekit.layers import padded_alike, padding_layers, pool_layer
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.windows import unstrided


@rule(
    targets=["blur_pool"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    verbatim=True,
)
@swaps(MAP, max_pool())
@refuses(MAP, max_pool(2, 1), reason="has a stride of 1 and subsamples nothing")
def pool_into_blur(graph: Graph, pool: Call) -> Replacement:
    """Pool -> pool of stride 1 (a max pool), fixed blur with the stride.

    The blur takes the pool's name.
    """
    require_window(graph, pool)
    require_floats(graph, pool)
    require(pool.strided, f"{pool.label} has a stride of 1 and subsamples nothing")
    blurs = [Window(2 * window.stride - 1, window.stride) for window in pool.windows]
    depth = depth_of(graph, pool)
    steps: tuple[Step, ...]
    if pool.role is Role.MAX_POOL:
        dense = unstrided(pool.windows)
        name = f"{pool.name}_dense"
        maxima = pool_layer(LayerKind.MAX_POOLING, name, dense, pool, pool)
        windows = padded_alike(blurs, "same")
        steps = (maxima, fixed_depthwise(pool, pool.name, windows, binomial, depth=depth))
    else:
        fits = _centred(graph, pool, blurs)
        padding = _plain_padding(fits)
        windows = padded_alike(blurs, padding or "valid")
        blur = fixed_depthwise(pool, pool.name, windows, binomial, depth=depth)
        steps = (blur,) if padding else (*padding_layers(pool, fits), blur)
    return Replacement((pool.index,), {pool.index: steps})


def _centred(graph: Graph, pool: Call, blurs: Sequence[Window]) -> list[FittedPadding]:
    """Return the padding with which each blur lies about the middle of the mean it replaces."""
    fits = []
    for blur, window, n in zip(blurs, pool.windows, graph.sizes(pool), strict=True):
        longer = blur.size - window.size
        # Where they differ by an odd number of cells, either half serves.
        wishes = (longer // 2, (longer + 1) // 2)
        fits.append(fit_padding(blur, window.law, n, wishes))
    return fits


def _plain_padding(fits: Sequence[FittedPadding]) -> Padding | None:
    """Return a padding that serves all axes without a layer; None where there is none."""
    wishes: tuple[Padding, ...] = ("valid", "same")
    for padding in wishes:
        if all(padding in fit.plain for fit in fits):
            return padding
    return None
