"""The search for the cheapest combination of forms, on numbers alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_downswap.calibration.forms import (
    FormSearchReport,
    Group,
    Option,
    Trial,
    cheapest_within,
    combinations,
)


def group(*options: tuple[str, int, float], kept: int = 100) -> Group:
    made = [Option(form, form, macs, drop) for form, macs, drop in options]
    return Group((("conv", "pool"),), (*made, Option("kept", None, kept, 0.0)))


@pytest.mark.parametrize(
    ("options", "worth"),
    [
        ([("same", 25, 0.04), ("cover", 44, 0.01), ("wide", 96, 0.005)], ["same", "cover", "kept"]),
        ([("same", 25, 0.04), ("cover", 44, 0.02), ("wide", 60, 0.001)], ["same", "wide", "kept"]),
        ([("same", 25, 0.04), ("cover", 44, 0.05)], ["same", "kept"]),
        ([("same", 25, 0.04), ("wide", 120, 0.001)], ["same", "kept"]),
        ([("same", 400, 0.04)], ["same", "kept"]),
        ([("same", 25, 0.0)], ["same", "kept"]),
        ([], ["kept"]),
    ],
)
def test_forms_worth_their_macs(options: list[tuple[str, int, float]], worth: list[str]) -> None:
    assert [option.form for option in group(*options).worthwhile()] == worth


def test_the_step_that_saves_most_for_its_macs_comes_first() -> None:
    small, large = (
        group(("same", 25, 0.01), ("cover", 44, 0.002)),
        group(("same", 25, 0.06), ("cover", 44, 0.02)),
    )
    forms = [tuple(option.form for option in combo) for combo in combinations([small, large])]
    assert forms == [
        ("same", "same"),
        ("same", "cover"),
        ("cover", "cover"),
        ("cover", "kept"),
        ("kept", "kept"),
    ]


OPTIONS = st.lists(
    st.tuples(st.sampled_from(["same", "cover", "wide"]), st.integers(1, 150), st.floats(0, 0.2)),
    max_size=3,
)


@given(st.lists(OPTIONS, min_size=1, max_size=4))
def test_combinations_get_dearer_and_lose_less(options: list[list[tuple[str, int, float]]]) -> None:
    combos = combinations([group(*each, kept=160) for each in options])
    assert all(option.form == "kept" for option in combos[-1])
    macs, drops = (
        [sum(getattr(option, what) for option in c) for c in combos] for what in ("macs", "drop")
    )
    assert macs == sorted(macs)
    assert all(a >= b - 1e-12 for a, b in pairwise(drops))
    changes = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairwise(combos)]
    assert set(changes) <= {1}


@given(st.lists(OPTIONS, min_size=1, max_size=4), st.floats(0.05, 1.5), st.floats(0, 0.2))
def test_what_is_found_was_fitted_and_holds(
    options: list[list[tuple[str, int, float]]], share: float, allowed: float
) -> None:
    combos = combinations([group(*each, kept=160) for each in options])
    left = [share * sum(option.drop for option in combo) for combo in combos]
    fitted: list[int] = []

    def fit(number: int) -> float:
        fitted.append(number)
        return left[number]

    found = cheapest_within(combos, allowed, fit)
    assert left[found] <= allowed
    assert found in fitted or found == len(combos) - 1
    assert len(set(fitted)) == len(fitted) <= 5
    best = next(i for i, drop in enumerate(left) if drop <= allowed)
    if (best == 0 or left[best] < left[best - 1]) and len(fitted) < 5:
        assert found == best, "where losses add up, the first combination that holds is found"


def test_where_there_is_no_time_everything_is_kept() -> None:
    combos = combinations([group(("same", 25, 0.04))])
    assert cheapest_within(combos, 0.5, lambda number: None) == len(combos) - 1


def test_a_trial_is_described_with_its_verdict() -> None:
    trials = (Trial(("same", "cover"), 0.021), Trial(("kept", "cover"), 0.004))
    words = str(
        FormSearchReport(
            0.01, (group(), group()), trials, ("kept", "cover"), ("scores",), "few", True, 1.0
        )
    )
    assert words.splitlines() == [
        "forms within max_drop=0.01, outputs taken for scores:",
        "  same, cover: 2.1 % lost, beyond",
        "  kept, cover: 0.4 % lost, within",
        "note: few",
        "interrupted: the best until then is kept",
    ]


def test_what_produces_no_finite_numbers_is_described_and_avoided() -> None:
    broken = group(("same", 25, float("inf")), ("cover", 44, 0.01))
    assert broken.summary.startswith("'same' produces no finite numbers")
    assert [option.form for option in broken.worthwhile()] == ["same", "cover", "kept"]
    fitted: list[int] = []
    combos = combinations([broken])
    assert (
        combos[cheapest_within(combos, 0.01, lambda i: fitted.append(i) or combos[i][0].drop)][
            0
        ].form
        == "cover"
    )
    assert fitted == [1]
