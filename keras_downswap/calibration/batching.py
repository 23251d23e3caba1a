"""How many samples run through a model at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.options import DEFAULTS
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadData
from keras_downswap.ir.graph import Graph

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that suit one model, in samples.

    Attributes:
        fixed: The only size that the model accepts; None where it accepts any.
        inference: The size where nothing is trained.
        training: The size of a training step.
        largest_tensor_bytes: Bytes of the largest tensor of the model for one sample.
    """

    fixed: int | None
    inference: int
    training: int
    largest_tensor_bytes: int

    @classmethod
    def of(cls, graph: Graph) -> BatchSizes:
        """Return the sizes for a model, given its graph."""
        largest = FLOAT32_BYTES * _largest_tensor_values(graph)
        fixed = fixed_batch_size(graph)
        if fixed is not None:
            return cls(fixed, fixed, fixed, largest)
        inference = np.clip(
            DEFAULTS.inference_tensor_bytes_max // largest,
            DEFAULTS.inference_samples_min,
            DEFAULTS.batch_samples_max,
        )
        training = np.clip(
            DEFAULTS.training_tensor_bytes_max // largest,
            DEFAULTS.training_samples_min,
            DEFAULTS.batch_samples_max,
        )
        return cls(None, int(inference), int(training), largest)


def fixed_batch_size(graph: Graph) -> int | None:
    """Return the only batch size that a model accepts; None where it accepts any."""
    for tensor in graph.inputs:
        shape = graph.tensors[tensor].shape
        if shape and shape[0] is not None:
            return shape[0]
    return None


def tensor_batches(arrays: Sequence[Any], model: Reading, sizes: BatchSizes) -> list[list[Any]]:
    """Return samples as batches of backend tensors.

    Args:
        arrays: One array for each input, samples first.
        model: The model that they are for.
        sizes: Its batch sizes. With a fixed one, samples that do not fill a batch are left out.

    Raises:
        BadData: If there is not one full batch of the only size that the model accepts.
    """
    size = sizes.inference
    count = len(arrays[0])
    if sizes.fixed is not None:
        count = count // size * size
    if count == 0:
        raise BadData(
            f"{len(arrays[0])} samples do not fill one batch of {size}, "
            "the only size that the model accepts: give more samples"
        )
    batches = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        batches.append([model.dialect.to_tensor(array[start:stop]) for array in arrays])
    return batches


def values_of_shape(shape: Sequence[int | None]) -> int:
    """Return how many values one sample has in a tensor, given its shape with the batch axis."""
    lengths = [length or DEFAULTS.unknown_length for length in shape[1:]]
    return math.prod(lengths)


def _largest_tensor_values(graph: Graph) -> int:
    """Return how many values one sample has in the largest tensor, nested models included."""
    sizes = [values_of_shape(tensor.shape) for tensor in graph.tensors]
    for call in graph.calls:
        if call.nested_graph is None:
            continue
        inner = _largest_tensor_values(call.nested_graph)
        if call.wrapped is not None:
            # A TimeDistributed layer runs the model on all steps of time at once, as samples.
            inner *= graph.times(call) or DEFAULTS.unknown_length
        sizes.append(inner)
    return max(sizes)
