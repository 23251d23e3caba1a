"""NumPy on convolution kernels, laid out as Keras stores them.

That is (*taps, channels in / groups, channels out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, comb, prod
from typing import Any

import numpy as np

from keras_downswap.ir.types import Array


def dilated(kernel: Array, dilation: Sequence[int]) -> Array:
    """Write a dilated kernel as a dense one, with zeros between its taps.

    Args:
        kernel: Shape (*taps, in, out).
        dilation: One factor per tap axis.

    Returns:
        Shape (*(d * (taps - 1) + 1), in, out).
    """
    rank = len(dilation)
    taps = kernel.shape[:rank]
    spans = [rate * (count - 1) + 1 for count, rate in zip(taps, dilation, strict=True)]
    dense = np.zeros((*spans, *kernel.shape[rank:]), kernel.dtype)
    every_tap = tuple(slice(None, None, rate) for rate in dilation)
    dense[every_tap] = kernel
    return dense


def averaged(kernel: Array, pool: Sequence[int], stride: Sequence[int]) -> Array:
    """Compose a kernel with the average pool that follows it.

    Averaging the outputs at j, j+1, ..., j+p-1 of a convolution of stride s is one convolution
    whose kernel is the mean of p copies of the first, shifted by s cells each:  w'[t] = (1/p) *
    sum_j w[t - j*s], axis by axis.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        pool: Pool size per tap axis.
        stride: The convolution's stride per tap axis.

    Returns:
        Shape (*(taps + (p - 1) * s), in, out), summed in float64 where copies overlap, and rounded
        once.
    """
    overlaps = False
    for taps, size, step in zip(kernel.shape, pool, stride, strict=False):
        overlaps = overlaps or (size > 1 and step < taps)
    # Sums round, and single copies do not: float64 is needed, and its cost paid, for sums only.
    total: Any = kernel.astype(np.float64) if overlaps else kernel
    for axis, (size, step) in enumerate(zip(pool, stride, strict=True)):
        total = _sum_of_shifts(total, axis, size, step)
    mean: Array = total / prod(pool)
    return mean.astype(kernel.dtype, copy=False)


def _sum_of_shifts(kernel: Array, axis: int, copies: int, step: int) -> Array:
    """Return the sum of copies of a kernel, each `step` taps after the one before."""
    taps = kernel.shape[axis]
    shape = list(kernel.shape)
    shape[axis] = taps + (copies - 1) * step
    total = np.zeros(shape, kernel.dtype)
    # Views with the axis first, so that one slice reaches the taps of a copy.
    rows = np.moveaxis(total, axis, 0)
    source = np.moveaxis(kernel, axis, 0)
    for copy in range(copies):
        start = copy * step
        rows[start : start + taps] += source
    return total


def pair_mean(
    kernel: Array, dilation: Sequence[int], pool: Sequence[int], stride: Sequence[int]
) -> Array:
    """Compose a kernel, dilated or not, with the average pool that follows it.

    See `dilated` and `averaged`.
    """
    return averaged(dilated(kernel, dilation), pool, stride)


def phases(kernel: Array, pool: Sequence[int], stride: Sequence[int]) -> Array:
    """Write a kernel once for each cell of the pool that follows it, shifted to where the cell is.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        pool: Pool size per tap axis.
        stride: The convolution's stride per tap axis.

    Returns:
        Shape (*(taps + (p - 1) * s), in, out * cells): the filters of one output channel side by
            side.
    """
    rank = len(pool)
    taps = kernel.shape[:rank]
    in_channels, out_channels = kernel.shape[rank:]
    spans = []
    for count, size, step in zip(taps, pool, stride, strict=True):
        spans.append(count + (size - 1) * step)
    cells = prod(pool)
    wide = np.zeros((*spans, in_channels, out_channels, cells), kernel.dtype)
    for number, cell in enumerate(np.ndindex(*pool)):
        place = []
        for index, count, step in zip(cell, taps, stride, strict=True):
            start = index * step
            place.append(slice(start, start + count))
        # A view of the filters of this cell, so that a tuple of slices reaches its taps.
        of_cell = wide[..., number]
        of_cell[tuple(place)] = kernel
    return wide.reshape(*spans, in_channels, out_channels * cells)


def placed(kernel: Array, front: Sequence[int], taps: Sequence[int]) -> Array:
    """Place a kernel among zeros.

    Args:
        kernel: Shape (*taps, in, out).
        front: Zeros before its first tap, per tap axis.
        taps: Taps in all, per tap axis.

    Returns:
        The larger kernel.
    """
    rank = len(taps)
    larger = np.zeros((*taps, *kernel.shape[rank:]), kernel.dtype)
    place = []
    for start, count in zip(front, kernel.shape[:rank], strict=True):
        place.append(slice(start, start + count))
    larger[tuple(place)] = kernel
    return larger


def folded(kernel: Array, stride: Sequence[int]) -> Array:
    """Fold a kernel for an input whose cells were moved, s at a time, into channels.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        stride: Cells that became channels, per tap axis.

    Returns:
        Shape (*ceil(taps / s), prod(s) * in, out), with zeros for cells after the last tap.
    """
    rank = len(stride)
    taps = kernel.shape[:rank]
    in_channels, out_channels = kernel.shape[rank:]
    blocks = [ceil(count / step) for count, step in zip(taps, stride, strict=True)]

    # Zeros after the last tap fill the last block: they add nothing to the sum.
    whole = [count * step for count, step in zip(blocks, stride, strict=True)]
    padded = placed(kernel, [0] * rank, whole)

    # Each axis becomes (block, cell in the block). The cells of all axes then go next to the input
    # channels, in the order in which the moved input has them.
    split: list[int] = []
    for count, step in zip(blocks, stride, strict=True):
        split += [count, step]
    apart = padded.reshape(*split, in_channels, out_channels)
    block_axes = range(0, 2 * rank, 2)
    cell_axes = range(1, 2 * rank, 2)
    channel_axes = (2 * rank, 2 * rank + 1)
    moved = apart.transpose(*block_axes, *cell_axes, *channel_axes)
    return moved.reshape(*blocks, prod(stride) * in_channels, out_channels)


def repeated(bias: Array, times: int) -> Array:
    """Repeat each value of a bias so many times, side by side."""
    return np.repeat(bias, times)


def mirrored(values: Array) -> Array:
    """Return a kernel or bias and its negative side by side, along the axis of filters."""
    return np.concatenate([values, np.negative(values)], -1)


def mirrored_sum(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a 1x1 convolution that subtracts mirrored filters from each other.

    Args:
        shape: (1, ..., 2 * C, C).
    """
    one = np.eye(shape[-1])
    difference = np.concatenate([one, -one])
    return np.broadcast_to(difference, shape)


