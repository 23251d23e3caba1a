"""Calibration data split into samples to fit to and held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_downswap.calibration.batching import fixed_batch_size, values_of_shape
from keras_downswap.calibration.data.input_specs import Batch
from keras_downswap.calibration.data.model_inputs import input_specs_of
from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.options import DEFAULTS
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadData
from keras_downswap.ir.graph import Graph

BYTES_OF_VALUE = 8
"""Of a value of an input or an output while the models are compared: float64."""
HELD_OUT_MIN = 16
"""How many samples may be held out of a model however large its outputs are."""


@dataclass(frozen=True)
class SampleSplit:
    """The samples of one calibration.

    Attributes:
        fitting: Those to fit to.
        held_out: Those to choose by, one array for each input.
    """

    fitting: Data
    held_out: Batch

    @classmethod
    def of(
        cls,
        data: Any,
        model: Reading,
        seed: int,
        fraction: float = DEFAULTS.holdout_fraction,
    ) -> SampleSplit:
        """Hold a fraction of the data for a model out.

        Raises:
            BadData: If the data does not fit the model, or is too little.
        """
        whole = Data.of(data, input_specs_of(model))
        batch_size = fixed_batch_size(model.graph) or 1
        if batch_size > 1 and whole.count:
            # At least one full batch is held out, half a sample more against rounding down.
            fraction_of_batch = (batch_size + 0.5) / whole.count
            fraction = min(0.5, max(fraction, fraction_of_batch))
        at_most = max(batch_size, _held_out_max(model.graph))
        fitting, held_out = whole.split(fraction, at_most, seed, DEFAULTS.holdout_samples_min)
        count = len(held_out[0])
        if count < batch_size:
            raise BadData(
                f"{count} samples are held out, which do not fill one batch of {batch_size}, "
                "the only size that the model accepts: give more samples"
            )
        return cls(fitting, held_out)


def _held_out_max(graph: Graph) -> int:
    """Return how many held-out samples fit into memory, with the outputs of the models."""
    values = 0
    for tensor in (*graph.inputs, *graph.outputs):
        values += values_of_shape(graph.tensors[tensor].shape)
    fitting_into_memory = DEFAULTS.holdout_bytes_max // (BYTES_OF_VALUE * values)
    return min(DEFAULTS.holdout_samples_max, max(HELD_OUT_MIN, fitting_into_memory))
