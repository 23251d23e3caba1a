"""What a method of calibration is: a stage, what it is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.batching import BatchSizes, tensor_batches
from keras_downswap.calibration.closed_form.layerwise import LayerFit, LayerFitter, fit_layers
from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.evaluation.agreement import Agreement, HoldoutEvaluator
from keras_downswap.calibration.options import DEFAULTS, CalibrationOptions
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.calibration.progress import Bar
from keras_downswap.dialects.reading import Reading


class StageSkipped(Exception):
    """A stage cannot run with what there is; its text says why."""


@dataclass(frozen=True)
class StageContext:
    """What a stage may use.

    Attributes:
        trainable: The two models, and what of the new one may be trained.
        data: Samples to fit to.
        evaluator: The held-out samples.
        best: The best agreement so far on them.
        options: How to fit.
        batch_sizes: How many samples run at once.
        bar: Where progress is shown.
    """

    trainable: TrainableSet
    data: Data
    evaluator: HoldoutEvaluator
    best: Agreement
    options: CalibrationOptions
    batch_sizes: BatchSizes
    bar: Bar

    @property
    def new(self) -> Reading:
        """The model that is fitted."""
        return self.trainable.new

    def batches(self, arrays: Sequence[Any]) -> list[list[Any]]:
        """Return samples as batches of backend tensors."""
        return tensor_batches(arrays, self.new, self.batch_sizes)

    def closed_form_batches(self) -> list[list[Any]]:
        """Return as many samples as may wait in memory while a layer is fitted.

        Raises:
            StageSkipped: If there is only one.
        """
        bytes_of_sample = DEFAULTS.waiting_tensors * self.batch_sizes.largest_tensor_bytes
        count = np.clip(
            DEFAULTS.waiting_bytes_max // bytes_of_sample,
            DEFAULTS.closed_form_samples_min,
            DEFAULTS.closed_form_samples_max,
        )
        arrays = self.data.first(int(count), self.options.seed)
        if len(arrays[0]) < 2:
            raise StageSkipped("1 sample is too few: 2 are needed")
        return self.batches(arrays)

    def fit_layers(
        self, title: str, fitters: Sequence[LayerFitter], batches: Sequence[Sequence[Any]]
    ) -> list[LayerFit]:
        """Fit layers in closed form, one after another; the progress bar says the title."""
        progress = self.bar.steps(title, len(fitters))
        old, new = self.trainable.old, self.trainable.new
        return fit_layers(old, new, fitters, batches, self.options.seed, progress)


@dataclass(frozen=True)
class StageResult:
    """What a stage did to the new model.

    Attributes:
        note: What there is to know about it.
        layers: What became of each layer that was fitted by itself.
        interrupted: Whether Ctrl-C ended it.
    """

    note: str = ""
    layers: tuple[LayerFit, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True)
class Stage:
    """One method of calibration.

    Attributes:
        name: The value of `method` that runs it alone.
        order: Its place where all are run in turn: the lowest is first.
        run: Fits the new model in place; raises `StageSkipped` where it cannot.
        closed_form: Whether it takes seconds, so that many forms can be measured by it.
        from_best: Whether it starts from the best state so far; else from the state before the
            calibration.
    """

    name: str
    order: int
    run: Callable[[StageContext], StageResult]
    closed_form: bool = False
    from_best: bool = False
