"""Trains a new model towards an old one on TensorFlow: one step, and the optimizer that makes it.

Kernels move by the orthogonalised momentum of their gradient (Muon, Jordan et al. 2024), in steps
proportional to their own norm; all other weights by Adam (Kingma and Ba 2015).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.errors import BadRequest

SCALE = 1024.0
"""By which losses are multiplied and gradients divided, so that gradients in float16 do not vanish."""
LED = 4.0
"""At the end of a run an aim inside counts nothing whose error is the inverse of this, or larger."""
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic whose iteration brings singular values near 1 (Jordan et al. 2024)."""


@dataclass(frozen=True)
class DistillationTerm:
    """Two tensors that are to agree.

    Attributes:
        new: The tensor of the new model.
        old: That of the old one.
        kind: `values` (squared error), or `probabilities` along the last axis (divergence).
        inside: Whether it is a site's, and no output: it counts the less as a run goes on, the less
            of it is met.
        scale: What the loss is divided by: of values the variance of the old model's; of
            probabilities how much they differ from their mean, where that is less than 1 nat.
    """

    new: TensorRef
    old: TensorRef
    kind: str
    inside: bool
    scale: float


class Trainer:
    """One training run of some variables of a new model."""

    def __init__(
        self,
        old: Interpreter,
        new: Interpreter,
        aims: Sequence[DistillationTerm],
        variables: Mapping[str, Sequence[Any]],
        mixed: Sequence[bool],
        seed: int,
    ) -> None:
        """Prepare the run.

        Args:
            old: The old model; keeps the aims' tensors.
            new: The new one, likewise.
            aims: What is to agree.
            variables: Keras variables that may move: `weights`, and `tables` whose rows are looked
                up.
            mixed: For each input, whether samples of it may be mixed.
            seed: Of the mixing.

        Raises:
            BadRequest: If this Keras does not run on TensorFlow.
        """
        dialect = new.reading.dialect
        if not dialect.on_tensorflow:
            raise BadRequest(
                "distilling needs Keras on the TensorFlow backend; expected KERAS_BACKEND=tensorflow"
            )
        self.tf: Any = sys.modules["tensorflow"]
        self.old, self.new, self.aims, self.mixed = old, new, aims, mixed
        tables, both = variables["tables"], [*variables["weights"], *variables["tables"]]
        self.variables = [dialect.backend_variable(variable) for variable in both]
        self.constraints = [getattr(variable, "constraint", None) for variable in both]
        self.noise = self.tf.random.Generator.from_seed(seed)
        zeros = [np.zeros(v.shape, np.float32) for v in self.variables]
        self.first = [self.tf.Variable(z, trainable=False) for z in zeros]
        self.second = [
            None
            if _is_matrix(v.shape) and n < len(both) - len(tables)
            else self.tf.Variable(z, trainable=False)
            for n, (v, z) in enumerate(zip(self.variables, zeros, strict=True))
        ]
        self.count = self.tf.Variable(0.0, trainable=False)
        self.step = self.tf.function(self._step, reduce_retracing=True)

    def _step(self, inputs: Sequence[Any], rate: Any, matrix_rate: Any, done: Any) -> Any:
        """Make one step on a batch.

        Args:
            inputs: One tensor per input.
            rate: Adam's learning rate.
            matrix_rate: How far kernels move, relative to their norm.
            done: Share of the run that is done.

        Returns:
            The loss.
        """
        tf = self.tf
        inputs = self._blend(inputs)
        goals = self.old.run(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in self.variables:
                tape.watch(variable)
            made = self.new.run(inputs)
            losses = [self._loss(aim, made[aim.new], goals[aim.old]) for aim in self.aims]
            losses = [
                led(self.tf, loss, done) if aim.inside else loss
                for aim, loss in zip(self.aims, losses, strict=True)
            ]
            loss = tf.add_n(losses) * SCALE
        gradients = tape.gradient(loss, self.variables)
        self.count.assign_add(1.0)
        for number, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            if gradient is not None:
                gradient = (
                    tf.cast(tf.convert_to_tensor(gradient), tf.float32) / SCALE
                )  # of a table: a dense one
                self._move(number, variable, gradient, rate, matrix_rate)
                constraint = self.constraints[number]
                if constraint is not None:
                    variable.assign(constraint(variable.value()))
        return loss / SCALE

    def _blend(self, inputs: Sequence[Any]) -> list[Any]:
        """Mix each sample with another one of the batch, by at most a half."""
        tf = self.tf
        if not any(self.mixed):
            return list(inputs)
        count = tf.shape(inputs[0])[0]
        share = self.noise.uniform((count,), 0, 0.5)
        order = tf.argsort(self.noise.uniform((count,)))

        def blend(x: Any) -> Any:
            part = tf.cast(
                tf.reshape(share, tf.concat([[count], tf.ones(len(x.shape) - 1, tf.int32)], 0)),
                x.dtype,
            )
            return tf.ensure_shape(x * (1 - part) + tf.gather(x, order) * part, x.shape)

        return [blend(x) if mixed else x for x, mixed in zip(inputs, self.mixed, strict=True)]

    def _loss(self, aim: DistillationTerm, made: Any, goal: Any) -> Any:
        tf = self.tf
        made, goal = tf.cast(made, tf.float32), tf.stop_gradient(tf.cast(goal, tf.float32))
        if aim.kind == "probabilities":
            least = 1e-7
            logs = tf.math.log(tf.clip_by_value(goal, least, 1)) - tf.math.log(
                tf.clip_by_value(made, least, 1)
            )
            return tf.reduce_mean(tf.reduce_sum(goal * logs, -1)) / aim.scale
        return tf.reduce_mean(tf.square(made - goal)) / aim.scale

    def _move(self, number: int, variable: Any, gradient: Any, rate: Any, matrix_rate: Any) -> None:
        tf = self.tf
        gradient = tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))
        first, second = self.first[number], self.second[number]
        if second is None:
            first.assign(MOMENTUM * first + gradient)
            move = self._orthogonal(gradient + MOMENTUM * first)
            size = tf.norm(tf.cast(variable, tf.float32))
            root = math.sqrt(min(int(np.prod(variable.shape[:-1])), variable.shape[-1]))
            variable.assign_sub(tf.cast(matrix_rate * size / root * move, variable.dtype))
            return
        first.assign(0.9 * first + 0.1 * gradient)
        second.assign(0.999 * second + 0.001 * tf.square(gradient))
        fair = first / (1 - 0.9**self.count), second / (1 - 0.999**self.count)
        variable.assign_sub(tf.cast(rate * fair[0] / (tf.sqrt(fair[1]) + 1e-7), variable.dtype))

    def _orthogonal(self, gradient: Any) -> Any:
        """Return the matrix of the gradient's singular directions, each of about the same size."""
        tf = self.tf
        matrix = tf.reshape(gradient, (-1, gradient.shape[-1]))
        tall = matrix.shape[0] > matrix.shape[1]
        x = tf.transpose(matrix) if tall else matrix
        x = x / (tf.norm(x) + 1e-12)
        a, b, c = NEWTON_SCHULZ
        for _ in range(5):
            square = tf.matmul(x, x, transpose_b=True)
            x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
        return tf.reshape(tf.transpose(x) if tall else x, gradient.shape)


def _is_matrix(shape: Any) -> bool:
    """Tell whether a weight is a kernel with several inputs and several filters."""
    return len(shape) > 1 and shape[-1] > 1 and int(np.prod(shape[:-1])) > 1


def led(tf: Any, loss: Any, done: Any) -> Any:
    """Return what an aim inside counts when a share of the run is done: what is not met of it counts less and less.

    It would hold back outputs that hardly need it.
    """
    return loss * tf.maximum(0.0, 1 - LED * done * tf.stop_gradient(loss))
