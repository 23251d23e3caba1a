"""Linear least squares through an elementwise map, drawn towards the start.

    minimise  sum |g(X W + b) - T|^2  +  lambda |W - W0|^2

by alternation: the sums Z = X W + b that would reach T through g, one Newton step at a time, then W and b for these Z,
all with one factorisation of X'X. Zhang et al. 2015 fit through the relu in this way; here g is whatever elementwise
layers follow, and its slope is measured. Filters of different groups see different rows: one matrix X a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[Any]
RIDGES = (1e-2, 1e-1, 1.0)
"""Ridges to choose from, in units of the mean of the diagonal of X'X."""
PERFECT = 1e-10
"""Error of a start that is not fitted: rounding."""
SEVERAL = 6144
"""Unknowns of a filter up to which several ridges are tried; above, one, so that one matrix is held at a time."""
FACTORISED = 9216
"""Unknowns of a filter up to which the normal equations are factorised; above, conjugate gradients solve them."""


@dataclass(frozen=True)
class Solution:
    """A fit and what it is worth.

    Attributes:
        weights: Shape (groups, unknowns, filters of a group).
        bias: Shape (filters,).
        start: Squared error of the start on held-out rows, over the variance of the goal.
        error: Likewise of the fit; never above `start`, which is kept where nothing is better.
        ridge: The ridge chosen; None where the start is kept.
    """

    weights: Array
    bias: Array
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
    """

    rows: Array
    goal: Array
    through: Callable[[Array], Array]
    weights: Array
    bias: Array
    intercept: bool
    held: int

    def solve(self, ridges: Sequence[float] = RIDGES, steps: int = 5) -> Solution:
        """Fit with each ridge for a few steps, go on with the best one, and return the best of all that was seen.

        Rows are centred while it lasts where there is an intercept: sums of squares of what hardly varies cancel.
        """
        start = self._point(self.weights, self.bias, None)
        if start.error <= PERFECT:
            return self._solution(start, start)
        if not self.intercept:
            return self._solution(start, self._solve(start, ridges, steps))
        middle = self.rows.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        self.rows -= middle
        shifted = replace(start, bias=self.bias + times(middle, self.weights)[0])
        best = self._solve(shifted, ridges, steps)
        self.rows += middle
        if best is shifted:
            return self._solution(start, start)
        return self._solution(start, replace(best, bias=best.bias - times(middle, best.weights)[0]))

    def _solve(self, start: _Point, ridges: Sequence[float], steps: int) -> _Point:
        fit = self.rows.shape[1] - self.held
        normal = _Normal(self.rows[:, :fit], self.intercept)
        ridges = ridges if self.rows.shape[2] <= SEVERAL else (ridges[len(ridges) // 2],)
        residual = reached(self.through, start.sums[:fit], self.goal[:fit]) - start.sums[:fit]
        solver = normal.solver(ridges[0])
        at = self._moved(start, solver(residual), ridges[0])
        for ridge in ridges[1:]:
            other = normal.solver(ridge)
            tried = self._moved(start, other(residual), ridge)
            if tried.error < at.error:
                at, solver = tried, other
        best = min(start, at, key=lambda point: point.error)
        for _ in range(steps - 1):
            residual = reached(self.through, at.sums[:fit], self.goal[:fit]) - start.sums[:fit]
            at = self._moved(start, solver(residual), at.ridge)
            best = min(best, at, key=lambda point: point.error)
            if at.error > 2 * best.error:
                break
        return best if best is start or normal.used_up else self._with_all_rows(start, best, normal)

    def _with_all_rows(self, start: _Point, best: _Point, normal: _Normal) -> _Point:
        """Make one more step from what held-out rows have chosen, with these rows too."""
        normal.add(self.rows[:, self.rows.shape[1] - self.held :])
        residual = reached(self.through, best.sums, self.goal) - start.sums
        more = self._moved(start, normal.solver(best.ridge)(residual), best.ridge)
        return replace(more, error=best.error) if more.error <= best.error else best

    def _moved(self, start: _Point, move: tuple[Array, Array], ridge: float | None) -> _Point:
        return self._point(start.weights + move[0], start.bias + move[1], ridge)

    def _point(self, weights: Array, bias: Array, ridge: float | None) -> _Point:
        """Return where some weights lead: their sums, and their error on held-out rows over the goal's variance."""
        sums = times(self.rows, weights) + bias
        fit = len(sums) - self.held
        goal = self.goal[fit:].astype(np.float64)
        off = self.through(sums[fit:].astype(np.float32)) - goal
        spread = float(((goal - goal.mean(0)) ** 2).sum())
        error = float((off**2).sum()) / (spread if spread > 0 else 1.0)
        return _Point(weights, bias, sums, error if np.isfinite(error) else np.inf, ridge)

    @staticmethod
    def _solution(start: _Point, best: _Point) -> Solution:
        return Solution(best.weights, best.bias, start.error, best.error, best.ridge)


@dataclass(frozen=True)
class _Point:
    weights: Array
    bias: Array
    sums: Array
    error: float
    ridge: float | None


def times(rows: Array, weights: Array) -> Array:
    """Multiply (groups, rows, unknowns) by (groups, unknowns, filters of a group): (rows, filters)."""
    made: Array = np.matmul(rows, weights)
    return made.transpose(1, 0, 2).reshape(rows.shape[1], -1)


