"""What a layer's kernel sees at chosen positions, as rows; channels last, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.types import Array


def channels_behind(value: Array, channels_last: bool) -> Array:
    """Return a map with its channels on the last axis."""
    return value if channels_last or value.ndim < 3 else np.moveaxis(value, 1, -1)


def chosen(rng: np.random.Generator, count: int, lengths: Sequence[int], most: int) -> Array:
    """Choose output positions of each sample at random, each at most once.

    Args:
        rng: The generator.
        count: Number of samples.
        lengths: Lengths of the output map's spatial axes.
        most: Positions a sample.

    Returns:
        Shape (count, positions, axes).
    """
    cells = int(np.prod(lengths, dtype=np.int64))
    picks = (
        np.stack([rng.permutation(cells)[:most] for _ in range(count)])
        if cells > 1
        else np.zeros((count, 1), int)
    )
    return np.stack(np.unravel_index(picks, tuple(lengths) or (1,)), -1)[..., : len(lengths)]


def at(value: Array, positions: Array) -> Array:
    """Return what stands at the positions: shape (samples * positions, channels)."""
    samples = np.arange(len(value))[:, None]
    found: Array = value[(samples, *np.moveaxis(positions, -1, 0))]
    return found.reshape(-1, value.shape[-1])


def patches(
    value: Array, windows: Sequence[Window], positions: Array, out: Array | None = None
) -> Array:
    """Return the window of each position.

    Args:
        value: The layer's input, shape (samples, *lengths, channels).
        windows: One per spatial axis; none for a layer that sees each cell alone.
        positions: Output positions, shape (samples, positions, axes).
        out: Where to put what is returned; None for an array of its own.

    Returns:
        Shape (samples * positions, taps, channels); zeros where a window reaches outside.
    """
    windows = windows or (Window(1),) * (value.ndim - 2)
    around = [(0, 0)]
    for window, n in zip(windows, value.shape[1:-1], strict=True):
        lead = window.lead(n) or 0
        around.append((max(lead, 0), max(window.total_padding(n) - lead, 0) + window.span))
    padded = np.pad(value, [*around, (0, 0)])
    samples = np.arange(len(value))[:, None]
    starts = [positions[..., axis] * window.stride for axis, window in enumerate(windows)]
    taps = list(product(*(range(window.size) for window in windows)))
    shape = *positions.shape[:2], len(taps), value.shape[-1]
    made = np.empty((shape[0] * shape[1], *shape[2:]), value.dtype) if out is None else out
    for i, tap in enumerate(taps):
        cells = tuple(s + t * w.dilation for s, t, w in zip(starts, tap, windows, strict=True))
        made.reshape(shape)[:, :, i] = padded[(samples, *cells)]
    return made


def cells(
    windows: Sequence[Window], lengths: Sequence[int], positions: Array
) -> tuple[Array, Array]:
    """Return which cells the window of each position sees.

    Args:
        windows: One per spatial axis.
        lengths: Lengths of the input map's spatial axes.
        positions: Output positions, shape (samples, positions, axes).

    Returns:
        The cells, shape (samples, positions * taps, axes), the nearest one inside for each outside;
        and whether each is inside, shape (samples * positions, taps).
    """
    taps = np.array(list(product(*(range(window.size) for window in windows))))
    steps = np.array(
        [(w.stride, w.dilation, w.lead(n) or 0) for w, n in zip(windows, lengths, strict=True)]
    ).T
    found = positions[:, :, None] * steps[0] + taps * steps[1] - steps[2]
    inside = ((found >= 0) & (found < np.array(lengths))).all(-1)
    near = np.clip(found, 0, np.array(lengths) - 1)
    return near.reshape(len(positions), -1, len(lengths)), inside.reshape(-1, len(taps))
