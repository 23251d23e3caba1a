"""Fits one layer after another, in the order in which they run: inputs from the new model, goals from the old.

What an earlier layer gets wrong reaches the rows of the next, which makes up for it where it can
(asymmetric reconstruction, Zhang et al. 2015). Each batch waits before a layer until that is
fitted, so every layer of the new model runs once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from keras_downswap.calibration.closed_form.im2col import at, channels_behind, chosen
from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.calibration.pairing.targets import run_order
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.types import Array

KEPT = "nothing fits better than its start on held-out samples: kept"
HELD = 0.2
"""Share of the samples by which each fit is judged."""


@dataclass(frozen=True)
class LayerFit:
    """What became of one layer.

    Attributes:
        layer: Its name.
        site: Whether it downsamples otherwise than in the old model.
        start: Squared error of what it makes on held-out samples, over the variance of the goal,
            before.
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
        place: Its call in the new model.
        name: What the progress bar calls it.
        goal: The tensor of the old model that it is fitted to; None where its inputs are all it
            needs.
        beside: Further tensors of the new model that it needs, known when it runs.
        channels_last: Whether the channels of that tensor are on its last axis.
        folds: Whether the layer sees each step of time as a sample, and its tensors are to be seen
            so.
        rows_wanted: Positions of that tensor that are worth their memory.
        samples: How many samples there are.
        goals: The old model's values at these positions, shape (rows, channels) for each batch.
        positions: The positions, shape (samples, positions, axes) for each batch.
    """

    def __init__(
        self, place: TensorRef, name: str, goal: TensorRef | None, channels_last: bool = True
    ) -> None:
        """Note where the layer is, and what it is fitted to."""
        self.place, self.name, self.goal, self.channels_last = place, name, goal, channels_last
        self.beside: tuple[TensorRef, ...] = ()
        self.folds, self.rows_wanted, self.samples = False, 0, 0
        self.goals: list[Array] = []
        self.positions: list[Array] = []

    def take(self, made: Array, batch: int, samples: int, rng: np.random.Generator) -> None:
        """Keep values of the old model at some positions of a batch of some samples, of so many in all."""
        self.samples = samples
        value = channels_behind(self.seen(made), self.channels_last)
        apart = samples * len(value) // batch
        places = chosen(rng, len(value), value.shape[1:-1], max(1, -(-self.rows_wanted // apart)))
        self.goals.append(self.aimed(at(value, places)))
        self.positions.append(places)

    def seen(self, value: Array) -> Array:
        """Return a tensor as the layer sees it."""
        return value.reshape(-1, *value.shape[2:]) if self.folds else value

    def aimed(self, values: Array) -> Array:
        """Return what the fit aims at, given the old model's values."""
        return values.astype(np.float32)

    def held(self, inputs: Sequence[Array]) -> int:
        """Return the number of rows that judge, the last ones."""
        rows = sum(map(len, inputs)) // self.samples * int(self.positions[0].shape[1])
        return min(max(1, round(HELD * self.samples)), self.samples - 1) * rows

    @abstractmethod
    def solve(self, inputs: Sequence[Array], beside: Sequence[Sequence[Array]]) -> list[LayerFit]:
        """Fit the layer, given for each batch its input and the tensors of `beside`."""


def fit_layers(
    old: Reading,
    new: Reading,
    fits: Sequence[LayerFitter],
    batches: Sequence[Sequence[Any]],
    seed: int,
    progress: Callable[[str], None],
) -> list[LayerFit]:
    """Fit layers of the new model, in place, to what the old model makes.

    Args:
        old: The old model.
        new: The new model.
        fits: The layers; those at one place are fitted in the order given.
        batches: Samples, as backend tensors.
        seed: Of the choice of positions.
        progress: Told the name of each layer.

    Returns:
        What became of each layer, in the order in which they run.
    """
    order = {place: number for number, place in enumerate(run_order(new.graph))}
    fits = sorted(fits, key=lambda fit: order[fit.place])
    _gather_goals(old, [fit for fit in fits if fit.goal is not None], batches, seed)
    player = Interpreter(
        new, {place for fit in fits for place in fit.beside}, {fit.place for fit in fits}
    )
    kept: list[dict[TensorRef, Any]] = [{} for _ in batches]
    runs = [player.start(batch, values) for batch, values in zip(batches, kept, strict=True)]
    done: list[LayerFit] = []
    waiting = [*fits]
    for _, here in groupby(fits, key=lambda fit: fit.place):
        inputs = [new.dialect.to_array(next(run)[1]) for run in runs]
        for fit in here:
            progress(fit.name)
            waiting.remove(fit)
            seen = [fit.seen(value) for value in inputs]
            done += fit.solve(
                seen,
                [
                    [fit.seen(new.dialect.to_array(values[p])) for p in fit.beside]
                    for values in kept
                ],
            )
        needed = {place for fit in waiting for place in fit.beside}
        for values in kept:
            for place in values.keys() - needed:
                del values[place]
    for run in runs:
        for _ in run:
            pass
    return done


def _gather_goals(
    old: Reading, fits: Sequence[LayerFitter], batches: Sequence[Sequence[Any]], seed: int
) -> None:
    """Give each fit the old model's values at some positions of each batch, and these positions."""
    player = Interpreter(old, keep={fit.goal for fit in fits if fit.goal is not None})
    samples = sum(len(batch[0]) for batch in batches)
    for number, batch in enumerate(batches if fits else ()):
        values = player.run(batch)
        for index, fit in enumerate(fits):
            assert fit.goal is not None
            made, rng = (
                old.dialect.to_array(values[fit.goal]),
                np.random.default_rng((seed, index, number)),
            )
            fit.take(made, len(batch[0]), samples, rng)
