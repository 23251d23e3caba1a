"""Training end to end towards the original: its outputs, and what each site should compute."""

from __future__ import annotations

from keras_downswap.calibration.distillation.distill import TrainingLimits, distill
from keras_downswap.calibration.distillation.terms import distillation_terms
from keras_downswap.calibration.evaluation.best_state import BestState
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.calibration.options import DEFAULTS, distillation_steps
from keras_downswap.calibration.stage import Stage, StageContext, StageResult, StageSkipped


def run(context: StageContext) -> StageResult:
    """Train what may be trained, and keep the state that agrees best on held-out samples."""
    _check_possible(context)
    options = context.options
    first = context.data.first(context.batch_sizes.inference)
    terms = distillation_terms(context.trainable, context.batches(first)[0])

    # Building the terms runs both models, and may have used up the time that was left before.
    seconds = options.seconds_left
    if seconds <= 0:
        raise StageSkipped("the time is up")
    steps = options.steps or distillation_steps(
        context.data.count,
        DEFAULTS.distillation_steps_per_root_sample,
        DEFAULTS.distillation_steps_min,
    )
    limits = TrainingLimits(steps, context.batch_sizes.training, seconds, options.seed)
    best = BestState(context.evaluator, context.new, context.best, Snapshot(context.new))
    progress = context.bar.share("distill")
    outcome = distill(context.trainable, terms, context.data, best, limits, progress)
    return StageResult(f"{outcome.steps} steps", interrupted=outcome.interrupted)


def _check_possible(context: StageContext) -> None:
    count = context.data.count
    fewest = DEFAULTS.distillation_samples_min
    # A stream whose end was not seen has at least as many as were read to hold some out.
    if count is not None and count < fewest:
        raise StageSkipped(f"{count} samples are too few: {fewest} are needed")
    if not context.new.dialect.on_tensorflow:
        raise StageSkipped("it needs Keras on the TensorFlow backend")
    if not any(context.trainable.variables().values()):
        raise StageSkipped("no layer may be trained")


STAGE = Stage(name="distill", order=30, run=run, from_best=True)
