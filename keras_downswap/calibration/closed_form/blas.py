"""Products of float32 matrices by the BLAS that SciPy factorises with.

NumPy brings one of its own. Each keeps threads that wait busily for a while after a product, so
that calls of the two by turns hinder each other: on two cores a closed form took a fifth longer so.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import sgemm, ssyrk

from keras_downswap.ir.types import Array


def product(a: Array, b: Array) -> Array:
    """Return A B."""
    made: Array = sgemm(1.0, b.T, a.T).T
    return made


def inner(a: Array, b: Array) -> Array:
    """Return A' B."""
    made: Array = sgemm(1.0, b.T, a.T, trans_b=True).T
    return made


def squares(a: Array) -> Array:
    """Return A' A, zeros below the diagonal."""
    made: Array = ssyrk(1.0, a.T, lower=True).T
    return made


def sums(a: Array) -> Array:
    """Return the sum of each column, blocks of rows in float32 and their sums in float64."""
    ones = np.ones((1, 4096), np.float32)
    blocks = (a[i : i + 4096] for i in range(0, len(a), 4096))
    total = np.zeros(a.shape[1])
    for block in blocks:
        total += product(ones[:, : len(block)], block)[0]
    return total
