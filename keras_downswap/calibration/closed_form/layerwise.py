"""Fits one layer after another in the order in which they run.

The input of a fit comes from the new model, its goal from the old one. What an earlier layer gets
wrong is part of the input of the next, which makes up for it where it can (asymmetric
reconstruction, Zhang et al. 2015). Each batch waits before a layer until that is fitted, so every
layer of the new model runs once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from keras_downswap.calibration.closed_form.im2col import (
    draw_positions,
    move_channels_last,
    values_at,
)
from keras_downswap.calibration.execution.interpreter import CallRef, Interpreter, TensorRef
from keras_downswap.calibration.pairing.targets import run_order
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.types import Array

NOT_IMPROVED = "nothing fits better than its start on held-out samples: kept"
FIT_HOLDOUT_FRACTION = 0.2
"""Share of the samples on which each fit is evaluated."""


@dataclass(frozen=True)
class LayerFit:
    """What became of one layer.

    Attributes:
        layer: Its name.
        site: Whether it downsamples otherwise than in the old model.
        start: Squared error of its output on held-out samples before the fit, over the variance of
            the goal.
        error: Likewise after; `start` where it stays as it was.
        note: Why it stays, or what else there is to know.
    """

    layer: str
    site: bool
    start: float
    error: float
    note: str = ""


class LayerFitter(ABC):
    """One layer being fitted.

    Attributes:
        call_ref: Its call in the new model.
        name: Its name in the progress bar.
        goal: The tensor of the old model that it is fitted to; None where its input is all it
            needs.
        side_tensors: Further tensors of the new model that it needs, known when it runs.
        channels_last: Whether the channels of the goal are on its last axis.
        merges_time: Whether the layer runs on each step of time as on a sample, and its tensors
            are to be seen so.
        rows_wanted: Positions of the goal that are worth their memory.
        sample_count: Number of samples in all.
        goal_values: The old model's values, shape (rows, channels) for each batch.
        positions: Where these are, shape (samples, positions, axes) for each batch.
    """

    def __init__(
        self, call_ref: CallRef, name: str, goal: TensorRef | None, channels_last: bool = True
    ) -> None:
        """Note where the layer is, and what it is fitted to."""
        self.call_ref = call_ref
        self.name = name
        self.goal = goal
        self.channels_last = channels_last
        self.side_tensors: tuple[TensorRef, ...] = ()
        self.merges_time = False
        self.rows_wanted = 0
        self.sample_count = 0
        self.goal_values: list[Array] = []
        self.positions: list[Array] = []

    def collect_goal(
        self, value: Array, batch_size: int, sample_count: int, rng: np.random.Generator
    ) -> None:
        """Keep values of the old model at some positions of a batch.

        Args:
            value: The goal's value.
            batch_size: Samples of the batch.
            sample_count: Samples of all batches.
            rng: Draws the positions.
        """
        self.sample_count = sample_count
        maps = move_channels_last(self.merge_time(value), self.channels_last)
        # A sample in which a layer runs at several steps of time gives as many maps.
        map_count = sample_count * len(maps) // batch_size
        most = max(1, math.ceil(self.rows_wanted / map_count))
        lengths = maps.shape[1:-1]
        positions = draw_positions(rng, len(maps), lengths, most)
        self.goal_values.append(self.fitted_goal(values_at(maps, positions)))
        self.positions.append(positions)

    def merge_time(self, value: Array) -> Array:
        """Return a tensor as the layer sees it: steps of time as samples where it runs on each."""
        if not self.merges_time:
            return value
        return value.reshape(-1, *value.shape[2:])

    def fitted_goal(self, values: Array) -> Array:
        """Return what the fit compares with, given the old model's values."""
        return values.astype(np.float32)

    def holdout_rows(self, inputs: Sequence[Array]) -> int:
        """Return the number of rows held out, the last ones: always those of whole samples."""
        map_count = sum(len(value) for value in inputs)
        positions_each = int(self.positions[0].shape[1])
        rows_of_a_sample = map_count // self.sample_count * positions_each
        held_out = max(1, round(FIT_HOLDOUT_FRACTION * self.sample_count))
        return min(held_out, self.sample_count - 1) * rows_of_a_sample

    @abstractmethod
    def fit_layer(
        self, inputs: Sequence[Array], side_values: Sequence[Sequence[Array]]
    ) -> list[LayerFit]:
        """Fit the layer, given for each batch its input and the values of `side_tensors`."""


