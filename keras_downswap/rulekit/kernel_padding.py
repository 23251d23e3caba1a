"""A small kernel among zeros in a larger one, where only kernels of some sizes are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from keras_downswap.ir.geometry import FittedPadding, Padding, Window, fit_padding
from keras_downswap.ir.graph import Call, Shape
from keras_downswap.ir.kernel_math import fixed_then, placed
from keras_downswap.ir.replacement import KernelTransform, Make, MakeConv
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.layers import padded_alike, padding_layers
from keras_downswap.rulekit.rule import require


def with_larger_kernel(
    conv: Call, step: MakeConv, lengths: Shape, sizes: frozenset[int] | None
) -> tuple[Make, ...]:
    """Return a convolution whose kernel stands among zeros in one of an accepted size.

    Args:
        conv: The call that it replaces.
        step: The convolution.
        lengths: The lengths of its input map.
        sizes: The accepted kernel sizes; None for all.

    Returns:
        The convolution as it is, or a larger one, after the padding and cropping layers that it
        needs.

    Raises:
        Refused: If no accepted size is as large, or where the first tap lies depends on an unknown
            length.
    """
    windows = step.windows
    if sizes is None or all(window.size in sizes for window in windows):
        return (step,)
    taps = tuple(_next_size(window.size, sizes) for window in windows)
    own = [window.size for window in windows]
    require(all(taps), f"{conv.label} has the kernel size {own}, and no accepted size is as large")
    leads = [window.lead(n) for window, n in zip(windows, lengths, strict=True)]
    known = None not in leads
    require(known, f"{conv.label} has a first tap that depends on an unknown length")

    zeros_before, fits = _best_place(windows, taps, lengths, leads)
    plain = _common_plain(fits)
    padding: Padding = min(plain, default="valid")
    larger = [replace(w, size=size) for w, size in zip(windows, taps, strict=True)]
    axes = padded_alike(larger, padding)
    place = partial(placed, front=zeros_before, taps=taps)
    if step.fixed is not None:
        fixed = partial(fixed_then, step.fixed, tuple(own), place)
        new = replace(step, axes=axes, fixed=fixed)
    else:
        new = replace(step, axes=axes, kernel=partial(_placed_kernel, step.kernel, place))
    if plain:
        return (new,)
    return (*padding_layers(conv, fits), new)


def _next_size(size: int, sizes: frozenset[int]) -> int:
    """Return the smallest accepted size that is as large; 0 where there is none."""
    return min((accepted for accepted in sizes if accepted >= size), default=0)


def _best_place(
    windows: Sequence[Window], taps: Sequence[int], lengths: Shape, leads: Sequence[int | None]
) -> tuple[tuple[int, ...], list[FittedPadding]]:
    """Return how many zeros come before the first tap, axis by axis, and the padding that follows.

    Any number of zeros computes the same. The first one is taken with which the convolution's own
    padding does, without a layer before it; where there is none, no zeros come before.
    """
    spare = [size - window.size for size, window in zip(taps, windows, strict=True)]
    found: list[tuple[tuple[int, ...], list[FittedPadding]]] = []
    for count in range(max(spare) + 1):
        zeros = tuple(min(count, most) for most in spare)
        fits = []
        for window, size, before, n, lead in zip(windows, taps, zeros, lengths, leads, strict=True):
            larger = Window(size, window.stride, window.dilation)
            moved = (lead or 0) + before * window.dilation
            fits.append(fit_padding(larger, window.law, n, moved))
        if _common_plain(fits):
            return zeros, fits
        found.append((zeros, fits))
    return found[0]


def _common_plain(fits: Sequence[FittedPadding]) -> frozenset[Padding]:
    """Return the plain paddings that serve all axes."""
    return frozenset[Padding].intersection(*(fit.plain for fit in fits))


def _placed_kernel(kernel: KernelTransform | None, place: KernelTransform, old: Array) -> Array:
    return place(old if kernel is None else kernel(old))
