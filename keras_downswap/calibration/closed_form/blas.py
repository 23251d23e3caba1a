"""Products of float32 matrices by the BLAS that SciPy factorises with.

NumPy brings a BLAS of its own. Each of the two keeps threads that wait busily for a while after a
product, so that alternating between them slows both down: on two cores a closed-form fit took a
fifth longer.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import sgemm, ssyrk

from keras_downswap.ir.types import Array

SUM_BLOCK = 4096
"""Rows that are summed in float32 before their sum is added up in float64."""

# BLAS wants matrices in Fortran order. The transpose of a C-ordered array is one without a copy,
# so each function computes the transpose of its product, and returns the transpose of that.


def product(a: Array, b: Array) -> Array:
    """Return A B."""
    transposed = sgemm(1.0, b.T, a.T)
    result: Array = transposed.T
    return result


def transposed_product(a: Array, b: Array) -> Array:
    """Return A' B."""
    transposed = sgemm(1.0, b.T, a.T, trans_b=True)
    result: Array = transposed.T
    return result


def gram_matrix(a: Array) -> Array:
    """Return A' A, with zeros below the diagonal."""
    transposed = ssyrk(1.0, a.T, lower=True)
    result: Array = transposed.T
    return result


def column_sums(a: Array) -> Array:
    """Return the sum of each column in float64.

    Blocks of rows are summed in float32, which is fast, and their sums in float64: rounding does
    not grow with the number of rows.
    """
    ones = np.ones((1, SUM_BLOCK), np.float32)
    total = np.zeros(a.shape[1])
    for start in range(0, len(a), SUM_BLOCK):
        block = a[start : start + SUM_BLOCK]
        total += product(ones[:, : len(block)], block)[0]
    return total
