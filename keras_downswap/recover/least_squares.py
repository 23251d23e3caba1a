"""One closed-form fit a layer, in the order in which the layers run: inputs from the new model, goals from the old.

What an earlier layer gets wrong reaches the rows of the next, which makes up for it where it can (asymmetric
reconstruction, Zhang et al. 2015). Each batch waits before a layer until that is fitted, so every layer of the new
model runs once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.dialects.player import Player
from keras_downswap.dialects.reading import Reading
from keras_downswap.geometry import Window
from keras_downswap.recover.normal import times
from keras_downswap.recover.rows import Array, at, channels_behind, chosen, patches
from keras_downswap.recover.solve import Problem
from keras_downswap.recover.targets import Target

HELD = 0.2
"""Share of the samples by which each fit is judged."""
MEMORY = 512 * 2**20
"""Bytes that the rows of one fit may take."""


@dataclass(frozen=True)
class LayerFit:
    """What became of one layer.

    Attributes:
        layer: Its name.
        site: Whether it downsamples otherwise than in the old model.
        start: Squared error of what it makes on held-out samples, over the variance of the goal, before.
        error: Likewise after; `start` where it stays as it was.
        note: Why it stays, or what else there is to know.
    """

    layer: str
    site: bool
    start: float
    error: float
    note: str = ""


def fit_layers(
    old: Reading,
    new: Reading,
    targets: Sequence[Target],
    batches: Sequence[Sequence[Any]],
    seed: int,
    progress: Callable[[str], None],
    scale_only: bool = False,
) -> list[LayerFit]:
    """Fit layers of the new model, in place, to what the old model makes.

    Args:
        old: The old model.
        new: The new model.
        targets: The layers, in the order in which they run.
        batches: Samples, as backend tensors.
        seed: Of the choice of positions.
        progress: Told the name of each layer.
        scale_only: Whether only a scale and an offset for each channel are fitted, and the kernel keeps its form.

    Returns:
        What became of each layer.
    """
    fits = [_Fit(new, target, scale_only) for target in targets]
    _gather_goals(old, fits, batches, seed)
    player = Player(new, stops={target.place for target in targets})
    runs = [player.start(batch) for batch in batches]
    done = []
    for fit in fits:
        progress(fit.target.name)
        done.append(fit.solve([new.dialect.result(next(run)[1]) for run in runs]))
    for run in runs:
        for _ in run:
            pass
    return done


def _gather_goals(old: Reading, fits: Sequence[_Fit], batches: Sequence[Sequence[Any]], seed: int) -> None:
    """Give each fit the old model's values at some positions of each batch, and these positions."""
    player = Player(old, keep={fit.target.goal for fit in fits})
    samples = sum(len(batch[0]) for batch in batches)
    for number, batch in enumerate(batches):
        values = player.run(batch)
        for index, fit in enumerate(fits):
            made = channels_behind(old.dialect.result(values[fit.target.goal]), fit.target.call.channels_last)
            rng = np.random.default_rng((seed, index, number))
            places = chosen(rng, len(made), made.shape[1:-1], max(1, -(-fit.rows_wanted // samples)))
            fit.goals.append(at(made, places).astype(np.float32))
            fit.positions.append(places)


class _Fit:
    """One layer being fitted."""

    def __init__(self, new: Reading, target: Target, scale_only: bool) -> None:
        self.target, self.scale_only = target, scale_only
        self.kernel = target.kernel(new)
        self.goals: list[Array] = []
        self.positions: list[Array] = []

    @property
    def rows_wanted(self) -> int:
        """Positions that are worth their memory."""
        values = self.kernel.unknowns * self.kernel.groups
        return max(1024, min(20 * self.kernel.unknowns, 49152, MEMORY // (4 * values)))

    def solve(self, inputs: Sequence[Array]) -> LayerFit:
        """Fit the layer, given its input for each batch."""
        kernel, target = self.kernel, self.target
        rows = kernel.rows(self._taps(inputs))
        goal = np.concatenate(self.goals)
        samples = sum(map(len, inputs))
        held = min(max(1, round(HELD * samples)), samples - 1) * self.positions[0].shape[1]
        weights, bias = kernel.weights(), kernel.offset()
        few = rows.shape[1] - held < kernel.unknowns
        if few or self.scale_only:
            sums = times(rows, weights)
            ones = np.ones((kernel.filters, 1, 1), np.float32)
            alone = np.ascontiguousarray(sums.T[..., None])
            problem = Problem(alone, goal, kernel.through, ones, bias, kernel.can_shift, held, kernel.step)
            best = problem.solve(ridges=(1e-3,))
            scale = best.weights.reshape(kernel.groups, 1, -1)
            made, sums = weights * scale, sums * scale.ravel()
        else:
            problem = Problem(rows, goal, kernel.through, weights, bias, kernel.can_shift, held, kernel.step)
            best = problem.solve()
            made, sums = best.weights, best.sums - best.bias
        if best.ridge is not None:
            kernel.write(made, best.bias, sums)
        short = (
            f"{rows.shape[1] - held} rows are too few for {kernel.unknowns} unknowns: scale and offset only"
            f"{self._more(samples, rows.shape[1] - held)}"
        )
        kept = "nothing fits better than its start on held-out samples: kept"
        notes = [short] * (few and not self.scale_only) + [kept] * (best.ridge is None)
        return LayerFit(target.name, target.site, best.start, best.error, "; ".join(notes))

    def _more(self, samples: int, rows: int) -> str:
        """Say how many samples would be enough, where memory for their rows is."""
        enough = (1 - HELD) * self.rows_wanted > self.kernel.unknowns
        return f"; {math.ceil(samples * self.kernel.unknowns / rows) + 1} samples would do" if enough else ""

    def _taps(self, inputs: Sequence[Array]) -> Array:
        last = [channels_behind(value, self.target.call.channels_last) for value in inputs]
        windows = self.target.call.windows or (Window(1, 1),) * (last[0].ndim - 2)
        return np.concatenate([patches(v, windows, p) for v, p in zip(last, self.positions, strict=True)])
