"""One training step of a new model towards an old one, on TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_downswap.calibration.distillation.optimizer import LearningRates, Optimizer, is_matrix
from keras_downswap.calibration.distillation.terms import DistillationTerm
from keras_downswap.calibration.execution.interpreter import Interpreter
from keras_downswap.errors import BadRequest

LOSS_SCALE = 1024.0
"""Losses are multiplied by this and gradients divided, so that float16 gradients do not vanish."""
INTERMEDIATE_DECAY = 4.0
"""At the end of a run an intermediate term counts nothing whose error is the inverse of this."""
PROBABILITY_MIN = 1e-7
"""Keeps logarithms of float32 probabilities finite."""
MIXED_SHARE_MAX = 0.5
"""The largest share of another sample that is mixed into one: beyond it the two change roles."""


class Trainer:
    """One training run of some variables of a new model."""

    def __init__(
        self,
        old: Interpreter,
        new: Interpreter,
        terms: Sequence[DistillationTerm],
        variables: Mapping[str, Sequence[Any]],
        mixed: Sequence[bool],
        seed: int,
    ) -> None:
        """Prepare the run.

        Args:
            old: The old model; keeps the tensors of the terms.
            new: The new one, likewise.
            terms: What should agree.
            variables: Keras variables that may be trained: `weights`, and `tables` whose rows are
                looked up.
            mixed: For each input, whether samples of it may be mixed.
            seed: Of the mixing.

        Raises:
            BadRequest: If this Keras does not run on TensorFlow.
        """
        dialect = new.reading.dialect
        if not dialect.on_tensorflow:
            raise BadRequest(
                "distilling needs Keras on the TensorFlow backend: "
                "expected KERAS_BACKEND=tensorflow"
            )
        self.tf: Any = sys.modules["tensorflow"]
        self.old, self.new = old, new
        self.terms, self.mixed = terms, mixed
        self.random = self.tf.random.Generator.from_seed(seed)

        keras_variables = [*variables["weights"], *variables["tables"]]
        self.variables = [dialect.backend_variable(variable) for variable in keras_variables]
        self.constraints = [getattr(variable, "constraint", None) for variable in keras_variables]
        # A table is no linear map: the singular directions of its gradient mean nothing.
        weights = self.variables[: len(variables["weights"])]
        by_muon = [is_matrix(weight.shape) for weight in weights]
        by_muon += [False for _ in variables["tables"]]
        self.optimizer = Optimizer(self.variables, by_muon)
        self.step = self.tf.function(self._step, reduce_retracing=True)

    def _step(self, inputs: Sequence[Any], adam_rate: Any, muon_rate: Any, progress: Any) -> Any:
        """Make one step on a batch.

        Args:
            inputs: One tensor per input.
            adam_rate: The learning rate of Adam.
            muon_rate: How far kernels move, relative to their norm.
            progress: Share of the run that is done.

        Returns:
            The loss.
        """
        tf = self.tf
        rates = LearningRates(adam_rate, muon_rate)
        inputs = self._mix(inputs)
        goals = self.old.run(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            # Frozen variables may be trained as well, and a tape does not watch those by itself.
            for variable in self.variables:
                tape.watch(variable)
            outputs = self.new.run(inputs)
            losses = []
            for term in self.terms:
                output, goal = outputs[term.new], goals[term.old]
                loss = self._loss(term, output, goal)
                if term.is_intermediate:
                    loss = loss * intermediate_loss_weight(tf, loss, progress)
                losses.append(loss)
            scaled_loss = tf.add_n(losses) * LOSS_SCALE
        gradients = tape.gradient(scaled_loss, self.variables)
        self.optimizer.begin_step()
        for number, gradient in enumerate(gradients):
            if gradient is not None:
                self._update(number, gradient, rates)
        return scaled_loss / LOSS_SCALE

    def _update(self, number: int, gradient: Any, rates: LearningRates) -> None:
        """Move one variable by the gradient of the scaled loss, and hold it to its constraint."""
        tf = self.tf
        # The gradient of a table is sparse (IndexedSlices) until it is converted.
        dense = tf.convert_to_tensor(gradient)
        unscaled = tf.cast(dense, tf.float32) / LOSS_SCALE
        self.optimizer.move(number, unscaled, rates)
        constraint = self.constraints[number]
        if constraint is not None:
            variable = self.variables[number]
            variable.assign(constraint(variable.value()))

    def _mix(self, inputs: Sequence[Any]) -> list[Any]:
        """Mix each sample with another one of the batch: so a few samples are over-fitted later."""
        tf = self.tf
        if not any(self.mixed):
            return list(inputs)
        count = tf.shape(inputs[0])[0]
        shares = self.random.uniform((count,), 0, MIXED_SHARE_MAX)
        order = tf.argsort(self.random.uniform((count,)))
        mixed = []
        for x, may_be_mixed in zip(inputs, self.mixed, strict=True):
            mixed.append(self._mix_one(x, shares, order) if may_be_mixed else x)
        return mixed

    def _mix_one(self, x: Any, shares: Any, order: Any) -> Any:
        tf = self.tf
        ones = tf.ones(len(x.shape) - 1, tf.int32)
        shape = tf.concat([tf.shape(shares), ones], 0)
        share = tf.cast(tf.reshape(shares, shape), x.dtype)
        mixed = x * (1 - share) + tf.gather(x, order) * share
        # Reshaping by a tensor loses the static shape, which layers of the model may need.
        return tf.ensure_shape(mixed, x.shape)

    def _loss(self, term: DistillationTerm, output: Any, goal: Any) -> Any:
        tf = self.tf
        output = tf.cast(output, tf.float32)
        goal = tf.stop_gradient(tf.cast(goal, tf.float32))
        if term.kind == "probabilities":
            log_goal = tf.math.log(tf.clip_by_value(goal, PROBABILITY_MIN, 1))
            log_output = tf.math.log(tf.clip_by_value(output, PROBABILITY_MIN, 1))
            divergence = tf.reduce_sum(goal * (log_goal - log_output), -1)
            return tf.reduce_mean(divergence) / term.scale
        return tf.reduce_mean(tf.square(output - goal)) / term.scale


def intermediate_loss_weight(tf: Any, loss: Any, progress: Any) -> Any:
    """Return the weight of an intermediate term when a share of the run is done.

    What a site should compute leads the first steps. Later a term whose error stays large would
    hold back outputs that hardly need it: it counts the less, the larger its error is.
    """
    return tf.maximum(0.0, 1 - INTERMEDIATE_DECAY * progress * tf.stop_gradient(loss))
