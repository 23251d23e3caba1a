"""NumPy on convolution kernels, laid out as Keras stores them: (*taps, channels in / groups, channels out)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


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

    Averaging the outputs at j, j+1, ..., j+p-1 of a convolution of stride s is one convolution whose kernel is the
    mean of p copies of the first, shifted by s cells each:  w'[t] = (1/p) * sum_j w[t - j*s], axis by axis.

    Args:
        kernel: Dense kernel, shape (*taps, in, out).
        pool: Pool size per tap axis.
        stride: The convolution's stride per tap axis.

    Returns:
        Shape (*(taps + (p - 1) * s), in, out), summed in float64 where copies overlap, and rounded once.
    """
    overlap = any(p > 1 and s < taps for taps, p, s in zip(kernel.shape, pool, stride, strict=False))
    result: Any = kernel.astype(np.float64) if overlap else kernel
    for axis, (p, s) in enumerate(zip(pool, stride, strict=True)):
        taps = result.shape[axis]
        wide = np.zeros((*result.shape[:axis], taps + (p - 1) * s, *result.shape[axis + 1 :]), result.dtype)
        view = np.moveaxis(wide, axis, 0)
        for j in range(p):
            view[j * s : j * s + taps] += np.moveaxis(result, axis, 0)
        result = wide
    mean: Array = (result / prod(pool)).astype(kernel.dtype, copy=False)
    return mean
