"""The normal equations of a least-squares problem with a ridge, (X'X + D) W = X'R.

They are factorised once for each ridge (Cholesky); above a size where the factors would not fit
into memory, conjugate gradients solve them without X'X.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from keras_downswap.calibration.closed_form.blas import (
    column_sums,
    gram_matrix,
    product,
    transposed_product,
)
from keras_downswap.ir.types import Array

MAX_UNKNOWNS_FOR_RIDGE_CHOICE = 6144
"""Unknowns of a filter up to which several ridges are tried: each needs a factor of its own beside
the matrix. Above, there is one ridge, whose factor overwrites the matrix."""
MAX_UNKNOWNS_FACTORISED = 9216
"""Unknowns of a filter up to which the normal equations are factorised."""
GRAM_BLOCK = 2048
"""Lines of a large X'X that are worked on at once: what is added to it is never held as a whole."""
ROW_BLOCK = 4096
"""Rows of X whose X'X is added up at once: it is a float32 sum, whose rounding grows with them."""
TINY = 1e-30
"""Least divisor in conjugate gradients."""


def grouped_product(design: Array, weights: Array) -> Array:
    """Multiply the design matrix of each group by the filters of the group.

    Args:
        design: Shape (groups, rows, unknowns).
        weights: Shape (groups, unknowns, filters of a group).

    Returns:
        Shape (rows, filters), the filters of one group after those of another.
    """
    pairs = zip(design, weights, strict=True)
    return np.concatenate([product(x, w) for x, w in pairs], axis=1)


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
"""Returns the change of W and that of b for a right-hand side."""


class NormalEquations:
    """The normal equations of some rows, centred where there is an intercept.

    With an intercept b, the best W is that of centred rows, and b follows from the means. The rows
    are never copied for it: with the mean m of n rows, the centred X'X is X'X - n m m', and the
    centred X'R is X'R - m (1'R).

    Attributes:
        parts: The design matrices, each of shape (groups, rows, unknowns).
        intercept: Whether there is an intercept.
        unknowns: Unknowns of a filter.
        total: Sum of the rows, shape (groups, unknowns); zeros without an intercept.
        gram: X'X of each group, not centred; None where there are too many unknowns.
        squares: The trace of X'X of each group, where there is no `gram`.
    """

    def __init__(self, design: Array, intercept: bool) -> None:
        """Take the rows of a design matrix, shape (groups, rows, unknowns)."""
        groups, _, unknowns = design.shape
        self.parts = [design]
        self.intercept = intercept
        self.unknowns = unknowns
        self.total = np.zeros((groups, unknowns))
        self.squares = np.zeros(groups)
        self.gram = _zero_gram(groups, unknowns)
        self._sum_up(design)

    def add(self, design: Array) -> None:
        """Take further rows, shape (groups, rows, unknowns)."""
        self.parts.append(design)
        self._sum_up(design)

    def _sum_up(self, design: Array) -> None:
        if self.intercept:
            self.total += np.stack([column_sums(x) for x in design])
        if self.gram is None:
            squares = np.square(design, dtype=np.float64)
            self.squares += squares.sum((1, 2))
            return
        for matrix, x in zip(self.gram, design, strict=True):
            for start in range(0, len(x), ROW_BLOCK):
                _add_gram(matrix, x[start : start + ROW_BLOCK])

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return sum(part.shape[1] for part in self.parts)

    @property
    def solver_overwrites(self) -> bool:
        """Whether the first solver destroys X'X, so that no second one can be made."""
        return self.gram is not None and self.unknowns > MAX_UNKNOWNS_FOR_RIDGE_CHOICE

    @property
    def mean(self) -> Array:
        """What is subtracted from the rows, shape (groups, unknowns)."""
        mean: Array = self.total / self.row_count
        return mean

    def right_hand_side(self, residual: Array) -> RightHandSide:
        """Return the right-hand side for residuals of shape (rows, filters)."""
        residual_mean = residual.mean(0, dtype=np.float64)
        groups = len(self.total)
        single = residual.astype(np.float32, copy=False)
        by_row = single.reshape(len(residual), groups, -1)
        by_group = by_row.transpose(1, 0, 2)

        totals = by_group.sum(1, dtype=np.float64)[:, None]
        products: Array = -self.mean[:, :, None] * totals
        start = 0
        for design in self.parts:
            end = start + design.shape[1]
            own = by_group[:, start:end]
            pairs = zip(design, own, strict=True)
            products += np.stack([transposed_product(x, r) for x, r in pairs])
            start = end
        return RightHandSide(products, residual_mean)

    def solver(self, ridge: float) -> Solver:
        """Return a solver for a ridge, in units of the mean of the diagonal of X'X."""
        if self.gram is None:
            return self._iterative_solver(ridge)
        return self._factorised_solver(self.gram, ridge)

    def _factorised_solver(self, gram: Array, ridge: float) -> Solver:
        trace = np.trace(gram, axis1=1, axis2=2)
        damping = self._damping(ridge, trace - self._trace_of_means())
        matrices = gram if self.solver_overwrites else gram.astype(np.float32)
        scaled_means = self.mean * math.sqrt(self.row_count)
        for matrix, mean in zip(matrices, scaled_means, strict=True):
            if mean.any():
                _subtract_outer(matrix, mean)
        diagonal = np.arange(self.unknowns)
        matrices[:, diagonal, diagonal] += damping.astype(np.float32)[:, None]

        # The transpose is in Fortran order, so that LAPACK factorises in place; its lower triangle
        # is the upper one here, the only one that `_add_gram` fills.
        factors = []
        for matrix in matrices:
            factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
            factors.append(factor)

        def solve(side: RightHandSide) -> tuple[Array, Array]:
            products = side.products.astype(np.float32)
            changes = []
            for factor, columns in zip(factors, products, strict=True):
                changes.append(cho_solve(factor, columns, check_finite=False))
            return self._change(side, np.stack(changes))

        return solve

    def _iterative_solver(self, ridge: float) -> Solver:
        trace = self.squares - self._trace_of_means()
        damping = self._damping(ridge, trace)[:, None, None]

        def apply(weights: Array) -> Array:
            """Return (X'X + D) W as X'(XW) + DW: X'X is never formed."""
            single = weights.astype(np.float32)
            sums = [grouped_product(design, single) for design in self.parts]
            side = self.right_hand_side(np.concatenate(sums))
            applied: Array = side.products + damping * weights
            return applied

        def solve(side: RightHandSide) -> tuple[Array, Array]:
            return self._change(side, conjugate_gradients(apply, side.products))

        return solve

    def _trace_of_means(self) -> Array:
        """Return by how much centring lowers the trace of X'X of each group."""
        squares = (self.mean**2).sum(1)
        trace: Array = self.row_count * squares
        return trace

    def _damping(self, ridge: float, trace: Array) -> Array:
        """Return what a ridge adds to the diagonal of each group, given the trace of its X'X."""
        relative = ridge * np.maximum(trace, 0) / self.unknowns
        # Rows that are all alike have a trace of zero: the constant keeps the matrix positive.
        damping: Array = relative + 1e-9 * self.row_count
        return damping

    def _change(self, side: RightHandSide, change: Array) -> tuple[Array, Array]:
        """Return the change of W, and the one of b that keeps the mean residual at zero."""
        weights = change.astype(np.float32)
        if not self.intercept:
            return weights, np.zeros(len(side.mean), np.float32)
        mean_sums = np.einsum("gd,gdf->gf", self.mean, change).ravel()
        bias: Array = side.mean - mean_sums
        return weights, bias.astype(np.float32)


