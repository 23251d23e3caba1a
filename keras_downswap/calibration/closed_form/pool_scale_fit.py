"""A scale and an offset for each channel before a pool that is of another kind now.

    minimise  sum |P(g(s z + t)) - T|^2

with z the output of the layer before the pool, g the elementwise layers between them, P the pool
and T the output of the old pool. The scale and the offset go into the weights of that layer, which
is exact whatever g is; after the pool an offset would go into the bias of a padded convolution,
which is not, as zeros of the padding get none. Two unknowns a channel, by damped Gauss-Newton steps
(Levenberg-Marquardt), all channels at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_downswap.calibration.closed_form.im2col import (
    extract_patches,
    move_channels_last,
    window_cells,
)
from keras_downswap.calibration.closed_form.layerwise import NOT_IMPROVED, LayerFit, LayerFitter
from keras_downswap.calibration.closed_form.nonlinear_ridge import NEGLIGIBLE_ERROR, total_variance
from keras_downswap.calibration.execution.live_scale import LiveScale
from keras_downswap.calibration.pairing.pools import PoolTarget
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Role
from keras_downswap.ir.types import Array

SCALE_ROWS = 1024
"""Positions that suffice for two unknowns."""
SCALE_STEPS = 10
"""Gauss-Newton steps of a fit."""
SCALE_RIDGE = 1e-3
"""Pull towards a scale of 1 and an offset of 0, as a share of the mean square of the slopes."""
FIRST_DAMPING = 1e-2
"""Damping of the first step, as a share of the mean square of the slopes."""
UNCHANGED = np.array([[1.0], [0.0]])
"""The scale and the offset that change nothing, for every channel."""


@dataclass(frozen=True)
class PoolScaleSolution:
    """Scales and offsets of the channels, and what they are worth.

    Attributes:
        scale: Shape (channels,).
        offset: Shape (channels,).
        start: Squared error without them on held-out rows, over the variance of the goal.
        error: Likewise with them.
    """

    scale: Array
    offset: Array
    start: float
    error: float


@dataclass
class PoolScaleProblem:
    """One regression problem.

    Attributes:
        sums: z, shape (rows, taps, channels); the last `holdout_rows` are held out.
        inside: Which taps are inside the map, shape (rows, taps).
        goal: T, shape (rows, channels).
        activation: g, from and to shape (any, channels).
        takes_largest: Whether P is a max pool, else an average pool.
        intercept: Whether t may differ from 0.
        holdout_rows: Number of rows held out.
        slope_step: Distance of the two points by which a slope is measured, in standard deviations
            of z.
    """

    sums: Array
    inside: Array
    goal: Array
    activation: Callable[[Array], Array]
    takes_largest: bool
    intercept: bool
    holdout_rows: int
    slope_step: float

    def pooled(self, scale: Array, offset: Array) -> Array:
        """Return P(g(s z + t)), shape (rows, channels)."""
        channels = self.sums.shape[-1]
        scaled = self.sums * scale.astype(np.float32)
        moved = scaled + offset.astype(np.float32)
        rows = self.activation(moved.reshape(-1, channels))
        value = rows.reshape(moved.shape)
        if self.takes_largest:
            outside = ~self.inside[..., None]
            known = np.where(outside, -np.inf, value)
            return np.asarray(known.max(1), np.float64)
        # Both Kerases divide by the number of cells inside the map, not by that of the window.
        inside_count = self.inside.sum(1, keepdims=True)
        shares = (self.inside / inside_count).astype(np.float32)
        means = np.matmul(shares[:, None], value)
        return np.asarray(means[:, 0], np.float64)

    def solve(self) -> PoolScaleSolution:
        """Return the best scales and offsets.

        Those of channels that held-out rows do not confirm stay at 1 and 0.
        """
        channels = self.goal.shape[1]
        train_rows = len(self.goal) - self.holdout_rows
        goal = self.goal[:train_rows].astype(np.float64)
        # Offsets are counted in deviations of z, so that both unknowns are of one magnitude.
        deviation = self.sums.std((0, 1), dtype=np.float64)
        spread = deviation + 1e-12
        point = np.repeat(UNCHANGED, channels, axis=1)
        damping = np.full(channels, FIRST_DAMPING)
        first = self._at(point, spread)
        made = first
        for _ in range(SCALE_STEPS):
            slopes = self._slopes(point, spread, made)[:, :train_rows]
            squares = np.einsum("irc,jrc->cij", slopes, slopes)
            size = np.einsum("cii->c", squares) / 2
            # The constants keep the 2x2 systems of channels that never change regular.
            pull = SCALE_RIDGE * size + 1e-12 * train_rows
            difference = goal - made[:train_rows]
            gradient = np.einsum("irc,rc->ic", slopes, difference)
            gradient = gradient - pull * (point - UNCHANGED)
            diagonal = pull + damping * size
            systems = squares + diagonal[:, None, None] * np.eye(2)
            steps = np.linalg.solve(systems, gradient.T[..., None])

            # Each channel has its own damping: less after a step that lowers its loss, more after
            # one that does not, which is taken back.
            next_point = point + steps[..., 0].T
            next_made = self._at(next_point, spread)
            loss = _squared_error(made[:train_rows], goal) + _penalty(point, pull)
            next_loss = _squared_error(next_made[:train_rows], goal) + _penalty(next_point, pull)
            better = next_loss < loss
            point = np.where(better, next_point, point)
            made = np.where(better, next_made, made)
            damping = np.where(better, damping / 4, damping * 8)
        scale, offset = point
        return self._confirmed(scale, offset * spread, first, made)

    def _at(self, point: Array, spread: Array) -> Array:
        """Return the pool's output at a point: scales, and offsets in units of the spread."""
        return self.pooled(point[0], point[1] * spread)

    def _slopes(self, point: Array, spread: Array, made: Array) -> Array:
        """Return by how much the output changes with each unknown: shape (2, rows, channels)."""
        step = self.slope_step
        moved = self._at(point + np.array([[step], [0.0]]), spread)
        of_scale = (moved - made) / step
        if not self.intercept:
            # A slope of zero leaves the offset where it is.
            return np.stack([of_scale, np.zeros_like(of_scale)])
        moved = self._at(point + np.array([[0.0], [step]]), spread)
        of_offset = (moved - made) / step
        return np.stack([of_scale, of_offset])

    def _confirmed(
        self, scale: Array, offset: Array, first: Array, last: Array
    ) -> PoolScaleSolution:
        """Keep the channels whose squared error on the held-out rows became less."""
        train_rows = len(self.goal) - self.holdout_rows
        goal = self.goal[train_rows:].astype(np.float64)
        start = _squared_error(first[train_rows:], goal)
        end = _squared_error(last[train_rows:], goal)
        variance = total_variance(goal)
        worth_it = start > NEGLIGIBLE_ERROR * variance
        better = np.isfinite(end) & (end < start) & worth_it
        kept_scale = np.where(better, scale, 1.0)
        kept_offset = np.where(better, offset, 0.0)
        error = np.where(better, end, start)
        start_error = float(start.sum()) / variance
        return PoolScaleSolution(
            kept_scale, kept_offset, start_error, float(error.sum()) / variance
        )