def group_mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a grouped 1x1 convolution that computes the mean of each group.

    Args:
        shape: (1, ..., features, groups).
    """
    return np.full(shape, 1 / shape[-2])


def mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a convolution of each channel by itself that computes window means.

    Args:
        shape: (*taps, channels, 1) of a depthwise, (*taps, 1, channels) of a grouped convolution.
    """
    cells = prod(shape[:-2])
    return np.full(shape, 1 / cells)


def dense_mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of an ordinary convolution that computes the mean of each channel's window.

    Args:
        shape: (*taps, C, C).
    """
    cells = prod(shape[:-2])
    own_channel = np.eye(shape[-1])
    return np.broadcast_to(own_channel / cells, shape)


def binomial(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a convolution of each channel with binomial coefficients, of sum 1.

    Args:
        shape: As in `mean`; k taps of an axis are C(k - 1, i) / 2^(k - 1).
    """
    kernel: Any = np.ones(())
    for taps in shape[:-2]:
        coefficients = [comb(taps - 1, position) for position in range(taps)]
        total = 2 ** (taps - 1)
        kernel = np.multiply.outer(kernel, np.array(coefficients) / total)
    return np.broadcast_to(kernel[..., None, None], shape)


def tournament(cells: int, signed: bool) -> list[Array]:
    """Return the matrices of a network with ReLU between them that computes a maximum.

    A round halves the contestants: max(a, b) = relu(a - b) + b, where b passes the ReLU as relu(b)
    - relu(-b), and as relu(b) alone where no number is negative.

    Args:
        cells: How many numbers there are.
        signed: Whether they may be negative.

    Returns:
        ceil(log2(cells)) + 1 matrices of shape (features in, features out); the last computes one
        number.
    """
    matrices: list[Array] = []
    # Each contestant is a row: the weights with which it is a sum of the features before.
    contestants = np.eye(cells)
    while len(contestants) > 1:
        features, contestants = _round_of_matches(contestants, signed)
        matrices.append(features.T)
    return [*matrices, contestants.T]


def _round_of_matches(contestants: Array, signed: bool) -> tuple[Array, Array]:
    """Return the features of a round, before their ReLU, and the winners as sums of those after it.

    Args:
        contestants: Shape (contestants, features before).
        signed: Whether they may be negative.

    Returns:
        Shapes (features, features before) and (winners, features).
    """
    features: list[Array] = []
    # For each winner the features that it is a sum of, and the sign of each.
    winners: list[dict[int, int]] = []
    for first in range(0, len(contestants), 2):
        match = contestants[first : first + 2]
        last = match[-1]
        signs: dict[int, int] = {}
        if len(match) == 2:
            signs[len(features)] = 1
            features.append(match[0] - last)
        # An odd contestant has no opponent and passes the ReLU as it is.
        signs[len(features)] = 1
        features.append(last)
        if signed:
            signs[len(features)] = -1
            features.append(-last)
        winners.append(signs)
    sums = np.zeros((len(winners), len(features)))
    for row, signs in zip(sums, winners, strict=True):
        for feature, sign in signs.items():
            row[feature] = sign
    return np.array(features), sums


def round_of(cells: int, signed: bool, number: int, shape: tuple[int, ...]) -> Array:
    """Return the kernel of one round of a tournament, played in each channel by itself.

    Args:
        cells: Cells of a window.
        signed: Whether they may be negative.
        number: Which round.
        shape: (*taps, channels, features out) of a depthwise convolution over windows; of a grouped
            one (*taps, features in, channels * features out).
    """
    matrix = tournament(cells, signed)[number]
    features_out = matrix.shape[1]
    taps = shape[:-2]
    rows = matrix.reshape(*taps, -1, features_out)
    if rows.shape[-2] == shape[-2]:
        # Grouped: the features of a channel are its inputs, and each channel has filters.
        return np.tile(rows, (1, shape[-1] // features_out))
    # Depthwise: the one cell of a tap and channel, for every channel alike.
    return np.tile(rows, (shape[-2], 1))


def fixed_then(
    fixed: Callable[[tuple[int, ...]], Array],
    taps: tuple[int, ...],
    make: Callable[[Array], Array],
    shape: tuple[int, ...],
) -> Array:
    """Make a fixed kernel of so many taps, and another of a shape out of it."""
    return make(fixed((*taps, *shape[len(taps) :])))
