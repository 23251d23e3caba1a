"""Every trap of the zoo is fitted, or the report says why not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.laws import assert_same_boundary, bits, sample_for
from support.model_zoo import ZOO

from keras_downswap import Report, calibrate, swap_downsampling
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.errors import BadRequest

FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"to": "average_pool"},
    {"to": "max_pool"},
    {"to": "blur_pool"},
)
SAMPLES = 80
STAY = {
    "frozen": "no layer may be trained",
    "average_of_two_depths": "no layer may be trained",
    "average_of_a_volume": "no layer may be trained",
    "average_of_rows_first": "no layer may be trained",
}
"""Models of which nothing comes nearer, and what the last stage says of it."""


def samples_for(model: Any) -> Any:
    """Samples in the structure of the model's inputs, dense, as many as several fixed batches."""

    def joined(*parts: Any) -> Any:
        dense = [part if isinstance(part, tf.Tensor) else _dense(part) for part in parts]
        return np.concatenate([part.numpy() for part in dense])

    return tf.nest.map_structure(
        joined, *(sample_for(model, batch=2, seed=seed) for seed in range(SAMPLES // 2))
    )


def _dense(value: Any) -> Any:
    return value.to_tensor() if isinstance(value, tf.RaggedTensor) else tf.sparse.to_dense(value)


def swapped(model: Any) -> tuple[Any, Report]:
    """Swap by the first form that approximates something; by the last one where none does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for form in FORMS:
            new, report = swap_downsampling(model, return_report=True, **form)
            if any(site.promise == "approximate" for site in report.sites):
                break
    return new, report


def assert_fitted(report: CalibrationReport, approximate: bool, stays: str = "") -> None:
    """Nothing got worse; what an approximate swap changed came nearer; all numbers were finite."""
    assert report.before.relative_error <= 1e-9 or approximate, (
        "an exact swap changed what the model makes"
    )
    stages = [
        stage.agreement.relative_error for stage in report.stages if stage.agreement is not None
    ]
    assert all(map(np.isfinite, stages)), stages
    assert report.after.relative_error <= min([report.before.relative_error, *stages])
    if stays:
        assert stays in report.stages[-1].note
        assert not any(stage.kept for stage in report.stages)
    elif report.before.relative_error > 1e-9:
        assert report.after.relative_error < report.before.relative_error, str(report)


@pytest.mark.parametrize("name", ZOO)
def test_every_trap_is_fitted(name: str, K: Any) -> None:
    old = ZOO[name](K)
    new, report = swapped(old)
    weights = [bits(weight) for weight in old.weights]
    if name == "maximum_of_integers":
        with pytest.raises(BadRequest, match="no output of the model holds floating-point numbers"):
            calibrate(new, original=old, data=samples_for(old), verbose=False)
        return
    made = calibrate(
        new, original=old, data=samples_for(old), steps=100 if name == "seeds" else 4, verbose=False
    )
    assert_fitted(
        made, any(site.promise == "approximate" for site in report.sites), STAY.get(name, "")
    )
    assert [bits(weight) for weight in old.weights] == weights, "the original was changed"
    assert_same_boundary(old, new)
