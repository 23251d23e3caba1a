"""The state of a model that agrees best with the original, of those that were measured."""

from __future__ import annotations

from dataclasses import dataclass

from keras_downswap.calibration.evaluation.agreement import Agreement, HoldoutEvaluator
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.dialects.reading import Reading


@dataclass
class BestState:
    """The best state so far, and how well it agrees.

    Attributes:
        evaluator: Measures how well the model agrees.
        model: The model.
        agreement: The agreement of the best state.
        snapshot: What the model held in it.
    """

    evaluator: HoldoutEvaluator
    model: Reading
    agreement: Agreement
    snapshot: Snapshot

    @classmethod
    def measured(cls, evaluator: HoldoutEvaluator, model: Reading) -> BestState:
        """Measure the state that the model is in, and begin with it."""
        # Before the model is run, which changes the state of seeds and of recurrent layers.
        snapshot = Snapshot(model)
        return cls(evaluator, model, evaluator.evaluate(model), snapshot)

    def consider(self) -> Agreement:
        """Measure the state that the model is in, and remember it if it is better."""
        agreement = self.evaluator.evaluate(self.model)
        if agreement.relative_error < self.agreement.relative_error:
            self.agreement = agreement
            self.snapshot = Snapshot(self.model)
        return agreement

    def restore(self) -> None:
        """Bring the model into the best state."""
        self.snapshot.restore()
