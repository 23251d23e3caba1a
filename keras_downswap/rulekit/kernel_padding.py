"""A small kernel among zeros in a larger one, where only kernels of some sizes are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from keras_downswap.ir.geometry import FittedPadding, Padding, Window, fit_padding
from keras_downswap.ir.graph import Call, Shape
from keras_downswap.ir.kernel_math import fixed_then, placed
from keras_downswap.ir.replacement import KernelTransform, MakeConv
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.layers import Layers, common_plain, padding_layers
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import padded_alike


@dataclass(frozen=True)
class _Axis:
    """One axis of a kernel that is enlarged.

    Attributes:
        window: Its window as it is.
        taps: The accepted kernel size.
        length: The length of the input map, None where unknown.
    """

    window: Window
    taps: int
    length: int | None

    @property
    def lead(self) -> int | None:
        """Cells padded before the map now, None where that depends on an unknown length."""
        return self.window.lead(self.length)

    @property
    def spare(self) -> int:
        """How many zeros the larger kernel has along this axis."""
        return self.taps - self.window.size

    @property
    def larger(self) -> Window:
        """The window of the larger kernel."""
        return replace(self.window, size=self.taps)

    def fitted(self, zeros_before: int) -> FittedPadding:
        """Return the padding with which each old tap reads the cell that it read before."""
        assert self.lead is not None
        old = self.window
        # Zeros before the first tap start the window so many taps earlier.
        lead = self.lead + zeros_before * old.dilation
        return fit_padding(self.larger, old.law, self.length, lead)


@dataclass(frozen=True)
class _Place:
    """Where a kernel stands in the larger one.

    Attributes:
        zeros_before: Zeros before its first tap, axis by axis.
        fits: The padding of the larger kernel's windows.
    """

    zeros_before: tuple[int, ...]
    fits: tuple[FittedPadding, ...]

    @property
    def plain(self) -> frozenset[Padding]:
        """The plain paddings that serve all axes."""
        return common_plain(self.fits)


def with_larger_kernel(
    conv: Call, step: MakeConv, lengths: Shape, sizes: frozenset[int] | None
) -> Layers:
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
    sized = zip(windows, taps, lengths, strict=True)
    axes = [_Axis(*axis) for axis in sized]
    known = all(axis.lead is not None for axis in axes)
    require(known, f"{conv.label} has a first tap that depends on an unknown length")

    place = _best_place(axes)
    padding: Padding = min(place.plain, default="valid")
    larger = padded_alike([axis.larger for axis in axes], padding)
    new = _among_zeros(step, larger, place.zeros_before)
    if place.plain:
        return (new,)
    return (*padding_layers(conv, place.fits), new)


def _next_size(size: int, sizes: frozenset[int]) -> int:
    """Return the smallest accepted size that is as large; 0 where there is none."""
    return min((accepted for accepted in sizes if accepted >= size), default=0)


def _best_place(axes: Sequence[_Axis]) -> _Place:
    """Return how many zeros come before the first tap, axis by axis, and the padding that follows.

    Any number of zeros computes the same. The first one is chosen with which the convolution's own
    padding does, without a layer before it; where there is none, no zeros come before.
    """
    places = []
    most = max(axis.spare for axis in axes)
    for count in range(most + 1):
        # An axis with less to spare has all its zeros before the first tap from some count on.
        zeros = tuple(min(count, axis.spare) for axis in axes)
        pairs = zip(axes, zeros, strict=True)
        fits = [axis.fitted(before) for axis, before in pairs]
        place = _Place(zeros, tuple(fits))
        if place.plain:
            return place
        places.append(place)
    return places[0]


def _among_zeros(
    step: MakeConv, windows: tuple[Window, ...], zeros_before: tuple[int, ...]
) -> MakeConv:
    """Return a convolution with larger windows, and its kernel among zeros in theirs."""
    taps = tuple(window.size for window in windows)
    place = partial(placed, front=zeros_before, taps=taps)
    if step.fixed is None:
        kernel = partial(_placed_kernel, step.kernel, place)
        return replace(step, axes=windows, kernel=kernel)
    # A fixed kernel is computed from its shape: of the old size first, or its values would change.
    own = tuple(window.size for window in step.windows)
    fixed = partial(fixed_then, step.fixed, own, place)
    return replace(step, axes=windows, fixed=fixed)


def _placed_kernel(kernel: KernelTransform | None, place: KernelTransform, old: Array) -> Array:
    return place(old if kernel is None else kernel(old))
