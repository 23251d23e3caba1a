"""Statistics, least squares, distillation: each a rung, and what agrees best on held-out samples is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_downswap.dialects.kernel import Kernel
from keras_downswap.dialects.state import Snapshot
from keras_downswap.recover.account import CalibrationReport, Stage
from keras_downswap.recover.agreement import Judge
from keras_downswap.recover.data import Data
from keras_downswap.recover.distill import Run, aims_of, distill
from keras_downswap.recover.least_squares import fit_layers
from keras_downswap.recover.movable import Movable
from keras_downswap.recover.progress import Bar
from keras_downswap.recover.statistics import renew_statistics

BATCH = 128
SAMPLES, WAITING = 2048, 512 * 2**20
"""Samples of a closed-form fit at most, and bytes that their values may take while they wait for a layer."""
FEWEST = 64
"""Samples below which distillation is not tried."""
PERFECT = 1e-9
"""Distance at which there is nothing to fit."""


class TooLittle(Exception):
    """A rung cannot be climbed with what there is, as its text says."""


@dataclass
class Ladder:
    """One calibration.

    Attributes:
        movable: The two models, and what may move.
        data: Samples to fit to.
        held: Held-out samples, one array per input.
        seed: Of everything that is drawn.
        steps: Steps of distillation; None for as many as suit the data.
        ends: When to be done, by `time.perf_counter`.
        bar: Where progress is shown.
    """

    movable: Movable
    data: Data
    held: Sequence[Any]
    seed: int
    steps: int | None
    ends: float
    bar: Bar
    report: CalibrationReport = field(init=False)

    def __post_init__(self) -> None:
        self.old, self.new = self.movable.old, self.movable.new
        self.judge = Judge(self.old, self._batches(self.held))
        self.start = self.best = Snapshot(self.new)
        before = self.judge.of(self.new)
        self.report = CalibrationReport("", self.data.count, len(self.held[0]), before, before)
        self.report.notes += self.movable.notes

    @property
    def rungs(self) -> dict[str, Callable[[], str]]:
        """The rungs by name, each a function that returns a note."""
        return {"statistics": self._statistics, "least_squares": self._least_squares, "distill": self._distill}

    def climb(self, rungs: Sequence[str]) -> CalibrationReport:
        """Climb some rungs, and leave the new model in the best state that was met."""
        try:
            for name in rungs:
                self._climb(name)
                if self.report.interrupted:
                    break
        except KeyboardInterrupt:
            self.report.interrupted = True
        finally:
            self.best.restore()
        return self.report

    def _climb(self, name: str) -> None:
        began = time.perf_counter()
        try:
            if self.report.after.distance <= PERFECT:
                raise TooLittle("the models agree already")
            if began >= self.ends:
                raise TooLittle("the time is up")
            note = self.rungs[name]()
        except TooLittle as reason:
            self.report.stages.append(Stage(name, None, False, time.perf_counter() - began, str(reason)))
            return
        agreement = self.judge.of(self.new)
        better = agreement.distance < self.report.after.distance
        if better:
            self.report.after, self.best = agreement, Snapshot(self.new)
        self.report.stages.append(Stage(name, agreement, better, time.perf_counter() - began, note))

    def _statistics(self) -> str:
        self.start.restore()
        bare = [t for t in self.movable.sites if Kernel(self.new, t.call, t.chain, t.rank).norm is None]
        norms, batches = self.movable.norms(), self._sample()
        if not bare and not norms:
            raise TooLittle("there is neither a BatchNormalization behind a site nor a site with a bias to shift")
        if bare:
            tell = self.bar.steps("statistics", len(bare))
            fit_layers(self.old, self.new, bare, batches, self.seed, tell, scale_only=True)
        renew_statistics(self.new, norms, batches, self.bar.steps("statistics", len(norms)))
        return ""

    def _least_squares(self) -> str:
        self.start.restore()
        targets = self.movable.targets
        if not targets:
            raise TooLittle("no site can be fitted in closed form")
        batches = self._sample()
        tell = self.bar.steps("least squares", len(targets))
        self.report.layers = fit_layers(self.old, self.new, targets, batches, self.seed, tell)
        return f"{sum(len(batch[0]) for batch in batches)} samples"

    def _distill(self) -> str:
        count = self.data.count
        if count is not None and count < FEWEST:
            raise TooLittle(f"{count} samples are too few: {FEWEST} are needed")
        if not self.new.dialect.on_tensorflow:
            raise TooLittle("it needs Keras on the TensorFlow backend")
        self.best.restore()
        steps = self.steps or max(400, round(24 * math.sqrt(count or 4096)))
        aims = aims_of(self.movable, self._batches(self.data.first(256))[0])
        run = Run(steps, self.ends - time.perf_counter(), self.seed)
        made = distill(self.movable, aims, self.data, self.judge, self.report.after, run, self.bar.share("distill"))
        self.report.interrupted = made.interrupted
        return f"{made.steps} steps"

    def _sample(self) -> list[list[Any]]:
        """Return samples for a closed form: as many as may wait in memory, as backend tensors in batches."""
        sizes = [
            math.prod(n or 64 for n in tensor.shape[1:])
            for _, graph in self.new.graph.scopes()
            for tensor in graph.tensors
        ]
        most = int(np.clip(WAITING // (4 * 3 * max(sizes, default=1)), 32, SAMPLES))
        arrays = self.data.first(most)
        if len(arrays[0]) < 2:
            raise TooLittle("1 sample is too few: 2 are needed")
        return self._batches(arrays)

    def _batches(self, arrays: Sequence[Any]) -> list[list[Any]]:
        tensor = self.new.dialect.tensor
        return [[tensor(x[i : i + BATCH]) for x in arrays] for i in range(0, len(arrays[0]), BATCH)]
