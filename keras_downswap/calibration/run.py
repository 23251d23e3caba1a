"""Statistics, least squares, distillation: each a rung, and what agrees best on held-out samples is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from keras_downswap.calibration.closed_form.layerwise import LayerFit, LayerFitter, fit_layers
from keras_downswap.calibration.closed_form.pool_scale_fit import PoolFit
from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.evaluation.agreement import HoldoutEvaluator
from keras_downswap.calibration.execution.snapshot import Snapshot
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport, StageReport
from keras_downswap.calibration.stages.distill import Run, distill, distillation_terms
from keras_downswap.calibration.stages.least_squares import KernelFit
from keras_downswap.calibration.stages.statistics import BatchNormReestimation
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadData
from keras_downswap.ir.graph import Graph

BATCH = 128
SAMPLES, WAITING = 2048, 256 * 2**20
"""Samples of a closed-form fit at most, and bytes that their values may take while they wait for a layer."""
AT_ONCE = 64 * 2**20
"""Bytes that the largest tensor of a batch may take where nothing is trained; an eighth of what it may in training."""
FEWEST = 64
"""Samples below which distillation is not tried."""
PERFECT = 1e-9
"""Distance at which there is nothing to fit."""


def fixed_batch(model: Reading) -> int | None:
    """Return the batch size that a model insists on; None where it takes any."""
    shapes = [model.graph.tensors[t].shape for t in model.graph.inputs]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), None)


def _largest(graph: Graph) -> int:
    """Return the number of values of the largest tensor of a graph for one sample, nested models included."""
    own = [math.prod(n or 64 for n in tensor.shape[1:]) for tensor in graph.tensors]
    inner = [
        _largest(c.nested_graph) * (1 if c.wrapped is None else graph.times(c) or 64)
        for c in graph.calls
        if c.nested_graph
    ]
    return max(own + inner)


class StageSkipped(Exception):
    """A rung cannot be climbed with what there is, as its text says."""


@dataclass
class CalibrationRun:
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

    movable: TrainableSet
    data: Data
    held: Sequence[Any]
    seed: int
    steps: int | None
    ends: float
    bar: Bar
    report: CalibrationReport = field(init=False)

    def __post_init__(self) -> None:
        self.old, self.new = self.movable.old, self.movable.new
        self.judge = HoldoutEvaluator(self.old, self._batches(self.held))
        self.start = self.best = Snapshot(self.new)
        before = self.judge.of(self.new)
        self.report = CalibrationReport("", self.data.count, len(self.held[0]), before, before)
        self.report.notes += self.movable.notes if before.distance > PERFECT else []

    @property
    def fixed(self) -> int | None:
        """The batch size that the model insists on; None where it takes any."""
        return fixed_batch(self.new)

    @cached_property
    def largest(self) -> int:
        """Bytes of the largest tensor that the new model makes of one sample."""
        return 4 * _largest(self.new.graph)

    @property
    def size(self) -> int:
        """Samples that are run at once."""
        return self.fixed or int(np.clip(AT_ONCE // self.largest, 8, BATCH))

    @property
    def trained_at_once(self) -> int:
        """Samples of a step of distillation."""
        return self.fixed or int(np.clip(8 * AT_ONCE // self.largest, 16, BATCH))

    @property
    def rungs(self) -> dict[str, Callable[[], str]]:
        """The rungs by name, each a function that returns a note."""
        return {
            "statistics": self._statistics,
            "least_squares": self._least_squares,
            "distill": self._distill,
        }

    def climb(self, rungs: Sequence[str]) -> CalibrationReport:
        """CalibrationOptions some rungs, and leave the new model in the best state that was met."""
        try:
            for name in rungs:
                self._climb(name)
                if self.report.interrupted:
                    break
        except KeyboardInterrupt:
            self.report.interrupted = True
        except BaseException:
            self.start.restore()
            raise
        self.best.restore()
        return self.report

    def _climb(self, name: str) -> None:
        began = time.perf_counter()
        try:
            if self.report.after.distance <= PERFECT:
                raise StageSkipped("the models agree already")
            if began >= self.ends:
                raise StageSkipped("the time is up")
            note = self.rungs[name]()
        except StageSkipped as reason:
            self.report.stages.append(
                StageReport(name, None, False, time.perf_counter() - began, str(reason))
            )
            return
        agreement = self.judge.of(self.new)
        better = agreement.distance < self.report.after.distance
        if better:
            self.report.after, self.best = agreement, Snapshot(self.new)
        elif name == "least_squares":
            self.report.notes += [
                f"{fit.layer}: {fit.note}" for fit in self.report.layers if fit.note
            ]
            self.report.layers = []
        self.report.stages.append(
            StageReport(name, agreement, better, time.perf_counter() - began, note)
        )

    def _statistics(self) -> str:
        self.start.restore()
        bare = [t for t in self.movable.sites if t.kernel(self.new).norm is None]
        fits: list[LayerFitter] = [
            BatchNormReestimation(self.new, *norm) for norm in self.movable.norms()
        ]
        fits += [KernelFit(self.new, target, scale_only=True) for target in bare]
        fits += self._pools
        if not fits:
            raise StageSkipped(
                "there is neither a BatchNormalization behind a site nor a site with a bias to shift"
            )
        self._fit("statistics", fits, self._sample())
        return ""

    def _least_squares(self) -> str:
        self.start.restore()
        fits = [*(KernelFit(self.new, target) for target in self.movable.targets), *self._pools]
        if not fits:
            raise StageSkipped("no site can be fitted in closed form")
        batches = self._sample()
        self.report.layers = self._fit("least squares", fits, batches)
        return f"{sum(len(batch[0]) for batch in batches)} samples"

    @property
    def _pools(self) -> list[PoolFit]:
        return [PoolFit(self.new, pool) for pool in self.movable.pools]

    def _fit(
        self, name: str, fits: Sequence[LayerFitter], batches: Sequence[Sequence[Any]]
    ) -> list[LayerFit]:
        return fit_layers(
            self.old, self.new, fits, batches, self.seed, self.bar.steps(name, len(fits))
        )

    def _distill(self) -> str:
        count = self.data.count
        if count is not None and count < FEWEST:
            raise StageSkipped(f"{count} samples are too few: {FEWEST} are needed")
        if not self.new.dialect.on_tensorflow:
            raise StageSkipped("it needs Keras on the TensorFlow backend")
        if not any(self.movable.variables().values()):
            raise StageSkipped("no layer may move")
        self.best.restore()
        steps = self.steps or max(400, round(24 * math.sqrt(count or 4096)))
        aims = distillation_terms(self.movable, self._batches(self.data.first(self.size))[0])
        left = self.ends - time.perf_counter()
        if left <= 0:
            raise StageSkipped("the time is up")
        run = Run(steps, self.trained_at_once, left, self.seed)
        made = distill(
            self.movable,
            aims,
            self.data,
            self.judge,
            self.report.after,
            run,
            self.bar.share("distill"),
        )
        self.report.interrupted = made.interrupted
        return f"{made.steps} steps"

    def _sample(self) -> list[list[Any]]:
        """Return samples for a closed form: as many as may wait in memory, as backend tensors in batches."""
        most = int(np.clip(WAITING // (3 * self.largest), 32, SAMPLES))
        arrays = self.data.first(most, self.seed)
        if len(arrays[0]) < 2:
            raise StageSkipped("1 sample is too few: 2 are needed")
        return self._batches(arrays)

    def _batches(self, arrays: Sequence[Any]) -> list[list[Any]]:
        tensor, size = self.new.dialect.to_tensor, self.size
        count = len(arrays[0]) if self.fixed is None else len(arrays[0]) // size * size
        if count == 0:
            raise BadData(
                f"{len(arrays[0])} samples do not fill one batch of {size}, which the model takes: give more"
            )
        return [
            [tensor(x[i : min(i + size, count)]) for x in arrays] for i in range(0, count, size)
        ]
