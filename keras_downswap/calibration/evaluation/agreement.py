"""How well two models agree on held-out samples, whatever they make: classes, probabilities, numbers, maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.evaluation.expected_drop import Answers
from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadRequest
from keras_downswap.ir.types import Array


@dataclass(frozen=True)
class Agreement:
    """How well a new model agrees with the old one.

    Attributes:
        distance: Squared difference of the outputs over their variance, averaged over the outputs;
            0 is perfect.
        same: Share of samples (and positions) whose largest channel is the same, over outputs of
            several channels; None where there are none.
        drop: Share of right answers that are expected to be lost, of the output that loses most; of
            an output that is no classifier's, the distance. See `answers`.
        kinds: What each output of floating-point numbers was taken for: `classes`, `scores`, `yes
            or no`, `numbers`.
    """

    distance: float
    same: float | None
    drop: float
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        """Return the figures in words."""
        share = "" if self.same is None else f"{100 * self.same:.1f} % same class, "
        drop = "" if {*self.kinds} <= {"numbers"} else f"drop {100 * self.drop:.1f} %, "
        return f"{share}{drop}distance {self.distance:.4f}"


class HoldoutEvaluator:
    """Holds some samples and what the old model makes of them."""

    def __init__(self, old: Reading, batches: Sequence[Sequence[Any]]) -> None:
        """Run the old model on the samples, given as backend tensors.

        Raises:
            BadRequest: If it makes no floating-point numbers.
        """
        self.batches = batches
        self.goals = self._run(old)
        if not any(goal.dtype.kind in "fV" for goal in self.goals):
            raise BadRequest(
                "no output of the model holds floating-point numbers, so there is nothing to compare by"
            )
        self.answers = [Answers.of(goal) for goal in self.goals]

    def of(self, new: Reading) -> Agreement:
        """Return how well a model agrees with the old one."""
        made = self._run(new)
        distances, same, drops, kinds = [], [], [], []
        for goal, mine, answers in zip(self.goals, made, self.answers, strict=True):
            if goal.dtype.kind not in "fV":
                continue
            a, b = goal.astype(np.float64), mine.astype(np.float64)
            spread = float(((a - a.mean(0)) ** 2).mean())
            distances.append(float(((a - b) ** 2).mean()) / (spread if spread > 0 else 1.0))
            kinds.append(answers.kind)
            drops.append(answers.lost(b, distances[-1]))
            if a.ndim > 1 and a.shape[-1] > 1:
                same.append(float((a.argmax(-1) == b.argmax(-1)).mean()))
        distance = float(np.mean(distances))
        known = distance if np.isfinite(distance) else float("inf")
        return Agreement(known, float(np.mean(same)) if same else None, max(drops), tuple(kinds))

    def _run(self, model: Reading) -> list[Array]:
        places: list[TensorRef] = [((), tensor) for tensor in model.graph.outputs]
        player = Interpreter(model, keep=set(places))
        runs = [player.run(batch) for batch in self.batches]
        return [
            np.concatenate([model.dialect.to_array(run[place]) for run in runs]) for place in places
        ]
