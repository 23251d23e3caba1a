"""Kernels against plain float64 loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from keras_downswap.ir.kernel_math import (
    averaged,
    binomial,
    dense_mean,
    dilated,
    folded,
    mean,
    phases,
    placed,
    repeated,
    tournament,
)

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
@pytest.mark.parametrize(
    ("pool", "stride"), [((2, 2, 2), (1, 1, 1)), ((2, 1, 3), (2, 3, 1)), ((1, 4, 2), (3, 2, 2))]
)
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
    wanted = np.zeros(
        [d * (k - 1) + 1 for k, d in zip(shape[:rank], dilation, strict=False)] + list(shape[rank:])
    )
    for tap in product(*(range(k) for k in shape[:rank])):
        wanted[tuple(t * d for t, d in zip(tap, dilation, strict=False))] = kernel[tap]
    assert np.array_equal(result, wanted)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("cells", [1, 2, 3, 4, 7, 9, 16, 27])
def test_a_tournament_finds_the_maximum_in_as_many_rounds_as_halvings(
    cells: int, signed: bool
) -> None:
    matrices = tournament(cells, signed)
    assert len(matrices) == (cells - 1).bit_length() + 1
    x = np.random.default_rng(0).uniform(-1 if signed else 0, 1, (200, cells))
    y: Any = x
    for matrix in matrices[:-1]:
        y = np.maximum(y @ matrix, 0)
    np.testing.assert_allclose((y @ matrices[-1])[:, 0], x.max(axis=1), rtol=0, atol=1e-14)


def test_an_unsigned_tournament_loses_negative_numbers() -> None:
    x: Any = np.array([[-3.0, -2.0]])
    first, last = tournament(2, signed=False)
    assert (np.maximum(x @ first, 0) @ last).item() != -2


def test_phases_are_the_kernel_shifted_for_each_cell_of_a_window() -> None:
    kernel = np.arange(12.0).reshape(3, 2, 2)
    wide = phases(kernel, (2,), (3,))
    assert wide.shape == (6, 2, 4)
    for cell in range(2):
        own = wide[:, :, cell::2]
        np.testing.assert_array_equal(own[3 * cell : 3 * cell + 3], kernel)
        assert own.sum() == kernel.sum()
    assert repeated(np.array([1, 2]), 2).tolist() == [1, 1, 2, 2]


def test_a_folded_kernel_has_its_taps_as_channels() -> None:
    kernel = np.arange(5 * 2 * 3.0).reshape(5, 2, 3)
    folded_kernel = folded(kernel, (2,))
    assert folded_kernel.shape == (3, 4, 3)
    for tap in range(5):
        np.testing.assert_array_equal(
            folded_kernel[tap // 2, 2 * (tap % 2) : 2 * (tap % 2) + 2], kernel[tap]
        )
    assert not folded_kernel[2, 2:].any()


def test_a_placed_kernel_stands_among_zeros() -> None:
    kernel = np.ones((2, 1, 1, 1))
    assert placed(kernel, (1, 2), (4, 3))[..., 0, 0].tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 1],
        [0, 0, 0],
    ]


@pytest.mark.parametrize("make", [mean, binomial])
@pytest.mark.parametrize("shape", [(2, 3, 1), (3, 3, 4, 1), (2, 3, 2, 1, 5)])
def test_fixed_kernels_of_single_channels_sum_to_one(make: Any, shape: tuple[int, ...]) -> None:
    kernel = make(shape)
    assert kernel.shape == shape
    np.testing.assert_allclose(kernel.reshape(-1, *shape[-2:]).sum(axis=0), 1)


def test_a_dense_mean_keeps_channels_apart() -> None:
    kernel = dense_mean((2, 2, 3, 3))
    np.testing.assert_allclose(kernel.sum(axis=(0, 1)), np.eye(3))
    assert binomial((3, 1, 1))[:, 0, 0].tolist() == [0.25, 0.5, 0.25]
