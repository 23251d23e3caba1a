"""What a kernel sees at chosen positions, against a convolution in float64 loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import convolved

from keras_downswap.calibration.closed_form.im2col import (
    draw_positions,
    extract_patches,
    move_channels_last,
    values_at,
    window_cells,
)
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.types import Array

PLAIN = ("valid", "same", "causal")


@st.composite
def axes(draw: st.DrawFn, paddings: st.SearchStrategy[Any]) -> tuple[int, Window]:
    """Draws a length and a window that fits into it."""
    window = Window(
        draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(paddings)
    )
    least = max(1, 1 - min(window.law.offset, 0)) + window.stride
    return least + draw(st.integers(0, 6)), window


def at_all_positions(lengths: tuple[int, ...], samples: int) -> Array:
    cells = np.array(list(product(*map(range, lengths)))).reshape(-1, len(lengths))
    return np.broadcast_to(cells, (samples, *cells.shape))


def assert_patches_convolve(drawn: list[tuple[int, Window]]) -> None:
    """Patches times a kernel are the convolution, at every position of every sample."""
    lengths, windows = zip(*drawn, strict=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *lengths, 3))
    kernel = rng.normal(size=(*(w.size for w in windows), 3, 2))
    explicit = [w.padding if isinstance(w.padding, tuple) else (0, 0) for w in windows]
    sides = [(max(before, 0), max(after, 0)) for before, after in explicit]
    cuts = [(max(-before, 0), max(-after, 0)) for before, after in explicit]
    inner = tuple(slice(front, n - back) for (front, back), n in zip(cuts, lengths, strict=True))
    laid = [np.pad(sample[inner], [*sides, (0, 0)]) for sample in x]
    slides = [
        (w.stride, w.dilation, "valid" if isinstance(w.padding, tuple) else w.padding)
        for w in windows
    ]
    wanted = np.stack([convolved(sample, kernel, slides, bias=0) for sample in laid])
    assert wanted.shape[1:-1] == tuple(w.law(n) for n, w in drawn)
    positions = at_all_positions(wanted.shape[1:-1], 2)
    seen = extract_patches(x, windows, positions)
    assert seen.shape == (2 * positions.shape[1], np.prod(kernel.shape[:-2]), 3)
    np.testing.assert_allclose(
        seen.reshape(len(seen), -1) @ kernel.reshape(-1, 2),
        values_at(wanted, positions),
        atol=1e-10,
    )
    few = draw_positions(rng, 2, wanted.shape[1:-1], 5)
    seen = extract_patches(x, windows, few)
    np.testing.assert_allclose(
        seen.reshape(len(seen), -1) @ kernel.reshape(-1, 2), values_at(wanted, few), atol=1e-10
    )


@given(drawn=st.lists(axes(st.sampled_from(PLAIN)), min_size=1, max_size=3))
def test_patches_times_a_kernel_are_a_convolution(drawn: list[tuple[int, Window]]) -> None:
    assert_patches_convolve(drawn)


@given(
    drawn=st.lists(axes(st.tuples(st.integers(0, 3), st.integers(0, 3))), min_size=1, max_size=2)
)
def test_patches_of_explicit_padding(drawn: list[tuple[int, Window]]) -> None:
    assert_patches_convolve(drawn)


@given(
    drawn=st.lists(axes(st.tuples(st.integers(0, 3), st.integers(-3, 0))), min_size=1, max_size=2)
)
def test_patches_of_a_map_that_is_cut_behind(drawn: list[tuple[int, Window]]) -> None:
    assert_patches_convolve(drawn)


@pytest.mark.parametrize("padding", PLAIN)
@pytest.mark.parametrize("n", [7, 8, 9, 11])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 2, 1), (2, 3, 1), (4, 2, 1), (3, 1, 2), (1, 2, 1)]
)
def test_patches_at_odd_and_even_lengths(
    padding: Any, n: int, size: int, stride: int, dilation: int
) -> None:
    assert_patches_convolve([(n, Window(size, stride, dilation, padding))])


def test_patches_hold_the_taps_in_the_order_of_a_kernel_and_zeros_outside() -> None:
    image = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3, 1)
    found = extract_patches(
        image, (Window(2, padding="same"), Window(2, padding="same")), np.array([[[0, 1], [1, 2]]])
    )
    assert found[..., 0].tolist() == [[2, 3, 5, 6], [6, 0, 0, 0]]
    assert found.dtype == np.float32


def test_patches_without_axes_are_the_rows_themselves() -> None:
    value = np.arange(6.0).reshape(3, 2)
    found = extract_patches(value, (), draw_positions(np.random.default_rng(0), 3, (), 9))
    assert found.tolist() == [[[0, 1]], [[2, 3]], [[4, 5]]]


@given(
    lengths=st.lists(st.integers(1, 6), max_size=3),
    count=st.integers(1, 5),
    most=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_chosen_positions_are_within_range_and_distinct(
    lengths: list[int], count: int, most: int, seed: int
) -> None:
    cells = int(np.prod(lengths))
    found = draw_positions(np.random.default_rng(seed), count, lengths, most)
    assert found.shape == (count, min(most, cells), len(lengths))
    assert ((found >= 0) & (found < np.array(lengths, int))).all()
    for sample in found.tolist():
        assert len({tuple(position) for position in sample}) == len(sample)
    np.testing.assert_array_equal(
        found, draw_positions(np.random.default_rng(seed), count, lengths, most)
    )


def test_chosen_positions_differ_between_samples_and_seeds_and_reach_every_cell() -> None:
    found = draw_positions(np.random.default_rng(0), 200, (4, 5), 3)
    assert {tuple(position) for position in found.reshape(-1, 2).tolist()} == set(
        product(range(4), range(5))
    )
    assert len({str(sample) for sample in found.tolist()}) > 150
    assert found.tolist() != draw_positions(np.random.default_rng(1), 200, (4, 5), 3).tolist()


def test_what_stands_at_positions_goes_sample_by_sample() -> None:
    value = np.arange(24).reshape(2, 3, 2, 2)
    found = values_at(value, np.array([[[0, 1], [2, 0]], [[1, 1], [0, 0]]]))
    assert found.tolist() == [[2, 3], [8, 9], [18, 19], [12, 13]]
    assert values_at(np.arange(6).reshape(3, 2), np.zeros((3, 1, 0), int)).tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_channels_come_last(shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape)).reshape(shape)
    assert move_channels_last(value, True) is value
    found = move_channels_last(value, False)
    assert found.shape == (shape[0], *shape[2:], shape[1])
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], value[:, channel])


@given(st.lists(axes(st.sampled_from(["valid", "same"])), min_size=1, max_size=3))
def test_cells_are_those_that_patches_see(drawn: list[tuple[int, Window]]) -> None:
    lengths, windows = zip(*drawn, strict=True)
    positions = at_all_positions(tuple(w.law(n) for n, w in drawn), 2)
    x = np.random.default_rng(0).normal(size=(2, *lengths, 3)) + 9
    found, inside = window_cells(windows, lengths, positions)
    seen = values_at(x, found).reshape(*inside.shape, 3)
    np.testing.assert_array_equal(
        np.where(inside[..., None], seen, 0), extract_patches(x, windows, positions)
    )
    assert inside.any(1).all()
