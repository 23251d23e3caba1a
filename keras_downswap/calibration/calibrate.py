"""`calibrate`: a swapped model is fitted to the original, from inputs without labels."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

from keras_downswap.calibration.holdout import SampleSplit
from keras_downswap.calibration.old_spelling import accepts_old_spelling
from keras_downswap.calibration.options import CalibrationOptions
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.calibration.run import run_calibration
from keras_downswap.calibration.stages import AUTO, stages_of
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Graph


@accepts_old_spelling
def calibrate(
    new: Any,
    *,
    original: Any,
    data: Any,
    method: str = AUTO,
    scope: Literal["all", "sites"] = "all",
    seed: int = 0,
    steps: int | None = None,
    budget: float | None = None,
    verbose: bool = True,
) -> CalibrationReport:
    """Fit a swapped model, in place, to what the original computes, from inputs without labels.

    Args:
        new: The swapped model, which is changed; saved and loaded again will do, as long as its
            layers have the names the swap gave them.
        original: The model that was swapped; it is not changed.
        data: Inputs of the models: an array, a list or dict of arrays for several inputs, a
            tf.data.Dataset, a Sequence or PyDataset, or any iterable of batches. Labels are
            ignored. Streams are read batch by batch.
        method: `auto` runs every stage in turn and keeps what agrees best with the original on
            held-out samples. The name of a stage runs that one: `statistics` (BatchNormalization
            statistics, or a scale and an offset for each channel), `least_squares` (one closed-form
            fit for each layer) or `distill` (end to end).
        scope: `all` trains every trainable layer, `sites` only those that downsample otherwise.
        seed: Of everything that is drawn. One seed gives one result, on one machine and without a
            budget.
        steps: Steps of distillation; None for 24 times the root of the number of samples, at least
            400.
        budget: Seconds after which to be done, about; None for no limit.
        verbose: Whether to show progress on stderr.

    Returns:
        What was done. Where nothing agreed better than the start, the new model is as it was.

    Raises:
        UnreadableModel: If either is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown, or the data does not fit the model; nothing is
            changed then.
    """
    stages_of(method)  # refuses an unknown method before anything is read
    if scope not in ("all", "sites"):
        raise BadRequest(f"unknown scope={scope!r}: expected one of all, sites")
    began = time.perf_counter()
    old_reading = read_model(original)
    new_reading = read_model(new)
    _check_comparable(old_reading, new_reading)
    samples = SampleSplit.of(data, new_reading, seed)
    deadline = math.inf if budget is None else began + budget
    options = CalibrationOptions(method, scope == "all", seed, steps, deadline, began)
    with Bar(verbose) as bar:
        return run_calibration(new_reading, old_reading, samples, options, bar)


def _check_comparable(old: Reading, new: Reading) -> None:
    """Refuse two models that cannot be compared.

    Raises:
        BadRequest: If they are one model, of two Kerases, or differ in their inputs or outputs.
    """
    if old.model is new.model:
        raise BadRequest(
            "calibrate compares the swapped model with the original: received one model twice"
        )
    if old.dialect is not new.dialect:
        raise BadRequest(
            f"both models must be of one Keras; received {new.dialect.root} and {old.dialect.root}"
        )
    for what in ("inputs", "outputs"):
        expected = _shapes(old.graph, what)
        received = _shapes(new.graph, what)
        if expected != received:
            raise BadRequest(
                f"the {what} of the models differ: expected shapes {expected} as the original has, "
                f"received {received}; give a model that swap_downsampling made of the original"
            )


def _shapes(graph: Graph, what: str) -> list[tuple[int | None, ...]]:
    tensors = graph.inputs if what == "inputs" else graph.outputs
    return [graph.tensors[tensor].shape for tensor in tensors]
