"""End to end towards the old model: its outputs, and what each site of the new one is to make.

Samples are mixed in pairs where inputs are numbers, which makes few of them last longer.
BatchNormalization that may move runs in training mode (but for what a TimeDistributed layer wraps),
dropout does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.distillation.training import DistillationTerm, Trainer
from keras_downswap.calibration.evaluation.agreement import Agreement, HoldoutEvaluator
from keras_downswap.calibration.evaluation.expected_drop import is_distribution
from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.calibration.pairing.trainable import TrainableSet

RATE, MATRIX_RATE = 2e-3, 1e-2
WARM_UP = 0.05
CHECKS = 10
"""How often a run looks at the held-out samples."""


@dataclass(frozen=True)
class Run:
    """How long to train.

    Attributes:
        steps: How many steps to make.
        size: Samples of a batch.
        seconds: After which time to be done, whatever was made.
        seed: Of the order of samples and of mixing.
    """

    steps: int
    size: int
    seconds: float
    seed: int


@dataclass
class Distilled:
    """What a run did: the steps made, and whether Ctrl-C ended it."""

    steps: int = 0
    interrupted: bool = False


def distill(
    movable: TrainableSet,
    aims: Sequence[DistillationTerm],
    data: Data,
    judge: HoldoutEvaluator,
    start: Agreement,
    run: Run,
    progress: Callable[[float, str], None],
) -> Distilled:
    """Train the new model, in place, and keep the state that agrees best on the held-out samples.

    Args:
        movable: The two models, and what may move.
        aims: What is to agree.
        data: Samples.
        judge: The held-out samples.
        start: The agreement before.
        run: How long to train.
        progress: Told the share of the work that is done, and how it stands.

    Returns:
        What was done.
    """
    old, new = movable.old, movable.new
    players = (
        Interpreter(old, {aim.old for aim in aims}),
        Interpreter(new, {aim.new for aim in aims}, (), movable.runs_in_training),
    )
    numbers = [new.graph.tensors[t].dtype.startswith(("float", "bfloat")) for t in new.graph.inputs]
    trainer = Trainer(*players, aims, movable.variables(), numbers, run.seed)
    best, kept = start, Snapshot(new)
    began, done, made = time.perf_counter(), 0.0, Distilled()
    batches = _endless(data, run.size, run.seed)
    try:
        while done < 1:
            settings = map(new.dialect.to_tensor, (*_rates(done), np.float32(done)))
            trainer.step([new.dialect.to_tensor(x) for x in next(batches)], *settings)
            made.steps += 1
            before, done = (
                done,
                max(made.steps / run.steps, (time.perf_counter() - began) / run.seconds),
            )
            progress(min(done, 1), "")
            if int(before * CHECKS) < int(done * CHECKS):
                now = judge.of(new)
                progress(min(done, 1), str(now))
                if now.distance < best.distance:
                    best, kept = now, Snapshot(new)
    except KeyboardInterrupt:
        made.interrupted = True
        if judge.of(new).distance < best.distance:
            return made
    kept.restore()
    return made


def _rates(done: float) -> tuple[Any, Any]:
    """Return both learning rates: a linear start, then half a cosine down to zero."""
    factor = min(1.0, (done + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
    return np.float32(RATE * factor), np.float32(MATRIX_RATE * factor)


def _endless(data: Data, size: int, seed: int) -> Iterator[list[Any]]:
    """Yield batches of one size, pass after pass; of fewer samples only where the next ones have another shape."""
    waiting: list[list[Any]] = []
    for number in count(1):
        for batch in data.batches(size, seed + number):
            if waiting and [x.shape[1:] for x in waiting[0]] != [x.shape[1:] for x in batch]:
                yield _joined(waiting)
                waiting = []
            waiting.append(batch)
            if sum(len(part[0]) for part in waiting) >= size:
                yield [x[:size] for x in _joined(waiting)]
                waiting = []


def _joined(parts: list[list[Any]]) -> list[Any]:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def distillation_terms(movable: TrainableSet, batch: Sequence[Any]) -> list[DistillationTerm]:
    """Return what is to agree: every output, and every tensor where a site ends.

    Args:
        movable: The two models.
        batch: Samples by which scales are measured.
    """
    old, new = movable.old, movable.new
    outputs: list[tuple[TensorRef, TensorRef]] = [
        (((), mine), ((), theirs))
        for mine, theirs in zip(new.graph.outputs, old.graph.outputs, strict=True)
    ]
    inner = [(t.end, t.goal) for t in movable.sites] + [(t.end, t.goal) for t in movable.pools]
    inner += [
        (end, movable.pairs.tensors[end])
        for end in movable.pairs.ends
        if end in movable.pairs.tensors
    ]
    wanted = dict.fromkeys([*outputs, *inner])
    olds = Interpreter(old, {theirs for _, theirs in wanted}).run(batch)
    news = Interpreter(new, {mine for mine, _ in wanted}).run(batch)
    aims = []
    for mine, theirs in wanted:
        value = old.dialect.to_array(olds[theirs])
        if value.dtype.kind not in "fV" or value.shape != new.dialect.to_array(news[mine]).shape:
            continue
        exact = value.astype(np.float64)
        if (mine, theirs) in outputs and is_distribution(value):
            kind, scale = "probabilities", min(1.0, _told(exact))
        else:
            kind, scale = "values", float((exact - exact.mean(0)).std() ** 2)
        aims.append(
            DistillationTerm(
                mine, theirs, kind, (mine, theirs) not in outputs, scale if scale > 1e-12 else 1.0
            )
        )
    return aims


def _told(chances: Any) -> float:
    """Return by how much probabilities differ from their mean on average, as a divergence in nats."""
    mean, least = chances.mean(tuple(range(chances.ndim - 1))), 1e-30
    return float(
        (chances * np.log(np.maximum(chances, least) / np.maximum(mean, least))).sum(-1).mean()
    )
