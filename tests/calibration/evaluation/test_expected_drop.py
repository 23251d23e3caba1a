"""What outputs answer, and how many right answers a change of them is expected to lose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_downswap.calibration.evaluation.expected_drop import Answers

RNG = np.random.default_rng(0)
CLASSES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1]], np.float32)
SCORES = np.log(CLASSES + 1e-9) + np.array([[3.0], [-5.0]])
MAPS = np.repeat(CLASSES[:, None, :], 4, 1)


@pytest.mark.parametrize(
    ("goal", "kind"),
    [
        (CLASSES, "classes"),
        (MAPS, "classes"),
        (SCORES, "scores"),
        (np.array([[0.99], [0.02]]), "yes or no"),
        (np.array([[0.99, 0.97], [0.02, 0.1]]), "yes or no"),
        (np.array([0.99, 0.02]), "yes or no"),
        (np.array([[1.5], [-3.0]]), "numbers"),
        (RNG.normal(size=(200, 10)) * 0.3, "numbers"),
        (RNG.uniform(0.1, 0.4, size=(200, 3)), "numbers"),
        (RNG.uniform(size=(200, 8, 8, 3)) * 0.2, "numbers"),
        (RNG.normal(size=(200, 4)) * 5 + [20, 120, 60, 90], "numbers"),
        (np.zeros((9, 4)), "numbers"),
        (np.array([[0.9, 0.1]]), "numbers"),
        (np.full((4, 5), 0.2), "numbers"),
        (np.array([[3, 4]]), "numbers"),
    ],
)
def test_kinds(goal: Any, kind: str) -> None:
    assert Answers.of(goal).kind == kind


@pytest.mark.parametrize("goal", [CLASSES, SCORES, MAPS])
def test_another_answer_loses_the_difference_of_its_probability(goal: Any) -> None:
    other = np.array(goal)
    other[1] = np.roll(other[1], -1, -1)
    answers = Answers.of(goal)
    assert answers.expected_accuracy_loss(goal * 7, 0.0) == 0
    assert answers.expected_accuracy_loss(other, 0.0) == pytest.approx((0 + 0.5) / 2, abs=1e-6)


def test_yes_or_no() -> None:
    answers = Answers.of(np.array([[0.9], [0.05]]))
    assert answers.expected_accuracy_loss(np.array([[0.6], [0.4]]), 0.0) == 0
    assert answers.expected_accuracy_loss(np.array([[0.4], [0.4]]), 0.0) == pytest.approx(0.8 / 2)


def test_numbers_lose_their_relative_error_and_what_is_not_finite_all() -> None:
    assert (
        Answers.of(np.array([[1.5], [-3.0]])).expected_accuracy_loss(np.zeros((2, 1)), 0.25) == 0.25
    )
    assert Answers.of(CLASSES).expected_accuracy_loss(CLASSES * np.nan, float("nan")) == float(
        "inf"
    )


def test_the_expected_loss_is_the_true_one_where_the_probabilities_are_right() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100_000, 6)) * 4
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    labels = (chances.cumsum(-1) > rng.uniform(size=(len(chances), 1))).argmax(-1)
    worse = scores + rng.normal(size=scores.shape)
    lost = (scores.argmax(-1) == labels).mean() - (worse.argmax(-1) == labels).mean()
    assert Answers.of(scores).expected_accuracy_loss(worse, 0.0) == pytest.approx(lost, abs=0.003)
    assert lost > 0.01
