"""The laws of `geometry`, against brute force, against positions seen by real convolutions, and
against Keras.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_downswap.ir.geometry import (
    IDENTITY,
    Padding,
    SizeMap,
    Window,
    fit_padding,
    middle_first,
    resized,
)

PADDINGS: tuple[Padding, ...] = ("valid", "same", "causal")
LENGTHS = range(1, 61)
WINDOWS = [
    Window(k, s, d, padding)
    for k, s, d, padding in product(range(1, 8), range(1, 5), range(1, 4), PADDINGS)
    if s == 1 or d == 1
]
maps = st.builds(SizeMap, st.integers(-12, 12), st.integers(1, 6))
lengths = st.integers(0, 400)


def same_padding(n: int, window: Window) -> tuple[int, int]:
    """Returns the left and right padding of TensorFlow's `same`: the least that makes ceil(n / s)
    windows fit.
    """
    windows = -(-n // window.stride)
    for total in range(1000):
        starts = range(0, n + total - window.span + 1, window.stride)
        if len(starts) >= windows:
            return total // 2, total - total // 2
    raise AssertionError("no padding is enough")


@cache
def starts(window: Window, n: int) -> tuple[int, ...]:
    """Returns the first cell of each window (negative in the padding), window by window."""
    left, right = {"valid": (0, 0), "causal": (window.span - 1, 0)}.get(
        window.padding
    ) or same_padding(n, window)
    return tuple(
        cell - left for cell in range(0, n + left + right - window.span + 1, window.stride)
    )


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_law_counts_windows(window: Window) -> None:
    for n in LENGTHS:
        assert max(window.law(n), 0) == len(starts(window, n))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_lead_and_total_padding_are_tensorflows(window: Window) -> None:
    for n in LENGTHS:
        lead = window.lead(n)
        assert lead is not None
        for j, start in enumerate(starts(window, n)):
            assert start == j * window.stride - lead
        if window.padding == "same":
            assert (lead, window.total_padding(n) - lead) == same_padding(n, window)
        else:
            assert window.total_padding(n) == (window.span - 1 if window.padding == "causal" else 0)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_lead_without_a_length_is_given_exactly_where_all_lengths_share_it(
    window: Window,
) -> None:
    leads = {window.lead(n) for n in LENGTHS}
    assert window.lead(None) == (leads.pop() if len(leads) == 1 else None)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_never_pads_means_that_no_window_leaves_the_input(window: Window) -> None:
    inside = []
    for n in LENGTHS:
        inside.append(all(first >= 0 and first + window.span <= n for first in starts(window, n)))
        if window.padding != "causal":
            assert window.never_pads(n) == inside[-1]
        assert inside[-1] or not window.never_pads(n)
    assert window.never_pads(None) == all(inside)


def test_an_index_ramp_shows_each_windows_cells() -> None:
    for window, n in product(WINDOWS, range(1, 25)):
        if window.law(n) <= 0:
            continue
        total, lead = window.total_padding(n), window.lead(n)
        assert lead is not None
        ramp = np.concatenate([np.zeros(lead), np.arange(1, n + 1), np.zeros(total - lead)])
        seen = [
            [ramp[j * window.stride + t * window.dilation] for t in range(window.size)]
            for j in range(window.law(n))
        ]
        for first, cells in zip(starts(window, n), seen, strict=True):
            wanted = [first + t * window.dilation for t in range(window.size)]
            assert cells == [cell + 1 if 0 <= cell < n else 0 for cell in wanted]


@pytest.mark.parametrize("padding", PADDINGS)
def test_kerases_convolutions_see_these_cells(K: Any, padding: Padding) -> None:
    """Tap t of the kernel feeds filter t alone, so the output shows which cell each tap of each
    window saw.
    """
    for k, s, d, n in product((1, 2, 3, 5), (1, 2, 3), (1, 2), (5, 6, 7, 10)):
        window = Window(k, s, d, padding)
        if (s > 1 and d > 1) or window.law(n) <= 0:
            continue
        layer = K.layers.Conv1D(k, k, strides=s, padding=padding, dilation_rate=d, use_bias=False)
        layer.build((1, n, 1))
        layer.set_weights([np.eye(k, dtype=np.float32)[:, None, :]])
        seen = np.asarray(layer(np.arange(1, n + 1, dtype=np.float32)[None, :, None]))[0]
        cells = np.asarray(starts(window, n))[:, None] + d * np.arange(k)
        assert np.array_equal(seen, np.where((cells >= 0) & (cells < n), cells + 1, 0)), (window, n)


def keras_length(layer: Any, n: int) -> int:
    """Returns the output length by Keras itself, 0 where it refuses the input."""
    try:
        return max(int(layer.compute_output_shape((1, n, 2))[1]), 0)
    except ValueError:
        return 0


def test_the_law_of_convolutions_is_kerases(K: Any) -> None:
    for window in WINDOWS:
        layer = K.layers.Conv1D(
            3,
            window.size,
            strides=window.stride,
            dilation_rate=window.dilation,
            padding=window.padding,
        )
        for n in range(1, 31):
            assert keras_length(layer, n) == max(window.law(n), 0), (window, n)


@pytest.mark.parametrize("kind", ["MaxPooling1D", "AveragePooling1D"])
def test_the_law_of_pools_is_kerases(K: Any, kind: str) -> None:
    for p, q, padding in product(range(1, 6), range(1, 5), PADDINGS[:2]):
        layer, window = (
            getattr(K.layers, kind)(p, strides=q, padding=padding),
            Window(p, q, 1, padding),
        )
        for n in range(1, 31):
            assert keras_length(layer, n) == max(window.law(n), 0), (window, n)


@given(maps, maps, maps, lengths)
def test_laws_compose(first: SizeMap, second: SizeMap, third: SizeMap, n: int) -> None:
    assert first.then(second)(n) == second(first(n))
    assert first.then(second).then(third) == first.then(second.then(third))
    assert IDENTITY.then(first) == first == first.then(IDENTITY)


@given(maps, maps, lengths)
def test_laws_are_equal_exactly_where_all_lengths_are(
    first: SizeMap, second: SizeMap, n: int
) -> None:
    assert (first == second) == all(first(m) == second(m) for m in range(200))
    assert first.agrees(second, None) == (first == second)
    assert first.agrees(second, n) == (first(n) == second(n))


@given(st.integers(-9, 9), st.integers(-9, 9), lengths)
def test_resizing_adds_cells(before: int, after: int, n: int) -> None:
    assert resized(before, after)(n) == n + before + after


def test_two_laws_may_agree_at_one_length_only() -> None:
    pair = Window(3).law.then(Window(2, 2).law)
    strided = Window(3, 2).law
    assert pair.agrees(strided, 32)
    assert not pair.agrees(strided, 33)
    assert not pair.agrees(strided, None)


@pytest.mark.parametrize(
    ("size", "order"),
    [(1, (0,)), (2, (0, 1)), (3, (1, 0, 2)), (4, (1, 0, 2, 3)), (5, (2, 1, 3, 0, 4))],
)
def test_the_middle_comes_first(size: int, order: tuple[int, ...]) -> None:
    assert middle_first(size) == order


FITTED = [
    (k, s, d)
    for k, s, d in product((1, 2, 3, 4, 7), (1, 2, 3, 4, 6), (1, 2))
    if (s == 1 or d == 1) and (k > 1 or d == 1)
]
OFFSETS = range(-7, 8)


@pytest.mark.parametrize("geometry", FITTED, ids=str)
@pytest.mark.parametrize("lead", [0, 1, 2, 3, (0,), (1, 0, 2), (-1, 0, -2), (3, 2, 4)], ids=str)
def test_explicit_padding_gives_the_wanted_law(
    geometry: tuple[int, int, int], lead: int | tuple[int, ...]
) -> None:
    k, s, d = geometry
    for offset, n in product(OFFSETS, (None, 17)):
        law = SizeMap(offset, s)
        fitted = fit_padding(Window(k, s, d, "same"), law, n, lead)
        assert resized(fitted.before, fitted.after).then(Window(k, s, d).law) == law
        if isinstance(lead, int):
            assert fitted.before == lead
        else:
            assert fitted.before * fitted.after >= 0, "padded and cropped one axis"
            total = fitted.before + fitted.after
            fine = [wish for wish in lead if wish * total >= 0 and abs(wish) <= abs(total)]
            nearest = min(range(min(0, total), max(0, total) + 1), key=lambda b: abs(b - lead[0]))
            assert fitted.before == (fine[0] if fine else nearest)


@pytest.mark.parametrize("geometry", FITTED, ids=str)
@pytest.mark.parametrize("lead", [0, 1, 2, (1, 0, 2)], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_plain_paddings_are_exactly_the_equivalent_ones(
    geometry: tuple[int, int, int], lead: int | tuple[int, ...], causal: bool
) -> None:
    k, s, d = geometry
    for offset, n in product(OFFSETS, (None, 8, 9, 11, 30)):
        law = SizeMap(offset, s)
        equivalent = set()
        for padding in PADDINGS if causal else PADDINGS[:2]:
            window = Window(k, s, d, padding)
            over = [m for m in (LENGTHS if n is None else [n]) if law(m) > 0]
            alike = all(len(starts(window, m)) == law(m) for m in over)
            if isinstance(lead, int):
                alike = alike and all(
                    cell == j * s - lead for m in over for j, cell in enumerate(starts(window, m))
                )
            if alike:
                equivalent.add(padding)
        if n is None or law(n) > 0:
            assert fit_padding(Window(k, s, d), law, n, lead, causal).plain == equivalent, (law, n)