def _zero_gram(groups: int, unknowns: int) -> Array | None:
    """Return zeros to sum X'X of each group in; None where the matrices would be too large."""
    if unknowns > MAX_UNKNOWNS_FACTORISED:
        return None
    # float64 keeps what centring leaves of large means. Above this size the matrix is most of the
    # memory that a fit takes, and float32 halves it.
    dtype = np.float64 if unknowns <= MAX_UNKNOWNS_FOR_RIDGE_CHOICE else np.float32
    return np.zeros((groups, unknowns, unknowns), dtype)


def _add_gram(matrix: Array, rows: Array) -> None:
    """Add X'X of some rows to a matrix, in place.

    A small matrix is filled on and above the diagonal only, which is half the work and all that a
    factorisation reads. A large one is filled whole, in blocks of lines.
    """
    if len(matrix) <= MAX_UNKNOWNS_FOR_RIDGE_CHOICE:
        matrix += gram_matrix(rows)
        return
    for start in range(0, len(matrix), GRAM_BLOCK):
        end = start + GRAM_BLOCK
        columns = rows[:, start:end]
        matrix[start:end] += transposed_product(columns, rows)


def _subtract_outer(matrix: Array, vector: Array) -> None:
    """Subtract v v' from a matrix, in place, in blocks of lines."""
    for start in range(0, len(matrix), GRAM_BLOCK):
        end = start + GRAM_BLOCK
        block = np.outer(vector[start:end], vector)
        matrix[start:end] -= block.astype(np.float32)


def conjugate_gradients(
    apply: Callable[[Array], Array], side: Array, steps: int = 60, tolerance: float = 1e-4
) -> Array:
    """Solve A W = side for each column of each group.

    Args:
        apply: Multiplies A by W; A is symmetric and positive, and need not exist as a matrix.
        side: The right-hand side, shape (groups, unknowns, filters of a group).
        steps: Steps at most.
        tolerance: Size of the residual, as a share of the first, at which a column is solved.

    Returns:
        W, of the shape of `side`.
    """
    solution = np.zeros_like(side)
    residual = side.copy()
    direction = residual.copy()
    squared = (residual * residual).sum(1, keepdims=True)
    solved = tolerance**2 * np.maximum(squared, TINY)
    for _ in range(steps):
        mapped = apply(direction)
        curvature = (direction * mapped).sum(1, keepdims=True)
        # A column that is solved has a direction of zero: the least divisor keeps it where it is.
        length = squared / np.maximum(curvature, TINY)
        solution += length * direction
        residual -= length * mapped
        new_squared = (residual * residual).sum(1, keepdims=True)
        if bool((new_squared <= solved).all()):
            break
        ratio = new_squared / np.maximum(squared, TINY)
        direction = residual + ratio * direction
        squared = new_squared
    return solution
