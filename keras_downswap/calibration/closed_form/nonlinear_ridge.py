"""Ridge regression through an elementwise activation, drawn towards the start.

    minimise  sum |g(X W + b) - T|^2  +  lambda |W - W0|^2

by alternation (damped Gauss-Newton): first the sums Z = X W + b that would reach T through g, one
Newton step at a time, then W and b for these Z, always with the same factorisation of X'X. Zhang et
al. 2015 fit through the ReLU in this way; here g is whatever elementwise layers follow, and its
slope is measured. Filters of different groups see different rows: there is one matrix X a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from keras_downswap.calibration.closed_form.blas import column_sums
from keras_downswap.calibration.closed_form.normal_equations import (
    MAX_UNKNOWNS_FOR_RIDGE_CHOICE,
    NormalEquations,
    RightHandSide,
    Solver,
    grouped_product,
)
from keras_downswap.ir.types import Array

RIDGES = (1e-2, 1e-1, 1.0)
"""Ridges to choose from, in units of the mean of the diagonal of X'X."""
NEGLIGIBLE_ERROR = 1e-10
"""Relative error of a start that is not fitted: nothing but rounding."""
RIDGE_ROUNDS = 2
"""Rounds of a fit. Six lower a layer's own error on held-out rows further, but cost accuracy in
most networks: VGG loses 5.1 points instead of 4.4, with the same kernel 8.0 instead of 6.4; without
BatchNormalization it is 3.5 instead of 4.0, and 5.2 instead of 4.7. Sums that a ReLU cuts off still
tell later layers something, as long as they stay near their initial values."""
SLOPE_STEP = 1e-2
"""Distance of the two points by which a slope is measured, in standard deviations."""
FLAT = 1e-6
"""Slope below which the activation counts as flat, as a share of the steepest of the filter."""
NEWTON_DAMPING = 1e-4
"""Damping of a Newton step, in units of the squared usual slope."""
WIDEST_STEP = 4.0
"""Most that a Newton step changes a sum, in standard deviations."""
DIVERGED = 2.0
"""Factor above the least error at which no further round is tried."""
ROW_BLOCK = 1024
"""Rows that are worked on at once, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Solution:
    """A fit and its errors.

    Attributes:
        weights: W, shape (groups, unknowns, filters of a group).
        bias: b, shape (filters,).
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


@dataclass(frozen=True)
class _Point:
    """Weights that were tried, with their sums and their error on held-out rows."""

    weights: Array
    bias: Array
    sums: Array
    error: float
    ridge: float | None


def _error_of(point: _Point) -> float:
    return point.error


def _as_float32(value: Array) -> Array:
    return value.astype(np.float32, copy=False)


