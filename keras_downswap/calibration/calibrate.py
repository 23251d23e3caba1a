"""`calibrate`: a swapped model is fitted to the original, from inputs without labels."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from keras_downswap.calibration.data.input_specs import Batch
from keras_downswap.calibration.data.model_inputs import input_specs_of
from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.calibration.old_spelling import accepts_old_spelling
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.calibration.run import CalibrationRun, fixed_batch
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadData, BadRequest

Fitting = Literal["auto", "statistics", "least_squares", "distill"]
RUNGS = ("statistics", "least_squares", "distill")
HELD, HELD_MOST = 0.1, 1024
"""Share of the samples that is held out to judge by, and how many at most."""
JUDGES = 8
"""Samples that judge at least, where a quarter of the samples is as many: one or two may agree by luck."""
HELD_BYTES = 256 * 2**20
"""Bytes that they and their outputs may take."""


@accepts_old_spelling
def calibrate(
    new: Any,
    *,
    original: Any,
    data: Any,
    method: Fitting = "auto",
    scope: Literal["all", "sites"] = "all",
    seed: int = 0,
    steps: int | None = None,
    budget: float | None = None,
    verbose: bool = True,
) -> CalibrationReport:
    """Fit a swapped model, in place, to what the original computes, from inputs without labels.

    Args:
        new: The swapped model, which is changed; saved and loaded again will do, as long as its
            layers have the names the swap gave them.
        original: The model that was swapped; it is not changed.
        data: What the models take: an array, a list or dict of arrays for several inputs, a
            tf.data.Dataset, a Sequence or PyDataset, or any iterable of batches. Labels are
            ignored. Streams are read batch by batch.
        method: `statistics` (BatchNormalization statistics, or a scale and an offset for each
            channel), `least_squares` (one closed-form fit a layer), `distill` (end to end), or
            `auto`: each in turn, and what agrees best with the original on held-out samples is
            kept.
        scope: `all` lets every trainable layer move, `sites` only those that downsample otherwise.
        seed: Of everything that is drawn. One seed gives one result, on one machine and without a
            budget.
        steps: Steps of distillation; None for 24 times the root of the number of samples, at least
            400.
        budget: Seconds after which to be done, about; None for no limit.
        verbose: Whether to show progress on stderr.

    Returns:
        What was done. Where nothing agreed better than the start, the new model is as it was.

    Raises:
        UnreadableModel: If either is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown, or the data does not fit the model; nothing is
            changed then.
    """
    if method not in ("auto", *RUNGS):
        raise BadRequest(
            f"unknown method={method!r} of calibrate: expected one of auto, {', '.join(RUNGS)}"
        )
    if scope not in ("all", "sites"):
        raise BadRequest(f"unknown scope={scope!r}: expected one of all, sites")
    began = time.perf_counter()
    old, fresh = read_model(original), read_model(new)
    _check_alike(old, fresh)
    samples = Samples.of(data, fresh, seed)
    ends = began + (math.inf if budget is None else budget)
    climb = CalibrationOptions(
        RUNGS if method == "auto" else (method,), scope == "all", seed, steps, ends
    )
    with Bar(verbose) as bar:
        report = fit(fresh, old, samples, climb, bar)
    report.method, report.seconds = method, time.perf_counter() - began
    return report


@dataclass(frozen=True)
class Samples:
    """Samples of one set: those to fit to, and those that judge."""

    rest: Data
    held: Batch

    @classmethod
    def of(cls, data: Any, reading: Reading, seed: int, share: float = HELD) -> Samples:
        """Hold a share of data out for a model.

        Raises:
            BadRequest: If the data does not fit the model.
        """
        size, whole = fixed_batch(reading) or 1, Data.of(data, input_specs_of(reading))
        if size > 1 and whole.count:
            share = min(0.5, max(share, (size + 0.5) / whole.count))
        rest, held = whole.split(share, max(size, _held_most(reading)), seed, JUDGES)
        if len(held[0]) < size:
            raise BadData(
                f"{len(held[0])} samples are held out, which do not fill one batch of {size}, the only size that the "
                "model takes: give more samples"
            )
        return cls(rest, held)


@dataclass(frozen=True)
class CalibrationOptions:
    """How to fit.

    Attributes:
        rungs: What to try, in order.
        everything: Whether layers other than the sites may move.
        seed: Of everything that is drawn.
        steps: Steps of distillation; None for as many as suit the data.
        ends: When to be done, by `time.perf_counter`.
    """

    rungs: Sequence[str]
    everything: bool
    seed: int
    steps: int | None
    ends: float


def fit(
    new: Reading, old: Reading, samples: Samples, climb: CalibrationOptions, bar: Bar
) -> CalibrationReport:
    """Fit a swapped model, in place, to what the original computes."""
    began = time.perf_counter()
    few = [new.dialect.to_tensor(x[: fixed_batch(new) or 2]) for x in samples.held]
    with _at_rest(old):
        movable = TrainableSet.of(old, new, climb.everything, few)
        ladder = CalibrationRun(
            movable, samples.rest, samples.held, climb.seed, climb.steps, climb.ends, bar
        )
        if not movable.pairs.sites:
            ladder.report.notes.append(
                "no layer of the new model does otherwise than in the original: nothing to fit"
            )
        report = ladder.climb(climb.rungs) if movable.pairs.sites else ladder.report
    report.seconds = time.perf_counter() - began
    return report


def _check_alike(old: Reading, new: Reading) -> None:
    """Refuse two models that cannot be compared.

    Raises:
        BadRequest: If they are one, of two Kerases, or differ in what they take or make.
    """
    if old.model is new.model:
        raise BadRequest(
            "calibrate takes the swapped model and the original; received one model twice"
        )
    if old.dialect is not new.dialect:
        raise BadRequest(
            f"both models must be of one Keras; received {new.dialect.root} and {old.dialect.root}"
        )
    for what in ("inputs", "outputs"):
        theirs, mine = (
            [graph.tensors[t].shape for t in getattr(graph, what)]
            for graph in (old.graph, new.graph)
        )
        if theirs != mine:
            raise BadRequest(
                f"the {what} of the models differ: expected {theirs} as the original has, received {mine}; "
                "calibrate takes a model that swap_downsampling made of the original"
            )


def _held_most(reading: Reading) -> int:
    """Return how many held-out samples may be kept, with what the models make of them."""
    graph = reading.graph
    values = sum(
        math.prod(n or 64 for n in graph.tensors[t].shape[1:])
        for t in (*graph.inputs, *graph.outputs)
    )
    return min(HELD_MOST, max(16, HELD_BYTES // (8 * values)))


@contextmanager
def _at_rest(reading: Reading) -> Iterator[None]:
    """Put back what running a model moves: seeds, and the states of recurrent layers."""
    before = Snapshot(reading)
    try:
        yield
    finally:
        before.restore()
