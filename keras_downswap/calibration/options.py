"""How to calibrate: what a caller chooses, and the numbers that nobody has to choose."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

MEBIBYTE = 2**20


@dataclass(frozen=True)
class CalibrationOptions:
    """How to fit one model.

    Attributes:
        method: The name of a stage, or `auto` for all of them in turn.
        train_all: Whether layers other than the sites may be trained.
        seed: Of everything that is drawn.
        steps: Steps of distillation; None for as many as suit the data.
        deadline: When to be done, by `time.perf_counter`.
        began: When the calibration began, likewise; its report counts the seconds from there.
    """

    method: str = "auto"
    train_all: bool = True
    seed: int = 0
    steps: int | None = None
    deadline: float = math.inf
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - time.perf_counter()


@dataclass(frozen=True)
class CalibrationDefaults:
    """The numbers that the stages share, with their units."""

    # Of the samples a share is held out, to choose by. One or two samples may agree by luck: at
    # least so many are held out, as far as they are no more than a quarter of all. They and the
    # outputs of both models for them stay in memory.
    holdout_fraction: float = 0.1
    holdout_samples_min: int = 8
    holdout_samples_max: int = 1024
    holdout_bytes_max: int = 256 * MEBIBYTE

    # A batch is at most so many samples, fewer where the largest tensor of the model would have
    # more bytes than this. Training gets more bytes than inference, since it is slow otherwise:
    # a step costs nearly the same for few samples as for many.
    batch_samples_max: int = 128
    inference_samples_min: int = 8
    inference_tensor_bytes_max: int = 64 * MEBIBYTE
    training_samples_min: int = 16
    training_tensor_bytes_max: int = 512 * MEBIBYTE

    # Closed forms see so many samples. All of them wait before a layer until it is fitted, so
    # what they are there has to fit into memory: of tensors as large as the largest, about three
    # are alive at a time.
    closed_form_samples_min: int = 32
    closed_form_samples_max: int = 2048
    waiting_bytes_max: int = 256 * MEBIBYTE
    waiting_tensors: int = 3

    # Distillation over-fits fewer samples than this. Its steps grow with the root of the number
    # of samples; a stream whose length is not known counts as so many.
    distillation_samples_min: int = 64
    distillation_steps_min: int = 400
    distillation_steps_per_root_sample: float = 24.0
    samples_of_unknown_stream: int = 4096

    # Two models whose outputs differ by no more than this agree but for rounding.
    negligible_relative_error: float = 1e-9

    # What an axis of unknown length is taken for where only the size of tensors matters.
    unknown_length: int = 64


DEFAULTS = CalibrationDefaults()


def distillation_steps(samples: int | None, per_root_sample: float, at_least: int) -> int:
    """Return how many steps suit so many samples; None for a stream whose end was not seen."""
    count = DEFAULTS.samples_of_unknown_stream if samples is None else samples
    return max(at_least, round(per_root_sample * math.sqrt(count)))
