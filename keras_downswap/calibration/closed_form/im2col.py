"""The input windows of a layer at chosen output positions, as rows of a matrix (im2col).

Channels are on the last axis everywhere here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.types import Array


def move_channels_last(value: Array, channels_last: bool) -> Array:
    """Return a map with its channels on the last axis."""
    if channels_last or value.ndim < 3:
        return value
    return np.moveaxis(value, 1, -1)


def draw_positions(
    rng: np.random.Generator, count: int, lengths: Sequence[int], most: int
) -> Array:
    """Draw output positions of each sample at random, each at most once.

    Args:
        rng: The generator.
        count: Number of samples.
        lengths: Lengths of the output map's spatial axes.
        most: Positions for each sample.

    Returns:
        Shape (count, positions, axes).
    """
    cells = int(np.prod(lengths, dtype=np.int64))
    if cells > 1:
        orders = (rng.permutation(cells) for _ in range(count))
        numbers = np.stack([order[:most] for order in orders])
    else:
        numbers = np.zeros((count, 1), int)
    # A layer without spatial axes has one position, whose index is empty: unravel_index needs
    # an axis, which is cut off again.
    indices = np.unravel_index(numbers, tuple(lengths) or (1,))
    positions = np.stack(indices, -1)
    return positions[..., : len(lengths)]


def values_at(value: Array, positions: Array) -> Array:
    """Return the values of a map at some positions: shape (samples * positions, channels)."""
    channels = value.shape[-1]
    return _gather(value, positions).reshape(-1, channels)


def extract_patches(
    value: Array, windows: Sequence[Window], positions: Array, out: Array | None = None
) -> Array:
    """Return the input window of each position.

    Args:
        value: The layer's input, shape (samples, *lengths, channels).
        windows: One for each spatial axis; none for a layer that sees each cell alone.
        positions: Output positions, shape (samples, positions, axes).
        out: Where to put the patches; None for a new array.

    Returns:
        Shape (samples * positions, taps, channels); zeros where a window reaches outside.
    """
    windows = windows or (Window(1),) * (value.ndim - 2)
    padded = _padded(value, windows)
    offsets = _tap_offsets(windows)
    # The padding before the input is as wide as the lead, so window j starts at cell j * stride.
    starts = positions * _strides(windows)

    count, positions_each = positions.shape[:2]
    channels = value.shape[-1]
    if out is None:
        shape = (count * positions_each, len(offsets), channels)
        out = np.empty(shape, value.dtype)
    by_sample = out.reshape(count, positions_each, len(offsets), channels)

    # One tap of all windows at a time: the copies are few and large.
    for tap, offset in enumerate(offsets):
        by_sample[:, :, tap] = _gather(padded, starts + offset)
    return out


def window_cells(
    windows: Sequence[Window], lengths: Sequence[int], positions: Array
) -> tuple[Array, Array]:
    """Return the input cells that the window of each position covers.

    Args:
        windows: One for each spatial axis.
        lengths: Lengths of the input map's spatial axes.
        positions: Output positions, shape (samples, positions, axes).

    Returns:
        The cells, shape (samples, positions * taps, axes), with the nearest cell inside for each
        one outside; and whether each is inside, shape (samples * positions, taps).
    """
    offsets = _tap_offsets(windows)
    leads = [window.lead(n) or 0 for window, n in zip(windows, lengths, strict=True)]
    starts = positions * _strides(windows) - leads
    cells = starts[:, :, None] + offsets

    ends = np.array(lengths)
    is_inside = (cells >= 0) & (cells < ends)
    nearest = np.clip(cells, 0, ends - 1)
    cells_of_sample = nearest.reshape(len(positions), -1, len(lengths))
    return cells_of_sample, is_inside.all(-1).reshape(-1, len(offsets))


def _gather(value: Array, cells: Array) -> Array:
    """Return the channels of a map at some cells of each sample.

    Args:
        value: Shape (samples, *lengths, channels).
        cells: Shape (samples, cells, axes).

    Returns:
        Shape (samples, cells, channels).
    """
    samples = np.arange(len(value))[:, None]
    by_axis = np.moveaxis(cells, -1, 0)
    found: Array = value[(samples, *by_axis)]
    return found


def _strides(windows: Sequence[Window]) -> Array:
    return np.array([window.stride for window in windows], int)


def _tap_offsets(windows: Sequence[Window]) -> Array:
    """Return the cells from the first tap to each one, in the order in which a kernel holds them.

    Returns:
        Shape (taps, axes).
    """
    taps = product(*(range(window.size) for window in windows))
    dilations = np.array([window.dilation for window in windows], int)
    offsets: Array = np.array(list(taps), int) * dilations
    return offsets


def _padded(value: Array, windows: Sequence[Window]) -> Array:
    """Return a map with zeros around it, so that every window lies inside."""
    widths = [(0, 0)]
    lengths = value.shape[1:-1]
    for window, length in zip(windows, lengths, strict=True):
        lead = window.lead(length) or 0
        trail = window.total_padding(length) - lead
        # Explicit padding after the input may be negative: that cuts cells, which only means that
        # no window gets there. With one more span, no tap of any position is past the end.
        before, after = max(lead, 0), max(trail, 0)
        widths.append((before, after + window.span))
    return np.pad(value, [*widths, (0, 0)])
