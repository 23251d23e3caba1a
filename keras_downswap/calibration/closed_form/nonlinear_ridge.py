"""Linear least squares through an elementwise map, drawn towards the start.

    minimise  sum |g(X W + b) - T|^2  +  lambda |W - W0|^2

by alternation: the sums Z = X W + b that would reach T through g, one Newton step at a time, then W
and b for these Z, all with one factorisation of X'X. Zhang et al. 2015 fit through the relu in this
way; here g is whatever elementwise layers follow, and its slope is measured. Filters of different
groups see different rows: one matrix X a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from keras_downswap.calibration.closed_form.blas import sums
from keras_downswap.calibration.closed_form.normal_equations import (
    SEVERAL,
    Normal,
    RightHandSide,
    Solver,
    times,
)
from keras_downswap.ir.types import Array

RIDGES = (1e-2, 1e-1, 1.0)
"""Ridges to choose from, in units of the mean of the diagonal of X'X."""
PERFECT = 1e-10
"""Error of a start that is not fitted: rounding."""
ROUNDS = 2
"""Rounds of a fit. Six lower a layer's own error on held-out rows further, yet cost answers of most networks: VGG 5.1
points lost instead of 4.4, same kernel 8.0 instead of 6.4; without BatchNormalization 3.5 instead
of 4.0, 5.2 for 4.7.
"""
STEP = 1e-2
"""Between two points by which a slope is measured, in standard deviations."""
BLOCK = 1024
"""Rows that are worked on at once, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Solution:
    """A fit and what it is worth.

    Attributes:
        weights: Shape (groups, unknowns, filters of a group).
        bias: Shape (filters,).
        sums: X W + b, shape (rows, filters).
        start: Squared error of the start on held-out rows, over the variance of the goal.
        error: Likewise of the fit; never above `start`, which is kept where nothing is better.
        ridge: The ridge chosen; None where the start is kept.
    """

    weights: Array
    bias: Array
    sums: Array
    start: float
    error: float
    ridge: float | None


@dataclass
class Problem:
    """One least-squares problem.

    Attributes:
        rows: X, shape (groups, rows, unknowns), float32; the last `held` rows are held out.
        goal: T, shape (rows, filters).
        through: g, from and to shape (any, filters).
        weights: W0, shape (groups, unknowns, filters of a group).
        bias: b0, shape (filters,).
        intercept: Whether b may move.
        held: Number of rows held out.
        step: By which the slope of g is measured, in standard deviations of the sums.
        beside: What g takes besides, row by row, each of shape (rows, any).
    """

    rows: Array
    goal: Array
    through: Callable[..., Array]
    weights: Array
    bias: Array
    intercept: bool
    held: int
    step: float = STEP
    beside: Sequence[Array] = ()

    @property
    def fit(self) -> int:
        """Number of rows that are not held out."""
        return int(self.rows.shape[1]) - self.held

    def _through(self, rows: slice) -> Callable[[Array], Array]:
        """Return g at some of the rows."""
        others = [other[rows] for other in self.beside]
        return lambda sums: self.through(sums, *others)

    @cached_property
    def _spread(self) -> float:
        goal = self.goal[self.fit :].astype(np.float64)
        return float(((goal - goal.mean(0)) ** 2).sum()) or 1.0

    def solve(self, ridges: Sequence[float] = RIDGES, rounds: int = ROUNDS) -> Solution:
        """Choose a ridge in the first of some rounds, go on with it, and return the best of all that was seen.

        The last round takes held-out rows in too.

        Rows are centred while it lasts where there is an intercept: sums of squares of what hardly
        varies cancel.
        """
        made = times(self.rows, self.weights) + self.bias
        start = _Point(self.weights, self.bias, made, self._error(made[self.fit :]), None)
        if start.error <= PERFECT:
            return self._solution(start, start)
        if not self.intercept:
            return self._solution(start, self._solved(start, ridges, rounds))
        middle = (np.stack([sums(x) for x in self.rows])[:, None] / self.rows.shape[1]).astype(
            np.float32
        )
        self.rows -= middle
        shifted = replace(start, bias=self.bias + times(middle, self.weights)[0])
        best = self._solved(shifted, ridges, rounds)
        self.rows += middle
        if best is shifted:
            return self._solution(start, start)
        return self._solution(start, replace(best, bias=best.bias - times(middle, best.weights)[0]))

    def _solved(self, start: _Point, ridges: Sequence[float], rounds: int) -> _Point:
        """Return the best point; the start where the equations have no solution, as rows are not finite."""
        try:
            return self._solve(start, ridges, rounds)
        except np.linalg.LinAlgError:
            return start

    def _solve(self, start: _Point, ridges: Sequence[float], rounds: int) -> _Point:
        normal = Normal(self.rows[:, : self.fit], self.intercept)
        ridges = ridges if normal.unknowns <= SEVERAL else (ridges[len(ridges) // 2],)
        side = normal.side(self._residual(start, start, self.fit))
        ridge, solver = self._chosen(start, normal, side, ridges)
        best = at = self._moved(start, solver(side), ridge)
        with_all = rounds > 1 and not normal.used_up
        for _ in range(rounds - 1 - with_all):
            side = normal.side(self._residual(at, start, self.fit))
            at = self._moved(start, solver(side), ridge)
            best = min(best, at, key=lambda point: point.error)
            if at.error > 2 * best.error:
                break
        best = min(start, best, key=lambda point: point.error)
        return self._with_all_rows(start, best, normal) if with_all and best is not start else best

    def _chosen(
        self, start: _Point, normal: Normal, side: RightHandSide, ridges: Sequence[float]
    ) -> tuple[float, Solver]:
        """Return the ridge, from the smallest on until one errs more than the one before, and what solves with it."""
        best: tuple[float, float, Solver] | None = None
        for ridge in sorted(ridges):
            solver = normal.solver(ridge)
            if len(ridges) == 1:
                return ridge, solver
            weights, bias = solver(side)
            error = self._error(
                start.sums[self.fit :] + times(self.rows[:, self.fit :], weights) + bias
            )
            if best is not None and error >= best[0]:
                break
            best = error, ridge, solver
        assert best is not None
        return best[1:]

    def _with_all_rows(self, start: _Point, best: _Point, normal: Normal) -> _Point:
        """Make one more round from what held-out rows have chosen, with these rows too."""
        assert best.ridge is not None
        normal.add(self.rows[:, self.fit :])
        side = normal.side(self._residual(best, start, len(best.sums)))
        more = self._moved(start, normal.solver(best.ridge)(side), best.ridge)
        return replace(more, error=best.error) if more.error <= best.error else best

    def _residual(self, at: _Point, start: _Point, rows: int) -> Array:
        """Return how far sums that lie nearer to the goal than those of a point are from those of the start."""
        nearer: Array = reached(
            self._through(slice(rows)), at.sums[:rows], self.goal[:rows], self.step
        )
        nearer -= start.sums[:rows]
        return nearer

    def _moved(self, start: _Point, move: tuple[Array, Array], ridge: float) -> _Point:
        made = times(self.rows, move[0])
        made += start.sums + move[1]
        return _Point(
            start.weights + move[0],
            start.bias + move[1],
            made,
            self._error(made[self.fit :]),
            ridge,
        )

    def _error(self, held: Array) -> float:
        """Return the error of sums of the held-out rows over the goal's variance."""
        made = self._through(slice(self.fit, None))(held.astype(np.float32, copy=False))
        off = made - self.goal[self.fit :].astype(np.float64)
        error = float((off**2).sum()) / self._spread
        return error if np.isfinite(error) else np.inf

    @staticmethod
    def _solution(start: _Point, best: _Point) -> Solution:
        return Solution(best.weights, best.bias, best.sums, start.error, best.error, best.ridge)


