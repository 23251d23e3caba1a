"""How well two models agree on held-out samples: by their classes, probabilities, numbers, maps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.evaluation.expected_drop import Answers, is_floating
from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadRequest
from keras_downswap.ir.types import Array


@dataclass(frozen=True)
class Agreement:
    """How well a new model agrees with the old one.

    Attributes:
        relative_error: Squared difference of the outputs over their variance, averaged over the
            outputs; 0 is perfect.
        same: Share of samples (and positions) whose largest channel is the same, over outputs of
            several channels; None where there are none.
        drop: Share of right answers that are expected to be lost, of the output that loses most; of
            an output that is no classifier's, the relative error.
        kinds: What each output of floating-point numbers was taken for: `classes`, `scores`, `yes
            or no`, `numbers`.
    """

    relative_error: float
    same: float | None
    drop: float
    kinds: tuple[str, ...]

    @property
    def distance(self) -> float:
        """The former name of `relative_error`."""
        warnings.warn(
            "Agreement.distance is now called relative_error: write agreement.relative_error",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.relative_error

    def __str__(self) -> str:
        """Return the figures in words."""
        figures = []
        if self.same is not None:
            figures.append(f"{100 * self.same:.1f} % same class")
        # Of numbers the drop is the relative error, which is said already.
        if set(self.kinds) - {"numbers"}:
            figures.append(f"drop {100 * self.drop:.1f} %")
        figures.append(f"relative error {self.relative_error:.4f}")
        return ", ".join(figures)


@dataclass(frozen=True)
class HoldoutEvaluator:
    """Held-out samples, and the outputs of the old model for them.

    Attributes:
        batches: The samples, as backend tensors: one for each input.
        goals: The outputs of the old model, all samples of each at once.
        answers: What each output answers.
    """

    batches: Sequence[Sequence[Any]]
    goals: list[Array]
    answers: list[Answers]

    @classmethod
    def of(cls, old: Reading, batches: Sequence[Sequence[Any]]) -> HoldoutEvaluator:
        """Run the old model on samples, given as backend tensors.

        Raises:
            BadRequest: If no output of it holds floating-point numbers.
        """
        goals = _outputs(old, batches)
        if not any(is_floating(goal) for goal in goals):
            raise BadRequest(
                "no output of the model holds floating-point numbers, "
                "so there is nothing to compare by"
            )
        return cls(batches, goals, [Answers.of(goal) for goal in goals])

    def evaluate(self, new: Reading) -> Agreement:
        """Return how well a model agrees with the old one."""
        errors: list[float] = []
        same: list[float] = []
        drops: list[float] = []
        kinds: list[str] = []
        outputs = _outputs(new, self.batches)
        for goal, output, answers in zip(self.goals, outputs, self.answers, strict=True):
            if not is_floating(goal):
                continue
            expected = goal.astype(np.float64)
            received = output.astype(np.float64)
            error = _relative_error(expected, received)
            errors.append(error)
            kinds.append(answers.kind)
            drops.append(answers.expected_accuracy_loss(received, error))
            if expected.ndim > 1 and expected.shape[-1] > 1:
                is_same = expected.argmax(-1) == received.argmax(-1)
                same.append(float(is_same.mean()))
        mean_error = float(np.mean(errors))
        # NaN would compare as neither better nor worse than anything.
        if not np.isfinite(mean_error):
            mean_error = float("inf")
        share_same = float(np.mean(same)) if same else None
        return Agreement(mean_error, share_same, max(drops), tuple(kinds))


def _relative_error(expected: Array, received: Array) -> float:
    """Return the mean squared difference over the variance of what is expected."""
    variance = float(((expected - expected.mean(0)) ** 2).mean())
    squared_error = float(((expected - received) ** 2).mean())
    # An output that is the same for all samples has no variance to measure by.
    return squared_error / variance if variance > 0 else squared_error


def _outputs(model: Reading, batches: Sequence[Sequence[Any]]) -> list[Array]:
    """Return each output of a model for all samples."""
    refs: list[TensorRef] = [((), tensor) for tensor in model.graph.outputs]
    interpreter = Interpreter(model, keep=set(refs))
    runs = [interpreter.run(batch) for batch in batches]
    outputs = []
    for ref in refs:
        parts = [model.dialect.to_array(run[ref]) for run in runs]
        outputs.append(np.concatenate(parts))
    return outputs