class _Normal:
    """The normal equations of some rows, centred where there is an intercept."""

    def __init__(self, x: Array, intercept: bool) -> None:
        self.parts, self.intercept = [x], intercept
        groups, _, self.unknowns = x.shape
        self.total, self.squares = np.zeros((groups, self.unknowns)), np.zeros(groups)
        self.gram: Array | None = None
        if self.unknowns <= FACTORISED:
            exact = np.float64 if self.unknowns <= SEVERAL else np.float32  # half the memory where that is most of it
            self.gram = np.zeros((groups, self.unknowns, self.unknowns), exact)
        self._count(x)

    def add(self, x: Array) -> None:
        """Take more rows in, shape (groups, rows, unknowns)."""
        self.parts.append(x)
        self._count(x)

    def _count(self, x: Array) -> None:
        self.squares += np.square(x, dtype=np.float64).sum((1, 2)) if self.gram is None else 0.0
        self.total += x.sum(1, dtype=np.float64) if self.intercept else 0.0
        for one, rows in zip(self.gram, x, strict=True) if self.gram is not None else ():
            for i in range(0, len(rows), 4096):
                one += rows[i : i + 4096].T @ rows[i : i + 4096]

    @property
    def used_up(self) -> bool:
        """Whether a solver has taken the matrix for its own."""
        return self.gram is not None and self.unknowns > SEVERAL

    @property
    def mean(self) -> Array:
        """What is taken off the rows, shape (groups, unknowns)."""
        mean: Array = self.total / sum(part.shape[1] for part in self.parts)
        return mean

    def solver(self, ridge: float | None) -> Callable[[Array], tuple[Array, Array]]:
        """Return what gives, for residuals of shape (rows, filters), the move of W and that of b."""
        mean, count = self.mean, sum(part.shape[1] for part in self.parts)
        squares = self.squares if self.gram is None else np.trace(self.gram, axis1=1, axis2=2)
        damping = (ridge or 0.0) * np.maximum(squares - count * (mean**2).sum(1), 0) / self.unknowns + 1e-9 * count
        if self.gram is None:
            return lambda r: self._finish(r, conjugate_gradients(self._apply(damping), self._side(r)))
        matrix = self.gram if self.used_up else self.gram.copy()
        for one, middle in zip(matrix, mean * math.sqrt(count), strict=True):
            one -= np.outer(middle, middle).astype(one.dtype) if middle.any() else 0
        diagonal = np.arange(self.unknowns)
        matrix[:, diagonal, diagonal] += damping[:, None]
        factors = [
            cho_factor(m.T.astype(np.float32, copy=False), lower=True, overwrite_a=True, check_finite=False)
            for m in matrix
        ]

        def solve(residual: Array) -> tuple[Array, Array]:
            side = self._side(residual)
            moved = [
                cho_solve(f, one.astype(np.float32), check_finite=False) for f, one in zip(factors, side, strict=True)
            ]
            return self._finish(residual, np.stack(moved))

        return solve

    def _side(self, residual: Array) -> Array:
        wide = residual.astype(np.float32).reshape(len(residual), len(self.total), -1).transpose(1, 0, 2)
        side: Array = -self.mean[:, :, None] * wide.sum(1, dtype=np.float64)[:, None]
        start = 0
        for x in self.parts:
            end = start + x.shape[1]
            side += np.matmul(x.transpose(0, 2, 1), wide[:, start:end])
            start = end
        return side

    def _finish(self, residual: Array, moved: Array) -> tuple[Array, Array]:
        if not self.intercept:
            return moved.astype(np.float32), np.zeros(residual.shape[1], np.float32)
        shift: Array = residual.mean(0, dtype=np.float64) - np.einsum("gd,gdf->gf", self.mean, moved).ravel()
        return moved.astype(np.float32), shift.astype(np.float32)

    def _apply(self, damping: Array) -> Callable[[Array], Array]:
        def apply(w: Array) -> Array:
            seen = np.concatenate([times(x, w.astype(np.float32)) for x in self.parts])
            applied: Array = self._side(seen) + damping[:, None, None] * w
            return applied

        return apply


def conjugate_gradients(apply: Callable[[Array], Array], side: Array, steps: int = 60, enough: float = 1e-4) -> Array:
    """Solve A w = side for each column of each group, A symmetric and positive, given as a function."""
    w, r = np.zeros_like(side), side.copy()
    p, old = r.copy(), (r * r).sum(1, keepdims=True)
    first = np.maximum(old, 1e-30)
    for _ in range(steps):
        ap = apply(p)
        alpha = old / np.maximum((p * ap).sum(1, keepdims=True), 1e-30)
        w += alpha * p
        r -= alpha * ap
        new = (r * r).sum(1, keepdims=True)
        if bool((new <= enough**2 * first).all()):
            break
        p = r + new / np.maximum(old, 1e-30) * p
        old = new
    return w


def reached(through: Callable[[Array], Array], z: Array, goal: Array) -> Array:
    """Return sums that lie one Newton step nearer to a goal behind an elementwise map.

    Where the map is flat (a relu below zero) and the goal lies elsewhere, the step takes the map's usual slope.
    """
    h = 1e-2 * z.std(0) + 1e-6
    here, there = through(z.astype(np.float32)), through((z + h).astype(np.float32))
    slope = (there - here) / h
    steep = np.abs(slope) > 1e-6 * (np.abs(slope).max(0) + 1e-30)
    usual = slope.sum(0, where=steep) / np.maximum(steep.sum(0), 1)
    usual = np.where(np.abs(usual) < 1e-12, 1, usual)
    slope = np.where(steep, slope, usual)
    most = 4 * z.std(0) + 1e-6
    nearer: Array = z + np.clip(slope * (goal - here) / (slope**2 + 1e-4 * usual**2), -most, most)
    return nearer
