"""One calibration: its stages in turn, of which the state that agrees best is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from keras_downswap.calibration.batching import BatchSizes, tensor_batches
from keras_downswap.calibration.closed_form.layerwise import LayerFit
from keras_downswap.calibration.evaluation.agreement import Agreement, HoldoutEvaluator
from keras_downswap.calibration.evaluation.best_state import BestState
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.calibration.holdout import SampleSplit
from keras_downswap.calibration.options import DEFAULTS, CalibrationOptions
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport, StageReport
from keras_downswap.calibration.stage import Stage, StageContext, StageResult, StageSkipped
from keras_downswap.calibration.stages import stages_of
from keras_downswap.dialects.reading import Reading


def run_calibration(
    new: Reading, old: Reading, samples: SampleSplit, options: CalibrationOptions, bar: Bar
) -> CalibrationReport:
    """Fit a swapped model, in place, to what the original computes.

    Args:
        new: The swapped model.
        old: The original, which is left as it is.
        samples: Samples to fit to, and held-out ones.
        options: How to fit.
        bar: Where progress is shown.

    Returns:
        What was done.

    Raises:
        BadRequest: If an output cannot be compared, or data that is read late does not fit the
            model; the new model is as it was then.
    """
    stages = stages_of(options.method)
    # Tensors are compared on two samples: of one, a batch axis looks like any axis of length 1.
    count = BatchSizes.of(new.graph).fixed or 2
    few = [new.dialect.to_tensor(array[:count]) for array in samples.held_out]
    with _state_kept(old):
        trainable = TrainableSet.of(old, new, options.train_all, few)
        run = CalibrationRun.begin(trainable, samples, options, bar)
        if trainable.pairs.sites:
            run.run_stages(stages)
        else:
            run.notes.append(
                "every layer of the new model does as in the original: there is nothing to fit"
            )
    return run.report()


@dataclass
class CalibrationRun:
    """One calibration under way.

    Attributes:
        context: What the stages may use.
        held_out: How many samples are held out.
        before: The agreement before anything was fitted.
        original_state: What the new model held then.
        best: The best state so far.
        stages: What became of each stage so far.
        layers: What became of the layers that a closed form fitted.
        notes: What a user must know.
        interrupted: Whether Ctrl-C was pressed.
    """

    context: StageContext
    held_out: int
    before: Agreement
    original_state: Snapshot
    best: BestState
    stages: list[StageReport] = field(default_factory=list)
    layers: tuple[LayerFit, ...] = ()
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @classmethod
    def begin(
        cls, trainable: TrainableSet, samples: SampleSplit, options: CalibrationOptions, bar: Bar
    ) -> CalibrationRun:
        """Measure how well the models agree before anything is fitted, by running both."""
        new = trainable.new
        sizes = BatchSizes.of(new.graph)
        batches = tensor_batches(samples.held_out, new, sizes)
        evaluator = HoldoutEvaluator.of(trainable.old, batches)
        best = BestState.measured(evaluator, new)
        before = best.agreement
        context = StageContext(trainable, samples.fitting, evaluator, before, options, sizes, bar)
        run = cls(context, len(samples.held_out[0]), before, best.snapshot, best)
        # Where the models agree already, it does not matter what could not be fitted.
        if before.relative_error > DEFAULTS.negligible_relative_error:
            run.notes += trainable.notes
        return run

    def run_stages(self, stages: tuple[Stage, ...]) -> None:
        """Run some stages, and leave the new model in the best state that was found.

        Ctrl-C ends the stages. After any other error the new model is as it was in the beginning.
        """
        try:
            for stage in stages:
                self.run_stage(stage)
                if self.interrupted:
                    break
        except KeyboardInterrupt:
            self.interrupted = True
        except BaseException:
            self.original_state.restore()
            raise
        self.best.restore()

    def run_stage(self, stage: Stage) -> None:
        """Run one stage and say what became of it."""
        began = time.perf_counter()
        try:
            result = self._attempt(stage)
        except StageSkipped as reason:
            seconds = time.perf_counter() - began
            self.stages.append(StageReport(stage.name, None, False, seconds, str(reason)))
            return
        previous_error = self.best.agreement.relative_error
        agreement = self.best.consider()
        kept = agreement.relative_error < previous_error
        self._note_layers(result.layers, kept)
        self.interrupted = result.interrupted
        seconds = time.perf_counter() - began
        self.stages.append(StageReport(stage.name, agreement, kept, seconds, result.note))

    def _attempt(self, stage: Stage) -> StageResult:
        best = self.best.agreement
        if best.relative_error <= DEFAULTS.negligible_relative_error:
            raise StageSkipped("the models agree already")
        if self.context.options.seconds_left <= 0:
            raise StageSkipped("the time is up")
        # Closed forms draw each layer towards where it starts, so they start from the weights of
        # the swap: what an earlier stage did would be in the way.
        if stage.from_best:
            self.best.restore()
        else:
            self.original_state.restore()
        return stage.run(replace(self.context, best=best))

    def _note_layers(self, layers: tuple[LayerFit, ...], kept: bool) -> None:
        """Report the layers of a stage that was kept; of any other stage only their notes."""
        if kept:
            # A stage that fits no single layers leaves the account of the one before.
            self.layers = layers or self.layers
            return
        for fit in layers:
            if fit.note:
                self.notes.append(f"{fit.layer}: {fit.note}")

    def report(self) -> CalibrationReport:
        """Return the account of what was done."""
        options = self.context.options
        return CalibrationReport(
            method=options.method,
            samples=self.context.data.count,
            held_out=self.held_out,
            before=self.before,
            after=self.best.agreement,
            stages=tuple(self.stages),
            layers=self.layers,
            notes=tuple(self.notes),
            interrupted=self.interrupted,
            seconds=time.perf_counter() - options.began,
        )


@contextmanager
def _state_kept(reading: Reading) -> Iterator[None]:
    """Restore afterwards what running a model changes: seeds, and states of recurrent layers."""
    before = Snapshot(reading)
    try:
        yield
    finally:
        before.restore()