def _squared_error(made: Array, goal: Array) -> Array:
    """Return the squared error of each channel, summed over the rows."""
    difference = made - goal
    error: Array = (difference**2).sum(0)
    return error


def _penalty(point: Array, pull: Array) -> Array:
    """Return what the ridge adds to the loss of each channel."""
    change = point - UNCHANGED
    penalty: Array = pull * (change**2).sum(0)
    return penalty


class PoolScaleFit(LayerFitter):
    """The scale and the offset before one pool."""

    def __init__(self, new: Reading, target: PoolTarget) -> None:
        """Prepare the fit of one pool of the new model."""
        super().__init__(target.call_ref, target.name, target.goal, target.pool.channels_last)
        self.target = target
        self.rows_wanted = SCALE_ROWS
        self.merges_time = target.pool.wrapped is not None
        self.scale = LiveScale.of(target.call_chain(new), self.channels_last)

    def fit_layer(
        self, inputs: Sequence[Array], side_values: Sequence[Sequence[Array]]
    ) -> list[LayerFit]:
        """Fit the scale and the offset, given the input of the layer before for each batch."""
        best = self._problem(inputs).solve()
        if best.error == best.start:
            note = NOT_IMPROVED
        else:
            self.scale.write(best.scale, best.offset)
            note = f"scale and offset in {self.target.call.label}"
        return [LayerFit(self.name, True, best.start, best.error, note)]

    def _problem(self, inputs: Sequence[Array]) -> PoolScaleProblem:
        sums: list[Array] = []
        inside: list[Array] = []
        for value, positions in zip(inputs, self.positions, strict=True):
            batch_sums, batch_inside = self._window_sums(value, positions)
            sums.append(batch_sums)
            inside.append(batch_inside)
        return PoolScaleProblem(
            sums=np.concatenate(sums),
            inside=np.concatenate(inside),
            goal=np.concatenate(self.goal_values),
            activation=self.scale.apply_activation,
            takes_largest=self.target.pool.role is Role.MAX_POOL,
            intercept=self.scale.can_shift,
            holdout_rows=self.holdout_rows(inputs),
            slope_step=self.scale.calls.slope_step,
        )

    def _window_sums(self, value: Array, positions: Array) -> tuple[Array, Array]:
        """Return z in the pool's window at each position, and which of its taps are inside.

        The layer is computed at the cells that these windows cover, and nowhere else.
        """
        maps = move_channels_last(value, self.channels_last)
        windows = self.target.call.windows
        lengths = maps.shape[1:-1]
        if windows:
            pairs = zip(windows, lengths, strict=True)
            lengths = tuple(window.law(n) for window, n in pairs)
        cells, inside = window_cells(self.target.pool.windows, lengths, positions)
        patches = extract_patches(maps, windows, cells)
        sums = self.scale.sums(patches)
        return sums.reshape(*inside.shape, -1), inside
