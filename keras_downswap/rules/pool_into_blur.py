"""A pool is anti-aliased: what it computes is low-pass filtered before it is subsampled.

    max_{i<p} x[j*q + i]   ~  sum_t b[t] * max_{i<p} x[j*q + t + i]
    mean_{i<p} x[j*q + i]  ~  sum_t b[t] * x[j*q + t]

with b the binomial kernel of 2q - 1 taps, in a frozen depthwise convolution of stride q: Zhang
2019, whose borders are reflected where these are padded with zeros, since Keras has no layer that
reflects.
"""

from collections.abc import Sequence

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import FittedPadding, Padding, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, max_pool
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_depthwise
from keras_downswap.rulekit.layers import Layers, padding_layers, pool_layer
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import (
    blur_windows,
    padded_alike,
    unstrided,
    windows_with_lengths,
)


@rule(targets=["blur_pool"], promise=Promise.APPROXIMATE, anchors=is_pool, verbatim=True)
@swaps(MAP, max_pool())
@refuses(MAP, max_pool(2, 1), reason="has a stride of 1 and subsamples nothing")
def pool_into_blur(graph: Graph, pool: Call) -> Replacement:
    """Pool -> pool of stride 1 (a max pool), fixed blur with the stride.

    The blur has the pool's name.
    """
    require_window(graph, pool)
    require_floats(graph, pool)
    require(pool.strided, f"{pool.label} has a stride of 1 and subsamples nothing")
    depth = depth_of(graph, pool)
    if pool.role is Role.MAX_POOL:
        return replace_call(pool, *_blurred_maxima(pool, depth))
    return replace_call(pool, *_blurred_means(graph, pool, depth))


def _blurred_maxima(pool: Call, depth: int) -> Layers:
    """Return the max pool without its stride, and the blur that subsamples its output."""
    dense = unstrided(pool.windows)
    maxima = pool_layer(LayerKind.MAX_POOLING, f"{pool.name}_dense", dense, pool)
    # A `same` window of stride q gives the pool's length: n -> (n + q - 1) // q after stride 1.
    windows = padded_alike(blur_windows(pool), "same")
    kernel = FixedKernel(pool.name, windows, binomial)
    return (maxima, fixed_depthwise(pool, kernel, depth))


def _blurred_means(graph: Graph, pool: Call, depth: int) -> Layers:
    """Return the blur in the place of the mean, which is a low-pass filter itself."""
    blurs = blur_windows(pool)
    fits = _centred(graph, pool, blurs)
    padding = _plain_padding(fits)
    windows = padded_alike(blurs, padding or "valid")
    kernel = FixedKernel(pool.name, windows, binomial)
    blur = fixed_depthwise(pool, kernel, depth)
    if padding is not None:
        return (blur,)
    return (*padding_layers(pool, fits), blur)


def _centred(graph: Graph, pool: Call, blurs: Sequence[Window]) -> list[FittedPadding]:
    """Return the padding with which each blur lies about the middle of the mean it replaces."""
    axes = windows_with_lengths(graph, pool)
    fits = []
    for blur, (window, length) in zip(blurs, axes, strict=True):
        longer = blur.size - window.size
        # Where they differ by an odd number of cells, either half serves.
        wishes = (longer // 2, (longer + 1) // 2)
        fits.append(fit_padding(blur, window.law, length, wishes))
    return fits


def _plain_padding(fits: Sequence[FittedPadding]) -> Padding | None:
    """Return a padding that serves all axes without a layer; None where there is none."""
    wishes: tuple[Padding, ...] = ("valid", "same")
    for padding in wishes:
        if all(padding in fit.plain for fit in fits):
            return padding
    return None
