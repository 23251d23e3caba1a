"""The statistics of BatchNormalization after a swap, measured anew.

Each layer's are those of its input in the new model with all earlier layers done, over all samples
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_downswap.calibration.closed_form.layerwise import LayerFit, LayerFitter
from keras_downswap.calibration.execution.interpreter import CallRef
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call
from keras_downswap.ir.types import Array


class BatchNormReestimation(LayerFitter):
    """A BatchNormalization layer that gets the mean and variance of its inputs."""

    def __init__(self, new: Reading, call_ref: CallRef, name: str, call: Call) -> None:
        """Note the layer, by its call."""
        super().__init__(call_ref, name, None)
        self.dialect = new.dialect
        self.axis = -1 if call.axis is None else call.axis
        self.merges_time = call.wrapped is not None
        layer = new.layers[call.layer]
        self.layer = new.dialect.unwrapped(layer)

    def fit_layer(
        self, inputs: Sequence[Array], side_values: Sequence[Sequence[Array]]
    ) -> list[LayerFit]:
        """Give the layer its statistics."""
        mean, variance = moments(inputs, self.axis)
        self.dialect.assign(self.layer.moving_mean, mean)
        self.dialect.assign(self.layer.moving_variance, variance)
        return []


def moments(batches: Sequence[Any], axis: int) -> tuple[Any, Any]:
    """Return mean and variance of each channel over all batches, summed in float64."""
    count = 0
    total: Any = 0.0
    for batch in batches:
        rows = _channels_as_columns(batch, axis)
        count += len(rows)
        total = total + rows.sum(0, dtype=np.float64)
    mean = total / count
    # In a second pass: the mean of squares minus the square of the mean would cancel.
    squares: Any = 0.0
    for batch in batches:
        rows = _channels_as_columns(batch, axis)
        squared = np.square(rows - mean, dtype=np.float64)
        squares = squares + squared.sum(0)
    return mean, squares / count


def _channels_as_columns(batch: Any, axis: int) -> Any:
    channels = batch.shape[axis]
    return np.moveaxis(batch, axis, -1).reshape(-1, channels)
