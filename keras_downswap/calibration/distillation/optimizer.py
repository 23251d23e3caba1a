"""How weights move on a gradient: kernels by Muon, all others by Adam.

Muon (Jordan et al. 2024) moves a matrix by the orthogonalised momentum of its gradient, here in
steps proportional to the matrix' own norm; Adam is Kingma and Ba 2015.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MUON_MOMENTUM = 0.95
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration brings singular values near 1 (Jordan et al. 2024)."""
NEWTON_SCHULZ_STEPS = 5
ADAM_FIRST_DECAY = 0.9
ADAM_SECOND_DECAY = 0.999
ADAM_EPSILON = 1e-7


class LearningRates(NamedTuple):
    """The learning rates of one step.

    Attributes:
        adam: The rate of Adam.
        muon: How far a step of Muon moves a variable, relative to its norm.
    """

    adam: Any
    muon: Any


class Optimizer:
    """Moves some variables by their gradients, inside a TensorFlow function."""

    def __init__(self, variables: Sequence[Any], by_muon: Sequence[bool]) -> None:
        """Prepare the state of each variable.

        Args:
            variables: TensorFlow variables.
            by_muon: For each whether it moves by Muon; else by Adam.
        """
        self.tf: Any = sys.modules["tensorflow"]
        self.variables = variables
        self.first_moments: list[Any] = []
        self.second_moments: list[Any] = []
        for variable, muon in zip(variables, by_muon, strict=True):
            self.first_moments.append(self._zeros_like(variable))
            self.second_moments.append(None if muon else self._zeros_like(variable))
        self.step_count = self.tf.Variable(0.0, trainable=False)

    def begin_step(self) -> None:
        """Count a step; Adam's moments are corrected by their number."""
        self.step_count.assign_add(1.0)

    def move(self, number: int, gradient: Any, rates: LearningRates) -> None:
        """Move one variable.

        Args:
            number: The variable's number.
            gradient: Its gradient, float32; what is not finite in it counts as 0.
            rates: The learning rates.
        """
        tf = self.tf
        zeros = tf.zeros_like(gradient)
        gradient = tf.where(tf.math.is_finite(gradient), gradient, zeros)
        if self.second_moments[number] is None:
            self._move_by_muon(number, gradient, rates.muon)
        else:
            self._move_by_adam(number, gradient, rates.adam)

    def _move_by_muon(self, number: int, gradient: Any, rate: Any) -> None:
        tf = self.tf
        variable = self.variables[number]
        momentum = self.first_moments[number]
        momentum.assign(MUON_MOMENTUM * momentum + gradient)
        direction = self._orthogonalised(gradient + MUON_MOMENTUM * momentum)
        norm = tf.norm(tf.cast(variable, tf.float32))
        # An orthogonal matrix of this shape has the root of its rank as its norm.
        rows = int(np.prod(variable.shape[:-1]))
        columns = variable.shape[-1]
        root_of_rank = math.sqrt(min(rows, columns))
        step = rate * norm / root_of_rank * direction
        variable.assign_sub(tf.cast(step, variable.dtype))

    def _move_by_adam(self, number: int, gradient: Any, rate: Any) -> None:
        tf = self.tf
        variable = self.variables[number]
        first, second = self.first_moments[number], self.second_moments[number]
        first.assign(ADAM_FIRST_DECAY * first + (1 - ADAM_FIRST_DECAY) * gradient)
        second.assign(ADAM_SECOND_DECAY * second + (1 - ADAM_SECOND_DECAY) * tf.square(gradient))
        # Both moments start at 0 and are too small at first; the corrections undo that.
        corrected_first = first / (1 - ADAM_FIRST_DECAY**self.step_count)
        corrected_second = second / (1 - ADAM_SECOND_DECAY**self.step_count)
        step = rate * corrected_first / (tf.sqrt(corrected_second) + ADAM_EPSILON)
        variable.assign_sub(tf.cast(step, variable.dtype))

    def _orthogonalised(self, gradient: Any) -> Any:
        """Return the gradient's singular directions with singular values of about 1."""
        tf = self.tf
        matrix = tf.reshape(gradient, (-1, gradient.shape[-1]))
        # The iteration multiplies a matrix by its transpose: the wide one gives the smaller square.
        is_tall = matrix.shape[0] > matrix.shape[1]
        x = tf.transpose(matrix) if is_tall else matrix
        x = x / (tf.norm(x) + 1e-12)
        a, b, c = NEWTON_SCHULZ_COEFFICIENTS
        for _ in range(NEWTON_SCHULZ_STEPS):
            square = tf.matmul(x, x, transpose_b=True)
            quartic = tf.matmul(square, square)
            x = a * x + tf.matmul(b * square + c * quartic, x)
        if is_tall:
            x = tf.transpose(x)
        return tf.reshape(x, gradient.shape)

    def _zeros_like(self, variable: Any) -> Any:
        zeros = np.zeros(variable.shape, np.float32)
        return self.tf.Variable(zeros, trainable=False)


def is_matrix(shape: Any) -> bool:
    """Tell whether a weight is a kernel with several inputs and several filters."""
    if len(shape) < 2:
        return False
    inputs, filters = int(np.prod(shape[:-1])), shape[-1]
    return inputs > 1 and filters > 1
