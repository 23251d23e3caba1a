"""A training run of the new model towards the old one, from first to last step.

Samples are mixed in pairs where inputs are numbers, so that a few samples are over-fitted later.
BatchNormalization that may be trained runs in training mode (but for what a TimeDistributed layer
wraps), dropout does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from keras_downswap.calibration.data.samples import Data, joined, sample_shapes
from keras_downswap.calibration.distillation.optimizer import LearningRates
from keras_downswap.calibration.distillation.terms import DistillationTerm
from keras_downswap.calibration.distillation.training import Trainer
from keras_downswap.calibration.evaluation.best_state import BestState
from keras_downswap.calibration.execution.interpreter import Interpreter
from keras_downswap.calibration.pairing.trainable import TrainableSet

ADAM_RATE = 2e-3
MUON_RATE = 1e-2
WARM_UP_SHARE = 0.05
"""Share of a run in which the learning rates grow to their full size."""
EVALUATIONS = 10
"""How often a run measures the agreement on held-out samples."""


@dataclass(frozen=True)
class TrainingLimits:
    """How long to train.

    Attributes:
        steps: How many steps to run.
        batch_size: Samples of a step.
        seconds: After which time to be done, however few steps were made.
        seed: Of the order of samples and of mixing.
    """

    steps: int
    batch_size: int
    seconds: float
    seed: int


@dataclass
class TrainingOutcome:
    """What a run did.

    Attributes:
        steps: The steps that were made.
        interrupted: Whether Ctrl-C ended it.
    """

    steps: int = 0
    interrupted: bool = False


def distill(
    trainable: TrainableSet,
    terms: Sequence[DistillationTerm],
    data: Data,
    best: BestState,
    limits: TrainingLimits,
    show_progress: Callable[[float, str], None],
) -> TrainingOutcome:
    """Train the new model, in place, and keep the state that agrees best on the held-out samples.

    Args:
        trainable: The two models, and what may be trained.
        terms: What should agree.
        data: Samples.
        best: The best state so far; the new model is in it afterwards.
        limits: How long to train.
        show_progress: Receives the share of the run that is done, and how the models agree.

    Returns:
        What was done.
    """
    trainer = _trainer(trainable, terms, limits.seed)
    tensor = trainable.new.dialect.to_tensor
    batches = _endless_batches(data, limits.batch_size, limits.seed)
    began = time.perf_counter()
    progress = 0.0
    outcome = TrainingOutcome()
    try:
        while progress < 1:
            inputs = [tensor(array) for array in next(batches)]
            # As tensors: a Python number would have the step traced anew for each of its values.
            rates = [tensor(rate) for rate in learning_rates(progress)]
            trainer.step(inputs, *rates, tensor(np.float32(progress)))
            outcome.steps += 1

            before = progress
            share_of_time = (time.perf_counter() - began) / limits.seconds
            progress = max(outcome.steps / limits.steps, share_of_time)
            show_progress(min(progress, 1), "")
            if int(before * EVALUATIONS) < int(progress * EVALUATIONS):
                agreement = best.consider()
                show_progress(min(progress, 1), str(agreement))
    except KeyboardInterrupt:
        outcome.interrupted = True
        best.consider()
    best.restore()
    return outcome


def _trainer(trainable: TrainableSet, terms: Sequence[DistillationTerm], seed: int) -> Trainer:
    new = trainable.new
    old_model = Interpreter(trainable.old, {term.old for term in terms})
    new_refs = {term.new for term in terms}
    new_model = Interpreter(new, new_refs, (), trainable.runs_in_training)
    # Only numbers can be mixed: halfway between two words or classes there is nothing.
    mixed = []
    for tensor in new.graph.inputs:
        dtype = new.graph.tensors[tensor].dtype
        mixed.append(dtype.startswith(("float", "bfloat")))
    return Trainer(old_model, new_model, terms, trainable.variables(), mixed, seed)


def learning_rates(progress: float) -> LearningRates:
    """Return the rates of Adam and Muon: a linear warm-up, then half a cosine down to zero.

    Args:
        progress: Share of the run that is done.
    """
    warm_up = min(1.0, (progress + 1e-3) / WARM_UP_SHARE)
    decay = 0.5 * (1 + math.cos(math.pi * progress))
    factor = warm_up * decay
    return LearningRates(np.float32(ADAM_RATE * factor), np.float32(MUON_RATE * factor))


def _endless_batches(data: Data, size: int, seed: int) -> Iterator[list[Any]]:
    """Yield batches of one size, pass after pass.

    They have fewer samples only where the next samples have another shape: at the end of a pass
    what does not fill a batch waits for the next pass.
    """
    waiting: list[list[Any]] = []
    for number in count(1):
        for batch in data.batches(size, seed + number):
            if waiting and sample_shapes(waiting[0]) != sample_shapes(batch):
                yield joined(waiting)
                waiting = []
            waiting.append(batch)
            if sum(len(part[0]) for part in waiting) >= size:
                yield [array[:size] for array in joined(waiting)]
                waiting = []