def fit_layers(
    old: Reading,
    new: Reading,
    fitters: Iterable[LayerFitter],
    batches: Sequence[Sequence[Any]],
    seed: int,
    progress: Callable[[str], None],
) -> list[LayerFit]:
    """Fit layers of the new model, in place, to what the old model computes.

    Args:
        old: The old model.
        new: The new model.
        fitters: The layers; those of one call are fitted in the order given.
        batches: Samples, as backend tensors.
        seed: Seed of the choice of positions.
        progress: Called with the name of each layer.

    Returns:
        What became of each layer, in the order in which they run.
    """
    order = list(run_order(new.graph))
    waiting = sorted(fitters, key=lambda fitter: order.index(fitter.call_ref))
    _collect_goals(old, waiting, batches, seed)

    stops = {fitter.call_ref for fitter in waiting}
    interpreter = Interpreter(new, _side_tensors(waiting), stops)
    kept: list[dict[TensorRef, Any]] = [{} for _ in batches]
    runs = list(map(interpreter.start, batches, kept))
    fits: list[LayerFit] = []
    for _, group in groupby([*waiting], key=_call_of):
        # All batches stop before the same call, so the layer is fitted to all of them, and what
        # runs after it uses its new weights.
        inputs = [new.dialect.to_array(next(run)[1]) for run in runs]
        for fitter in group:
            progress(fitter.name)
            waiting.remove(fitter)
            side_values = [_side_values(new, fitter, values) for values in kept]
            maps = [fitter.merge_time(value) for value in inputs]
            fits += fitter.fit_layer(maps, side_values)
        _drop_all_but(kept, _side_tensors(waiting))
    # The rest of the model runs too: what layers keep of a run (seeds, say) is then the same as
    # after a call of the whole model.
    for run in runs:
        for _ in run:
            pass
    return fits


def _call_of(fitter: LayerFitter) -> CallRef:
    return fitter.call_ref


def _side_values(new: Reading, fitter: LayerFitter, values: Mapping[TensorRef, Any]) -> list[Array]:
    """Return what a fitter needs of a batch besides its input."""
    found = []
    for ref in fitter.side_tensors:
        value = new.dialect.to_array(values[ref])
        found.append(fitter.merge_time(value))
    return found


def _side_tensors(fitters: Iterable[LayerFitter]) -> set[TensorRef]:
    return {ref for fitter in fitters for ref in fitter.side_tensors}


def _drop_all_but(kept: Sequence[dict[TensorRef, Any]], needed: set[TensorRef]) -> None:
    """Free the values that no fit needs any more."""
    for values in kept:
        for ref in values.keys() - needed:
            del values[ref]


def _collect_goals(
    old: Reading, fitters: Iterable[LayerFitter], batches: Sequence[Sequence[Any]], seed: int
) -> None:
    """Give each fitter the old model's values at some positions of each batch."""
    with_goal = [(fitter, fitter.goal) for fitter in fitters if fitter.goal is not None]
    if not with_goal:
        return
    interpreter = Interpreter(old, keep={goal for _, goal in with_goal})
    sample_count = sum(len(batch[0]) for batch in batches)
    for batch_number, batch in enumerate(batches):
        values = interpreter.run(batch)
        for index, (fitter, goal) in enumerate(with_goal):
            # A generator for each fit and batch: what one fit draws does not depend on others.
            rng = np.random.default_rng((seed, index, batch_number))
            value = old.dialect.to_array(values[goal])
            fitter.collect_goal(value, len(batch[0]), sample_count, rng)
