"""What distillation compares: every output, and every tensor where a site ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.evaluation.expected_drop import is_distribution, is_floating
from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.calibration.pairing.trainable import TrainableSet

TensorPair = tuple[TensorRef, TensorRef]
"""A tensor of the new model, and the one of the old model that it should be equal to."""

NEGLIGIBLE_SCALE = 1e-12
"""Below this a tensor hardly varies, and its loss is not divided by its scale."""
PROBABILITY_MIN = 1e-30
"""Keeps logarithms of probabilities finite."""


@dataclass(frozen=True)
class DistillationTerm:
    """One term of the loss: two tensors that should agree.

    Attributes:
        new: The tensor of the new model.
        old: The tensor of the old model.
        kind: `values` (squared error), or `probabilities` along the last axis (divergence).
        is_intermediate: Whether it is a site's, and no output: it counts the less as a run goes on,
            the larger its error is.
        scale: What the loss is divided by: for values the variance of the old model's; for
            probabilities their mean divergence from their mean, where that is less than 1 nat.
    """

    new: TensorRef
    old: TensorRef
    kind: str
    is_intermediate: bool
    scale: float


def distillation_terms(trainable: TrainableSet, batch: Sequence[Any]) -> list[DistillationTerm]:
    """Return what should agree.

    Args:
        trainable: The two models.
        batch: Samples by which scales are measured, one backend tensor for each input.
    """
    old, new = trainable.old, trainable.new
    outputs = _output_pairs(trainable)
    # A site may end in an output: that is one term, the output's.
    wanted = dict.fromkeys([*outputs, *_intermediate_pairs(trainable)])
    new_refs = {new_ref for new_ref, _ in wanted}
    old_refs = {old_ref for _, old_ref in wanted}
    old_values = Interpreter(old, old_refs).run(batch)
    new_values = Interpreter(new, new_refs).run(batch)
    terms = []
    for pair in wanted:
        new_ref, old_ref = pair
        old_value = old.dialect.to_array(old_values[old_ref])
        if not is_floating(old_value):
            continue
        new_value = new.dialect.to_array(new_values[new_ref])
        if new_value.shape != old_value.shape:
            continue
        is_output = pair in outputs
        kind, scale = _kind_and_scale(old_value, is_output)
        terms.append(DistillationTerm(new_ref, old_ref, kind, not is_output, scale))
    return terms


def _output_pairs(trainable: TrainableSet) -> list[TensorPair]:
    new_outputs = trainable.new.graph.outputs
    old_outputs = trainable.old.graph.outputs
    pairs: list[TensorPair] = []
    for new_output, old_output in zip(new_outputs, old_outputs, strict=True):
        new_ref: TensorRef = ((), new_output)
        old_ref: TensorRef = ((), old_output)
        pairs.append((new_ref, old_ref))
    return pairs


def _intermediate_pairs(trainable: TrainableSet) -> list[TensorPair]:
    pairs = [(target.end, target.goal) for target in trainable.sites]
    pairs += [(target.end, target.goal) for target in trainable.pools]
    # Where the work of several layers ends that only one of the models has.
    counterparts = trainable.pairs.tensors
    for end in trainable.pairs.ends:
        if end in counterparts:
            pairs.append((end, counterparts[end]))
    return pairs


def _kind_and_scale(old_value: Any, is_output: bool) -> tuple[str, float]:
    """Return how a term is compared, and what its loss is divided by."""
    exact = old_value.astype(np.float64)
    if is_output and is_distribution(old_value):
        kind = "probabilities"
        # At most 1 nat: answers that differ by more should not count for less.
        scale = min(1.0, _divergence_from_mean(exact))
    else:
        kind = "values"
        deviation = exact - exact.mean(0)
        scale = float(deviation.std() ** 2)
    if scale <= NEGLIGIBLE_SCALE:
        scale = 1.0
    return kind, scale


def _divergence_from_mean(probabilities: Any) -> float:
    """Return the mean Kullback-Leibler divergence of probabilities from their mean, in nats."""
    sample_axes = tuple(range(probabilities.ndim - 1))
    mean = probabilities.mean(sample_axes)
    bounded = np.maximum(probabilities, PROBABILITY_MIN)
    bounded_mean = np.maximum(mean, PROBABILITY_MIN)
    log_ratio = np.log(bounded / bounded_mean)
    divergence = (probabilities * log_ratio).sum(-1)
    return float(divergence.mean())
