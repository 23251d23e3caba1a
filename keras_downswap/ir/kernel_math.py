"""NumPy on convolution kernels, laid out as Keras stores them: (*taps, channels in / groups, channels out)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, prod
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
    taps = [d * (k - 1) + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    dense = np.zeros((*taps, *kernel.shape[rank:]), kernel.dtype)
    dense[tuple(slice(None, None, d) for d in dilation)] = kernel
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
    overlap = any(
        p > 1 and s < taps for taps, p, s in zip(kernel.shape, pool, stride, strict=False)
    )
    result: Any = kernel.astype(np.float64) if overlap else kernel
    for axis, (p, s) in enumerate(zip(pool, stride, strict=True)):
        taps = result.shape[axis]
        wide = np.zeros(
            (*result.shape[:axis], taps + (p - 1) * s, *result.shape[axis + 1 :]), result.dtype
        )
        view = np.moveaxis(wide, axis, 0)
        for j in range(p):
            view[j * s : j * s + taps] += np.moveaxis(result, axis, 0)
        result = wide
    mean: Array = (result / prod(pool)).astype(kernel.dtype, copy=False)
    return mean


def pair_mean(
    kernel: Array, dilation: Sequence[int], pool: Sequence[int], stride: Sequence[int]
) -> Array:
    """Compose a kernel, dilated or not, with the average pool that follows it: see `dilated` and `averaged`."""
    return averaged(dilated(kernel, dilation), pool, stride)


def phases(kernel: Array, pool: Sequence[int], stride: Sequence[int]) -> Array:
    """Write a kernel once for each cell of the pool that follows it, shifted to where that cell stands.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        pool: Pool size per tap axis.
        stride: The convolution's stride per tap axis.

    Returns:
        Shape (*(taps + (p - 1) * s), in, out * cells): the filters of one output channel side by
            side.
    """
    rank = len(pool)
    taps = [k + (p - 1) * s for k, p, s in zip(kernel.shape, pool, stride, strict=False)]
    wide = np.zeros((*taps, *kernel.shape[rank:], prod(pool)), kernel.dtype)
    for number, cell in enumerate(np.ndindex(*pool)):
        place = tuple(
            slice(i * s, i * s + k) for i, s, k in zip(cell, stride, kernel.shape, strict=False)
        )
        wide[..., number][place] = kernel
    return wide.reshape(*wide.shape[:-2], -1)


def placed(kernel: Array, front: Sequence[int], taps: Sequence[int]) -> Array:
    """Place a kernel among zeros: `front` of them before its first tap along each axis, `taps` taps in all."""
    wide = np.zeros((*taps, *kernel.shape[len(taps) :]), kernel.dtype)
    wide[tuple(slice(o, o + k) for o, k in zip(front, kernel.shape, strict=False))] = kernel
    return wide


def folded(kernel: Array, stride: Sequence[int]) -> Array:
    """Fold a kernel for an input whose cells were moved, s at a time, into channels.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        stride: Cells that became channels, per tap axis.

    Returns:
        Shape (*ceil(taps / s), prod(s) * in, out), with zeros for cells behind the last tap.
    """
    rank = len(stride)
    taps = [-(-k // s) for k, s in zip(kernel.shape, stride, strict=False)]
    wide = np.zeros(
        (*(k * s for k, s in zip(taps, stride, strict=True)), *kernel.shape[rank:]), kernel.dtype
    )
    wide[tuple(slice(k) for k in kernel.shape[:rank])] = kernel
    blocks = wide.reshape(
        *(n for pair in zip(taps, stride, strict=True) for n in pair), *kernel.shape[rank:]
    )
    order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank, 2 * rank + 1)
    return blocks.transpose(order).reshape(*taps, -1, kernel.shape[-1])


def repeated(bias: Array, times: int) -> Array:
    """Repeat each value of a bias so many times, side by side."""
    return np.repeat(bias, times)


def mirrored(values: Array) -> Array:
    """Return a kernel or bias and its negative side by side, along the axis of filters."""
    return np.concatenate([values, np.negative(values)], -1)


def mirrored_sum(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a 1x1 convolution that takes mirrored filters off each other: (1, ..., 2 * C, C)."""
    one = np.eye(shape[-1])
    return np.broadcast_to(np.concatenate([one, -one]), shape)


def group_mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a grouped 1x1 convolution that takes the mean of each group: (1, ..., features, groups)."""
    return np.full(shape, 1 / shape[-2])


def mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a convolution of each channel by itself that takes the mean of its window.

    Args:
        shape: (*taps, channels, 1) of a depthwise, (*taps, 1, channels) of a grouped convolution.
    """
    return np.full(shape, 1 / prod(shape[:-2]))


def dense_mean(shape: tuple[int, ...]) -> Array:
    """Return the kernel of an ordinary convolution that takes the mean of each channel's window: (*taps, C, C)."""
    return np.broadcast_to(np.eye(shape[-1]) / prod(shape[:-2]), shape)


def binomial(shape: tuple[int, ...]) -> Array:
    """Return the kernel of a convolution of each channel by itself whose taps are binomial coefficients, of sum 1.

    Args:
        shape: As in `mean`; k taps of an axis are C(k - 1, i) / 2^(k - 1).
    """
    kernel: Any = np.ones(())
    for k in shape[:-2]:
        kernel = np.multiply.outer(kernel, [comb(k - 1, i) / 2 ** (k - 1) for i in range(k)])
    return np.broadcast_to(kernel[..., None, None], shape)


def tournament(cells: int, signed: bool) -> list[Array]:
    """Return the matrices of a network with ReLU between them that computes the maximum of so many numbers.

    A round halves the contestants: max(a, b) = relu(a - b) + b, where b passes the ReLU as relu(b)
    - relu(-b), and as relu(b) alone where no number is negative.

    Args:
        cells: How many numbers there are.
        signed: Whether they may be negative.

    Returns:
        ceil(log2(cells)) + 1 matrices of shape (features in, features out); the last makes one
        number.
    """
    passed = np.array([[1, -1]] if signed else [[1]])
    contestants, matrices = np.eye(cells), []
    while len(contestants) > 1:
        features: list[Any] = []
        sums: list[tuple[int, int, int]] = []
        for match in (contestants[i : i + 2] for i in range(0, len(contestants), 2)):
            start, last = len(features), match[-1]
            features += [match[0] - last] if len(match) == 2 else []
            sums.append((start, len(features), len(features) + passed.size))
            features += [sign * last for sign in passed[0]]
        contestants = np.zeros((len(sums), len(features)))
        for row, (start, middle, end) in zip(contestants, sums, strict=True):
            row[start:middle], row[middle:end] = 1, passed[0]
        matrices.append(np.array(features).T)
    return [*matrices, contestants.T]


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
    rows = matrix.reshape(*shape[:-2], -1, matrix.shape[1])
    times = (1, shape[-1] // matrix.shape[1]) if rows.shape[-2] == shape[-2] else (shape[-2], 1)
    return np.tile(rows, times)


def fixed_then(
    fixed: Callable[[tuple[int, ...]], Array],
    taps: tuple[int, ...],
    make: Callable[[Array], Array],
    shape: tuple[int, ...],
) -> Array:
    """Make a fixed kernel of so many taps, and another of a shape out of it."""
    return make(fixed((*taps, *shape[len(taps) :])))