@dataclass
class RidgeThroughActivation:
    """One regression problem.

    Attributes:
        design: X, shape (groups, rows, unknowns), float32; the last `holdout_rows` are held out.
            It is centred in place while `solve` runs, so it must be writable.
        goal: T, shape (rows, filters).
        activation: g, from and to shape (any, filters), given the `side_values` of the same rows.
        weights: W0, shape (groups, unknowns, filters of a group).
        bias: b0, shape (filters,).
        intercept: Whether b may change.
        holdout_rows: Number of rows held out.
        slope_step: Distance by which the slope of g is measured, in standard deviations of the
            sums.
        side_values: Further arguments of g, row by row, each of shape (rows, any).
    """

    design: Array
    goal: Array
    activation: Callable[..., Array]
    weights: Array
    bias: Array
    intercept: bool
    holdout_rows: int
    slope_step: float = SLOPE_STEP
    side_values: Sequence[Array] = ()

    @property
    def train_rows(self) -> int:
        """Number of rows that are not held out."""
        return int(self.design.shape[1]) - self.holdout_rows

    @property
    def _held_out(self) -> slice:
        return slice(self.train_rows, None)

    def solve(self, ridges: Sequence[float] = RIDGES, rounds: int = RIDGE_ROUNDS) -> Solution:
        """Choose a ridge in the first round, go on with it, and return the best fit that was seen.

        Args:
            ridges: The ridges to choose from.
            rounds: Newton steps, each followed by a linear fit. The last one uses the held-out
                rows too.
        """
        sums = grouped_product(self.design, self.weights) + self.bias
        error = self._error(sums[self._held_out])
        start = _Point(self.weights, self.bias, sums, error, None)
        if start.error <= NEGLIGIBLE_ERROR:
            return _solution(start, start)
        if not self.intercept:
            return _solution(start, self._best_point(start, ridges, rounds))

        # With means far from zero, squares of what hardly varies cancel in float32. Rows are
        # centred in place, since a copy would double the memory; (x - m) W + (b + m W) = x W + b,
        # so the bias alone must be shifted, and shifted back for the weights that come out.
        mean = self._mean_row()
        self.design -= mean
        mean_sums = grouped_product(mean, self.weights)[0]
        shifted = replace(start, bias=self.bias + mean_sums)
        best = self._best_point(shifted, ridges, rounds)
        self.design += mean
        if best is shifted:
            return _solution(start, start)
        mean_sums = grouped_product(mean, best.weights)[0]
        return _solution(start, replace(best, bias=best.bias - mean_sums))

    def _mean_row(self) -> Array:
        """Return the mean row of each group, shape (groups, 1, unknowns)."""
        rows = self.design.shape[1]
        totals = np.stack([column_sums(x) for x in self.design])
        return _as_float32(totals[:, None] / rows)

    def _best_point(self, start: _Point, ridges: Sequence[float], rounds: int) -> _Point:
        """Return the best point; the start where the equations cannot be factorised.

        That happens to rows that are not finite.
        """
        try:
            return self._alternate(start, ridges, rounds)
        except np.linalg.LinAlgError:
            return start

    def _alternate(self, start: _Point, ridges: Sequence[float], rounds: int) -> _Point:
        train = self.design[:, : self.train_rows]
        normal = NormalEquations(train, self.intercept)
        if normal.unknowns > MAX_UNKNOWNS_FOR_RIDGE_CHOICE:
            ridges = (ridges[len(ridges) // 2],)
        side = self._right_hand_side(normal, start, start)
        ridge, solver = self._choose_ridge(start, normal, side, ridges)
        point = self._moved(start, solver(side), ridge)
        best = point

        # The round with all rows needs a new factor, which needs X'X.
        last_with_all = rounds > 1 and not normal.solver_overwrites
        further = rounds - 2 if last_with_all else rounds - 1
        for _ in range(further):
            side = self._right_hand_side(normal, point, start)
            point = self._moved(start, solver(side), ridge)
            best = min(best, point, key=_error_of)
            if point.error > DIVERGED * best.error:
                break

        best = min(start, best, key=_error_of)
        if best is start or not last_with_all:
            return best
        return self._with_all_rows(start, best, normal)

    def _choose_ridge(
        self, start: _Point, normal: NormalEquations, side: RightHandSide, ridges: Sequence[float]
    ) -> tuple[float, Solver]:
        """Return the ridge with the least error on held-out rows, and its solver.

        Ridges are tried from the smallest on, until one has a larger error than the one before.
        """
        best: tuple[float, float, Solver] | None = None
        for ridge in sorted(ridges):
            solver = normal.solver(ridge)
            if len(ridges) == 1:
                return ridge, solver
            weights, bias = solver(side)
            change = grouped_product(self.design[:, self._held_out], weights)
            error = self._error(start.sums[self._held_out] + change + bias)
            if best is not None and error >= best[0]:
                break
            best = error, ridge, solver
        assert best is not None
        return best[1:]

    def _with_all_rows(self, start: _Point, best: _Point, normal: NormalEquations) -> _Point:
        """Make one more round from the best point, with the held-out rows too.

        They have chosen the ridge already, and a fifth more rows make a better fit. Its error on
        them says nothing then: the point keeps that of the one before.
        """
        assert best.ridge is not None
        normal.add(self.design[:, self._held_out])
        side = self._right_hand_side(normal, best, start)
        solver = normal.solver(best.ridge)
        point = self._moved(start, solver(side), best.ridge)
        if point.error > best.error:
            return best
        return replace(point, error=best.error)

    def _right_hand_side(
        self, normal: NormalEquations, point: _Point, start: _Point
    ) -> RightHandSide:
        """Return the right-hand side of the linear fit that follows a Newton step from a point.

        The fit is always one of the whole change from the start, whatever was reached so far: the
        ridge draws towards W0 then, not towards the last point.
        """
        rows = slice(normal.row_count)
        activation = self._activation_at(rows)
        targets = newton_targets(activation, point.sums[rows], self.goal[rows], self.slope_step)
        targets -= start.sums[rows]
        return normal.right_hand_side(targets)

    def _moved(self, start: _Point, change: tuple[Array, Array], ridge: float) -> _Point:
        """Return the point that lies a change of W and b away from the start."""
        weights, bias = change
        sums = grouped_product(self.design, weights)
        sums += start.sums + bias
        error = self._error(sums[self._held_out])
        weights = start.weights + weights
        bias = start.bias + bias
        return _Point(weights, bias, sums, error, ridge)

    def _error(self, held_out_sums: Array) -> float:
        """Return the squared error of the held-out rows over the variance of their goal."""
        activation = self._activation_at(self._held_out)
        made = activation(_as_float32(held_out_sums))
        difference = made - self._held_out_goal
        error = float((difference**2).sum()) / self._goal_variance
        return error if np.isfinite(error) else np.inf

    def _activation_at(self, rows: slice) -> Callable[[Array], Array]:
        """Return g for some of the rows."""
        side_values = [value[rows] for value in self.side_values]
        return lambda sums: self.activation(sums, *side_values)

    @property
    def _held_out_goal(self) -> Array:
        return self.goal[self._held_out].astype(np.float64)

    @cached_property
    def _goal_variance(self) -> float:
        return total_variance(self._held_out_goal)


def total_variance(goal: Array) -> float:
    """Return the squared distances of rows from their mean, summed; 1 where all rows are alike.

    An error divided by it is then finite, and still compares.
    """
    centred = goal - goal.mean(0)
    variance = float((centred**2).sum())
    return variance if variance != 0 else 1.0


def _solution(start: _Point, best: _Point) -> Solution:
    return Solution(best.weights, best.bias, best.sums, start.error, best.error, best.ridge)


def newton_targets(
    activation: Callable[[Array], Array], sums: Array, goal: Array, step: float = SLOPE_STEP
) -> Array:
    """Return sums that lie one damped Newton step nearer to a goal through an elementwise map.

    Where the map is flat (a ReLU below zero) and the goal lies elsewhere, the step uses the usual
    slope of the filter: with its own slope of zero, a sum would never come back from there.

    Args:
        activation: The map, from and to shape (rows, filters).
        sums: Where the step begins, shape (rows, filters).
        goal: The goal, shape (rows, filters).
        step: Distance of the two points by which the slope is measured, in standard deviations of
            the sums.

    Returns:
        Shape (rows, filters).
    """
    spread = sums.std(0)
    distance = step * spread + 1e-6
    here = activation(_as_float32(sums))
    slope = activation(_as_float32(sums + distance))
    starts = range(0, len(sums), ROW_BLOCK)
    blocks = [slice(start, start + ROW_BLOCK) for start in starts]
    for block in blocks:
        slope[block] = (slope[block] - here[block]) / distance
    steepest = np.abs(slope).max(0)
    flat = FLAT * (steepest + 1e-30)
    usual = _usual_slope(slope, flat, blocks).astype(here.dtype)

    # The Newton step (T - g) / g' grows without bound where g' is small. With the damping it is
    # the step of least squares with a small ridge, and never wider than a few deviations.
    widest = WIDEST_STEP * spread + 1e-6
    damping = NEWTON_DAMPING * usual**2
    targets = np.empty_like(sums)
    for block in blocks:
        is_steep = np.abs(slope[block]) > flat
        own = np.where(is_steep, slope[block], usual)
        missing = goal[block] - here[block]
        newton = own * missing / (own**2 + damping)
        targets[block] = sums[block] + np.clip(newton, -widest, widest)
    return targets


def _usual_slope(slope: Array, flat: Array, blocks: Sequence[slice]) -> Array:
    """Return the mean slope of each filter where it is not flat; 1 where it is flat everywhere."""
    total = np.zeros(slope.shape[1])
    count = np.zeros(slope.shape[1])
    for block in blocks:
        is_steep = np.abs(slope[block]) > flat
        total += slope[block].sum(0, where=is_steep)
        count += is_steep.sum(0)
    mean = total / np.maximum(count, 1)
    return np.where(np.abs(mean) < 1e-12, 1, mean)
