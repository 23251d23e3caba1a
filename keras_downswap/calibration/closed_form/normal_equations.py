"""The normal equations of rows, factorised once for each ridge, or solved by conjugate gradients above a size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from keras_downswap.calibration.closed_form.blas import inner, product, squares, sums
from keras_downswap.ir.types import Array

SEVERAL = 6144
"""Unknowns of a filter up to which several ridges are tried; above, one, so that one matrix is held at a time."""
AT_ONCE = 2048
"""Lines of a large matrix that are worked on at once: what is added to it is never held as a whole."""
FACTORISED = 9216
"""Unknowns of a filter up to which the normal equations are factorised; above, conjugate gradients solve them."""


def times(rows: Array, weights: Array) -> Array:
    """Multiply (groups, rows, unknowns) by (groups, unknowns, filters of a group): (rows, filters)."""
    return np.concatenate([product(x, w) for x, w in zip(rows, weights, strict=True)], 1)


@dataclass(frozen=True)
class RightHandSide:
    """The right-hand side of the normal equations for some residuals.

    Attributes:
        products: Centred X' times the residuals, shape (groups, unknowns, filters of a group).
        mean: Mean of the residuals, shape (filters,).
    """

    products: Array
    mean: Array


Solver = Callable[[RightHandSide], tuple[Array, Array]]
"""Gives, for a right-hand side, the move of W and that of b."""


class Normal:
    """The normal equations of some rows, shape (groups, rows, unknowns), centred where there is an intercept."""

    def __init__(self, x: Array, intercept: bool) -> None:
        self.parts, self.intercept = [x], intercept
        groups, _, self.unknowns = x.shape
        self.total, self.squares = np.zeros((groups, self.unknowns)), np.zeros(groups)
        self.gram: Array | None = None
        if self.unknowns <= FACTORISED:
            exact = (
                np.float64 if self.unknowns <= SEVERAL else np.float32
            )  # half the memory where that is most of it
            self.gram = np.zeros((groups, self.unknowns, self.unknowns), exact)
        self._count(x)

    def add(self, x: Array) -> None:
        """Take more rows in."""
        self.parts.append(x)
        self._count(x)

    def _count(self, x: Array) -> None:
        self.squares += np.square(x, dtype=np.float64).sum((1, 2)) if self.gram is None else 0.0
        self.total += np.stack([sums(one) for one in x]) if self.intercept else 0.0
        for one, rows in zip(self.gram, x, strict=True) if self.gram is not None else ():
            for i in range(0, len(rows), 4096):
                _add_squares(one, rows[i : i + 4096])

    @property
    def count(self) -> int:
        """Number of rows."""
        return sum(part.shape[1] for part in self.parts)

    @property
    def used_up(self) -> bool:
        """Whether a solver has taken the matrix for its own."""
        return self.gram is not None and self.unknowns > SEVERAL

    @property
    def mean(self) -> Array:
        """What is taken off the rows, shape (groups, unknowns)."""
        mean: Array = self.total / self.count
        return mean

    def side(self, residual: Array) -> RightHandSide:
        """Return the right-hand side for residuals of shape (rows, filters)."""
        wide = (
            residual.astype(np.float32, copy=False)
            .reshape(len(residual), len(self.total), -1)
            .transpose(1, 0, 2)
        )
        products: Array = -self.mean[:, :, None] * wide.sum(1, dtype=np.float64)[:, None]
        start = 0
        for x in self.parts:
            end = start + x.shape[1]
            products += np.stack(
                [inner(one, r) for one, r in zip(x, wide[:, start:end], strict=True)]
            )
            start = end
        return RightHandSide(products, residual.mean(0, dtype=np.float64))

    def solver(self, ridge: float) -> Solver:
        """Return what solves the equations with a ridge, in units of the mean of the diagonal."""
        if self.gram is None:
            squares = self.squares - self.count * (self.mean**2).sum(1)
            damped = self._apply(self._damping(ridge, squares))
            return lambda side: self._move(side, conjugate_gradients(damped, side.products))
        diagonal = np.arange(self.unknowns)
        squares = np.trace(self.gram, axis1=1, axis2=2) - self.count * (self.mean**2).sum(1)
        matrix = self.gram if self.used_up else self.gram.astype(np.float32)
        for one, middle in zip(matrix, self.mean * math.sqrt(self.count), strict=True):
            for i in range(0, self.unknowns if middle.any() else 0, AT_ONCE):
                one[i : i + AT_ONCE] -= np.outer(middle[i : i + AT_ONCE], middle).astype(np.float32)
        matrix[:, diagonal, diagonal] += self._damping(ridge, squares)[:, None].astype(np.float32)
        factors = [
            cho_factor(m.T, lower=True, overwrite_a=True, check_finite=False) for m in matrix
        ]

        def solve(side: RightHandSide) -> tuple[Array, Array]:
            sides = side.products.astype(np.float32)
            moved = [
                cho_solve(f, one, check_finite=False) for f, one in zip(factors, sides, strict=True)
            ]
            return self._move(side, np.stack(moved))

        return solve

    def _damping(self, ridge: float, squares: Array) -> Array:
        damping: Array = ridge * np.maximum(squares, 0) / self.unknowns + 1e-9 * self.count
        return damping

    def _move(self, side: RightHandSide, moved: Array) -> tuple[Array, Array]:
        if not self.intercept:
            return moved.astype(np.float32), np.zeros(len(side.mean), np.float32)
        shift: Array = side.mean - np.einsum("gd,gdf->gf", self.mean, moved).ravel()
        return moved.astype(np.float32), shift.astype(np.float32)

    def _apply(self, damping: Array) -> Callable[[Array], Array]:
        def apply(w: Array) -> Array:
            seen = np.concatenate([times(x, w.astype(np.float32)) for x in self.parts])
            applied: Array = self.side(seen).products + damping[:, None, None] * w
            return applied

        return apply


def _add_squares(gram: Array, rows: Array) -> None:
    """Add X'X of some rows; up to `SEVERAL` unknowns without what is below the diagonal, which no factor needs."""
    if len(gram) <= SEVERAL:
        gram += squares(rows)
        return
    for i in range(0, len(gram), AT_ONCE):
        gram[i : i + AT_ONCE] += inner(rows[:, i : i + AT_ONCE], rows)


def conjugate_gradients(
    apply: Callable[[Array], Array], side: Array, steps: int = 60, enough: float = 1e-4
) -> Array:
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
