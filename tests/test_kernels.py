"""Kernels against plain float64 loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from keras_downswap.kernels import averaged, dilated

RNG = np.random.default_rng(7)
KERNELS = {
    "1-D": (3, 2, 4),
    "1-D, one tap": (1, 2, 4),
    "2-D": (3, 2, 2, 3),
    "2-D, groups": (3, 3, 1, 4),
    "3-D": (2, 3, 1, 2, 2),
}


def loops(kernel: Any, pool: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """Returns the mean of the shifted copies, one addition at a time."""
    rank = len(pool)
    taps = [k + (p - 1) * s for k, p, s in zip(kernel.shape, pool, stride, strict=False)]
    result = np.zeros((*taps, *kernel.shape[rank:]), np.float64)
    for shift in product(*(range(p) for p in pool)):
        for tap in product(*(range(k) for k in kernel.shape[:rank])):
            at = tuple(t + j * s for t, j, s in zip(tap, shift, stride, strict=True))
            result[at] += kernel[tap].astype(np.float64) / np.prod(pool)
    return result


@pytest.mark.parametrize("shape", KERNELS.values(), ids=KERNELS.keys())
@pytest.mark.parametrize(("pool", "stride"), [((2, 2, 2), (1, 1, 1)), ((2, 1, 3), (2, 3, 1)), ((1, 4, 2), (3, 2, 2))])
def test_averaged_is_the_mean_of_shifted_copies(
    shape: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    rank = len(shape) - 2
    kernel = RNG.standard_normal(shape)
    result = averaged(kernel, pool[:rank], stride[:rank])
    wanted = loops(kernel, pool[:rank], stride[:rank])
    assert result.shape == wanted.shape
    assert np.abs(result - wanted).max() <= 1e-15 * np.abs(kernel).sum()


def test_averaged_by_hand() -> None:
    kernel = np.array([1.0, 2.0, 4.0])[:, None, None]
    assert averaged(kernel, [2], [1])[:, 0, 0].tolist() == [0.5, 1.5, 3.0, 2.0]
    assert averaged(kernel, [2], [2])[:, 0, 0].tolist() == [0.5, 1.0, 2.5, 1.0, 2.0]
    assert averaged(kernel, [2], [4])[:, 0, 0].tolist() == [0.5, 1.0, 2.0, 0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("shape", KERNELS.values(), ids=KERNELS.keys())
def test_a_pool_of_one_leaves_the_kernel(shape: tuple[int, ...]) -> None:
    kernel = RNG.standard_normal(shape).astype(np.float32)
    result = averaged(kernel, [1] * (len(shape) - 2), [3] * (len(shape) - 2))
    assert np.array_equal(result, kernel)
    assert result is not kernel


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_averaged_rounds_once(dtype: Any) -> None:
    kernel = RNG.standard_normal((5, 5, 3, 8)).astype(dtype)
    wanted = loops(kernel, (3, 3), (1, 1))
    result = averaged(kernel, [3, 3], [1, 1])
    assert result.dtype == dtype
    half_a_unit = np.spacing(np.abs(wanted).astype(dtype)).astype(np.float64) / 2
    assert (np.abs(result.astype(np.float64) - wanted) <= half_a_unit * (1 + 1e-6)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_kept_and_inputs_left_alone(dtype: Any) -> None:
    kernel = RNG.standard_normal((3, 2, 2)).astype(dtype)
    before = kernel.copy()
    assert averaged(kernel, [2], [1]).dtype == dtype
    assert dilated(kernel, [2]).dtype == dtype
    assert np.array_equal(kernel, before)


@pytest.mark.parametrize("shape", KERNELS.values(), ids=KERNELS.keys())
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 2, 2), (3, 1, 2)])
def test_dilated_spreads_the_taps(shape: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    rank = len(shape) - 2
    kernel = RNG.standard_normal(shape)
    result = dilated(kernel, dilation[:rank])
    wanted = np.zeros([d * (k - 1) + 1 for k, d in zip(shape[:rank], dilation, strict=False)] + list(shape[rank:]))
    for tap in product(*(range(k) for k in shape[:rank])):
        wanted[tuple(t * d for t, d in zip(tap, dilation, strict=False))] = kernel[tap]
    assert np.array_equal(result, wanted)