@dataclass(frozen=True)
class _Point:
    weights: Array
    bias: Array
    sums: Array
    error: float
    ridge: float | None


def reached(through: Callable[[Array], Array], z: Array, goal: Array, step: float = STEP) -> Array:
    """Return sums that lie one Newton step nearer to a goal behind an elementwise map.

    Where the map is flat (a relu below zero) and the goal lies elsewhere, the step takes the map's
    usual slope.

    Args:
        through: The map, from and to shape (rows, filters).
        z: The sums.
        goal: The goal.
        step: How far apart the two points are by which the map's slope is measured, in standard
            deviations of z.
    """
    spread = z.std(0)
    h = step * spread + 1e-6
    here, slope = (
        through(z.astype(np.float32, copy=False)),
        through((z + h).astype(np.float32, copy=False)),
    )
    blocks = [slice(i, i + BLOCK) for i in range(0, len(z), BLOCK)]
    for b in blocks:
        slope[b] = (slope[b] - here[b]) / h
    flat = 1e-6 * (np.abs(slope).max(0) + 1e-30)
    total, count = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    for b in blocks:
        steep = np.abs(slope[b]) > flat
        total += slope[b].sum(0, where=steep)
        count += steep.sum(0)
    usual = total / np.maximum(count, 1)
    usual = np.where(np.abs(usual) < 1e-12, 1, usual).astype(here.dtype)
    most = 4 * spread + 1e-6
    nearer = np.empty_like(z)
    for b in blocks:
        own = np.where(np.abs(slope[b]) > flat, slope[b], usual)
        nearer[b] = z[b] + np.clip(
            own * (goal[b] - here[b]) / (own**2 + 1e-4 * usual**2), -most, most
        )
    return nearer
