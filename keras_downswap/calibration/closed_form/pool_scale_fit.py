"""A scale and an offset for each channel in front of a pool that is of another kind now.

    minimise  sum |P(g(s z + t)) - T|^2

with z what the layer in front makes, g the elementwise layers between, P the pool and T what the
old pool made. The scale and the offset go into the weights of that layer, which is exact whatever g
is; behind the pool an offset would go into a padded convolution's bias, which is not. Two unknowns
a channel, by damped Gauss-Newton steps, all channels at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_downswap.calibration.closed_form.im2col import cells, channels_behind, patches
from keras_downswap.calibration.closed_form.layerwise import KEPT, LayerFit, LayerFitter
from keras_downswap.calibration.closed_form.nonlinear_ridge import PERFECT
from keras_downswap.calibration.execution.live_scale import Scale
from keras_downswap.calibration.pairing.pools import PoolTarget
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Role
from keras_downswap.ir.types import Array

ROWS = 1024
"""Positions that suffice for two unknowns."""
ROUNDS = 10
"""Steps of a fit."""
RIDGE = 1e-3
"""How much a scale of 1 and an offset of 0 are preferred, in shares of the mean square of the slopes."""


@dataclass
class ScaleProblem:
    """One problem.

    Attributes:
        made: z, shape (rows, taps, channels); the last `held` rows are held out.
        inside: Which taps are inside the map, shape (rows, taps).
        goal: T, shape (rows, channels).
        through: g, from and to shape (any, channels).
        largest: Whether P takes the largest, else the mean.
        intercept: Whether t may move.
        held: Number of rows held out.
        step: Between two points by which a slope is measured, in standard deviations of z.
    """

    made: Array
    inside: Array
    goal: Array
    through: Callable[[Array], Array]
    largest: bool
    intercept: bool
    held: int
    step: float

    def pooled(self, scale: Array, offset: Array) -> Array:
        """Return P(g(s z + t)), shape (rows, channels)."""
        moved = self.made * scale.astype(np.float32) + offset.astype(np.float32)
        value = self.through(moved.reshape(-1, moved.shape[-1])).reshape(moved.shape)
        if self.largest:
            return np.asarray(np.where(self.inside[..., None], value, -np.inf).max(1), np.float64)
        shares = (self.inside / self.inside.sum(1, keepdims=True)).astype(np.float32)
        return np.asarray(np.matmul(shares[:, None], value)[:, 0], np.float64)

    def solve(self) -> ScaleSolution:
        """Return the best scales and offsets; those of channels that held-out rows do not confirm stay at 1 and 0."""
        channels, fit = self.goal.shape[1], len(self.goal) - self.held
        goal = self.goal.astype(np.float64)
        spread = self.made.std((0, 1), dtype=np.float64) + 1e-12
        at, damping = np.stack([np.ones(channels), np.zeros(channels)]), np.full(channels, 1e-2)
        first = now = self.pooled(at[0], at[1] * spread)
        for _ in range(ROUNDS):
            slopes = self._slopes(at, spread, now)[:, :fit]
            square = np.einsum("irc,jrc->cij", slopes, slopes)
            size = np.einsum("cii->c", square) / 2
            pull = RIDGE * size + 1e-12 * fit
            side = np.einsum("irc,rc->ic", slopes, (goal - now)[:fit]) - pull * (
                at - [[1.0], [0.0]]
            )
            diagonal = (pull + damping * size)[:, None, None] * np.eye(2)
            step = np.linalg.solve(square + diagonal, side.T[..., None])[..., 0].T
            then = at + step
            made = self.pooled(then[0], then[1] * spread)
            better = self._loss(made, then, pull, goal, fit) < self._loss(now, at, pull, goal, fit)
            at, now = np.where(better, then, at), np.where(better, made, now)
            damping = np.where(better, damping / 4, damping * 8)
        return self._confirmed(at, spread, first, now)

    def _slopes(self, at: Array, spread: Array, now: Array) -> Array:
        """Return how P(g(s z + t)) moves with s, and with t in units of the spread: shape (2, rows, channels)."""
        with_scale = (self.pooled(at[0] + self.step, at[1] * spread) - now) / self.step
        if not self.intercept:
            return np.stack([with_scale, np.zeros_like(with_scale)])
        return np.stack(
            [with_scale, (self.pooled(at[0], (at[1] + self.step) * spread) - now) / self.step]
        )

    @staticmethod
    def _loss(made: Array, at: Array, pull: Array, goal: Array, fit: int) -> Array:
        loss: Array = ((made - goal)[:fit] ** 2).sum(0) + pull * ((at - [[1.0], [0.0]]) ** 2).sum(0)
        return loss

    def _confirmed(self, at: Array, spread: Array, first: Array, last: Array) -> ScaleSolution:
        held = self.goal[len(self.goal) - self.held :].astype(np.float64)
        start, end = (((made[-len(held) :] - held) ** 2).sum(0) for made in (first, last))
        variance = float(((held - held.mean(0)) ** 2).sum()) or 1.0
        better = np.isfinite(end) & (end < start) & (start > PERFECT * variance)
        scale, offset = np.where(better, at[0], 1.0), np.where(better, at[1] * spread, 0.0)
        return ScaleSolution(
            scale,
            offset,
            float(start.sum()) / variance,
            float(np.where(better, end, start).sum()) / variance,
        )


@dataclass(frozen=True)
class ScaleSolution:
    """Scales and offsets, shape (channels,), and squared errors on held-out rows over the goal's variance."""

    scale: Array
    offset: Array
    start: float
    error: float


class PoolFit(LayerFitter):
    """The scale and the offset in front of one pool."""

    def __init__(self, new: Reading, target: PoolTarget) -> None:
        """Make the fit of one pool."""
        super().__init__(target.place, target.name, target.goal, target.pool.channels_last)
        self.target, self.rows_wanted, self.folds = target, ROWS, target.pool.wrapped is not None
        rank = len(new.scopes[target.scope].graph.tensors[target.pool.outputs[0]].shape) - 2
        self.scale = Scale(new, target.call, target.chain, rank, self.channels_last, target.scope)

    def solve(self, inputs: Sequence[Array], beside: Sequence[Sequence[Array]]) -> list[LayerFit]:
        """Fit the scale and the offset, given the input of the layer in front for each batch."""
        target, scale = self.target, self.scale
        made, inside = [], []
        for value, positions in zip(inputs, self.positions, strict=True):
            last = channels_behind(value, self.channels_last)
            windows, lengths = target.call.windows, last.shape[1:-1]
            lengths = (
                tuple(w.law(n) for w, n in zip(windows, lengths, strict=True))
                if windows
                else lengths
            )
            seen, are_inside = cells(target.pool.windows, lengths, positions)
            made.append(scale.sums(patches(last, windows, seen)).reshape(*are_inside.shape, -1))
            inside.append(are_inside)
        largest = target.pool.role is Role.MAX_POOL
        rows = np.concatenate(made), np.concatenate(inside), np.concatenate(self.goals)
        problem = ScaleProblem(
            *rows, scale.through, largest, scale.can_shift, self.held(inputs), scale.step
        )
        best = problem.solve()
        if best.error == best.start:
            return [LayerFit(target.name, True, best.start, best.error, KEPT)]
        scale.write(best.scale, best.offset)
        return [
            LayerFit(
                target.name,
                True,
                best.start,
                best.error,
                f"scale and offset in {target.call.label}",
            )
        ]
