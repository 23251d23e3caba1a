"""What an output answers, and how many right answers a change of it is expected to lose: no label is needed for that.

A classifier that is right as often as its probabilities say is right with probability p[a] where it
answers a. Where the new model answers b instead, p[a] - p[b] is lost on average. What the new model
sees that the old one does not is left out of account, so the figure is on the safe side where the
samples are none that the old model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_downswap.ir.types import Array

SURE = 0.5
"""What a classifier loses at least where each sample gets another one's answer, as a share of what a sure one would."""


@dataclass(frozen=True)
class Answers:
    """The answers of one output.

    Attributes:
        kind: `classes` (probabilities along the last axis), `scores` (their logits), `yes or no`
            (each value a probability), or `numbers` (anything else).
        chances: The probability of each answer, along the last axis; None for `numbers`.
    """

    kind: str
    chances: Array | None

    @classmethod
    def of(cls, goal: Array) -> Answers:
        """Tell from the values of the old model, samples first, what an output is."""
        if goal.dtype.kind not in "fV":
            return cls("numbers", None)
        values = goal.astype(np.float32)
        if is_distribution(values):
            kind, chances = "classes", values
        elif values.min(initial=0) >= 0 and values.max(initial=0) <= 1:
            kind, chances = "yes or no", np.stack([1 - values, values], -1)
        elif values.ndim > 1 and values.shape[-1] > 1:
            powers = np.exp(values - values.max(-1, keepdims=True))
            kind, chances = "scores", powers / powers.sum(-1, keepdims=True)
        else:
            return cls("numbers", None)
        found, another = cls(kind, chances), np.roll(values, max(1, len(values) // 2), 0)
        sure = SURE * (1 - 1 / chances.shape[-1])
        return found if found.lost(another, 0.0) >= sure else cls("numbers", None)

    def lost(self, made: Array, distance: float) -> float:
        """Return the share of right answers that other values are expected to lose; for `numbers` the distance."""
        if self.chances is None or not np.isfinite(made).all():
            return distance if np.isfinite(distance) else float("inf")
        answers = made > 0.5 if self.kind == "yes or no" else made.argmax(-1)
        theirs = np.take_along_axis(self.chances, answers.astype(int)[..., None], -1)[..., 0]
        return float((self.chances.max(-1) - theirs).mean())


def is_distribution(values: Array) -> bool:
    """Tell whether values are probabilities along the last axis."""
    wide = values.ndim > 1 and values.shape[-1] > 1
    return wide and bool(
        (values >= 0).all() and np.allclose(values.astype(np.float64).sum(-1), 1, atol=1e-2)
    )
