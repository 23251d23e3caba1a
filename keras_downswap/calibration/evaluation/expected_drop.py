"""What an output answers, and how many right answers a change of it is expected to lose.

No label is needed for that. A classifier that is right as often as its probabilities say is right
with probability p[a] where it answers a. Where the new model answers b instead, p[a] - p[b] is lost
on average. Where the new model is right and the old one is not, that is left out of account, so the
figure is on the safe side for samples that the old model was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_downswap.ir.types import Array

SHUFFLED_LOSS_MIN = 0.5
"""The least that a classifier loses where each sample gets the answer of another one.

As a share of what a classifier would lose whose answers are certain and evenly spread.
"""
DISTRIBUTION_TOLERANCE = 1e-2
"""How far probabilities may add up to something else than 1."""


@dataclass(frozen=True)
class Answers:
    """The answers of one output.

    Attributes:
        kind: `classes` (probabilities along the last axis), `scores` (their logits), `yes or no`
            (each value a probability), or `numbers` (anything else).
        probabilities: Those of each answer, along the last axis; None for `numbers`.
    """

    kind: str
    probabilities: Array | None

    @classmethod
    def of(cls, goal: Array) -> Answers:
        """Tell from the values of the old model, samples first, what an output is."""
        numbers = cls("numbers", None)
        if not is_floating(goal):
            return numbers
        values = goal.astype(np.float32)
        if is_distribution(values):
            kind, probabilities = "classes", values
        elif values.min(initial=0) >= 0 and values.max(initial=0) <= 1:
            kind, probabilities = "yes or no", np.stack([1 - values, values], -1)
        elif values.ndim > 1 and values.shape[-1] > 1:
            kind, probabilities = "scores", _softmax(values)
        else:
            return numbers
        # Numbers of any kind can look like these. A classifier's answers differ between samples,
        # and are sure: it would lose much if each sample got the answer of another one.
        found = cls(kind, probabilities)
        of_another_sample = np.roll(values, max(1, len(values) // 2), 0)
        loss = found.expected_accuracy_loss(of_another_sample, 0.0)
        loss_if_certain = 1 - 1 / probabilities.shape[-1]
        return found if loss >= SHUFFLED_LOSS_MIN * loss_if_certain else numbers

    def expected_accuracy_loss(self, output: Array, relative_error: float) -> float:
        """Return the share of right answers that a changed output is expected to lose.

        Args:
            output: The changed output.
            relative_error: Its relative error, which is returned for `numbers`, and infinity where
                that is not finite. So it is for an output that is not finite.
        """
        if self.probabilities is None or not np.isfinite(output).all():
            return relative_error if np.isfinite(relative_error) else float("inf")
        answers = output > 0.5 if self.kind == "yes or no" else output.argmax(-1)
        index = answers.astype(int)[..., None]
        probability_of_new_answer = np.take_along_axis(self.probabilities, index, -1)[..., 0]
        probability_of_old_answer = self.probabilities.max(-1)
        return float((probability_of_old_answer - probability_of_new_answer).mean())


def is_floating(values: Array) -> bool:
    """Tell whether values are floating-point numbers; to NumPy bfloat16 is a void type (V)."""
    return values.dtype.kind in "fV"


def is_distribution(values: Array) -> bool:
    """Tell whether values are probabilities along the last axis."""
    if values.ndim < 2 or values.shape[-1] < 2 or not (values >= 0).all():
        return False
    sums = values.astype(np.float64).sum(-1)
    return bool(np.allclose(sums, 1, atol=DISTRIBUTION_TOLERANCE))


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    normalised: Array = powers / powers.sum(-1, keepdims=True)
    return normalised
