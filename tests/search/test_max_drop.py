"""Swaps with a limit on what may be lost: kept to, reported, and never silent."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.teacher import images, network

import keras_downswap.calibration.stage as stage_module
import keras_downswap.calibration.stages.distill as distill_stage
import keras_downswap.search.form_search as form_search
from keras_downswap import BadRequest, NothingSwapped, Plan, plan_swaps, swap_downsampling
from keras_downswap.calibration import forms

FEW = 70
"""Images of which so few are left to fit to that nothing is distilled."""


def rules(report: Any) -> list[str | None]:
    return [site.rule for site in report.sites if "conv" in site.layers[0]]


def swapped(model: Any, max_drop: float, **options: Any) -> Any:
    options = {"calibration_data": images(FEW), "verbose": False, "return_report": True} | options
    return swap_downsampling(model, max_drop=max_drop, **options)


def apply(plan: Plan, max_drop: float, data: Any, **options: Any) -> Any:
    return plan.apply(
        return_report=True, calibration_data=data, max_drop=max_drop, verbose=False, **options
    )


def test_a_wide_limit_takes_the_cheapest_forms(K: Any) -> None:
    _, report = swapped(network(K), 0.99)
    assert rules(report) == ["pool_into_stride", "pool_into_stride"]
    assert report.choices.forms == ("same", "same")
    assert (
        "'same' chosen to stay within max_drop=0.99 (alone, before the end-to-end fit: 'same' loses"
        in str(report)
    )
    forms = [[option.form for option in group.options] for group in report.choices.groups]
    assert forms == [["same", "cover", "kept"], ["same", "cover", "wide", "kept"]]
    assert json.loads(report.to_json())["choices"]["trials"][0]["forms"] == ["same", "same"]


def test_no_limit_on_exactness_keeps_everything(K: Any) -> None:
    old = network(K)
    with pytest.warns(
        NothingSwapped,
        match="no form of 2 sites that was tried keeps to max_drop=0; the report says",
    ):
        new, report = swapped(old, 0.0)
    assert rules(report) == [None, None]
    assert all("kept to stay within max_drop=0 (" in site.reason for site in report.sites[:2])
    assert report.calibration is None
    assert np.array_equal(*(np.asarray(model(images(8), training=False)) for model in (new, old)))


CALLS: dict[str, Callable[[Any], Any]] = {
    "swap": lambda model: swap_downsampling(model, method="exact"),
    "swap within a limit": lambda model: swap_downsampling(
        model, calibration_data=images(FEW), max_drop=0.0, verbose=False
    ),
    "plan": lambda model: plan_swaps(model, method="exact").apply(),
    "limit": lambda model: apply(plan_swaps(model), 0.0, images(FEW)),
}


@pytest.mark.parametrize("call", CALLS)
def test_warnings_are_for_the_caller(K: Any, call: str) -> None:
    with pytest.warns(NothingSwapped) as caught:
        CALLS[call](network(K))
    assert {w.filename for w in caught if w.category is NothingSwapped} == {__file__}


def test_forms_are_mixed_and_what_is_returned_holds(
    K: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        forms, "END_TO_END_SHARE", 0.4
    )  # too hopeful here, so that there are several trials
    old = network(K)
    _, widest = swapped(old, 0.99)
    trial = widest.choices.trials[0].drop
    new, report = swapped(old, 0.6 * trial)
    assert report.choices.forms not in [("same", "same"), ("kept", "kept")]
    assert report.calibration.after.drop <= 0.6 * trial
    assert report.choices.trials[-1].drop > 0
    assert len(report.choices.trials) > 1
    assert report.calibration.seconds > 0
    kept = next(t.drop for t in report.choices.trials if t.forms == report.choices.forms)
    assert kept == report.calibration.after.drop
    names = [layer.name for layer in new.layers]
    assert ("pool0" in names) == (report.choices.forms[0] == "kept")


def test_a_trial_is_distilled_where_there_is_enough(
    K: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_search, "TRIAL_STEPS_MIN", 30)
    monkeypatch.setattr(form_search, "TRIAL_STEPS_PER_ROOT_SAMPLE", 1)
    _, report = swapped(network(K), 0.99, calibration_data=images(192))
    assert [stage.name for stage in report.calibration.stages] == [
        "statistics",
        "least_squares",
        "distill",
    ]
    assert report.calibration.stages[-1].note == "30 steps"


def test_sites_that_share_a_layer_take_one_form(K: Any) -> None:
    L = K.layers
    K.utils.set_random_seed(1)
    inputs = [K.Input((12, 12, 3), name=name) for name in "ab"]
    conv, pool, ends = (
        L.Conv2D(6, 3, padding="same", activation="relu", name="conv"),
        L.MaxPooling2D(2),
        [],
    )
    for x in inputs:
        ends.append(L.GlobalAveragePooling2D()(pool(conv(x))))
    model = K.Model(inputs, L.Dense(3)(L.Concatenate()(ends)))
    _, report = swapped(model, 0.99, calibration_data={"a": images(FEW), "b": images(FEW, 1)})
    assert [len(group.layers) for group in report.choices.groups] == [2]
    assert rules(report) == ["pool_into_stride"] * 2


def test_exact_swaps_are_made_whatever_the_limit(K: Any) -> None:
    L = K.layers
    K.utils.set_random_seed(1)
    x = inputs = K.Input((12, 12, 3))
    x = L.AveragePooling2D(2)(L.Conv2D(4, 3, name="conv_mean")(x))
    model = K.Model(inputs, L.Flatten()(x))
    _, report = swapped(model, 0.0)
    assert rules(report) == ["average_pool_into_kernel"]
    assert report.choices is None


def test_the_note_on_few_samples(K: Any) -> None:
    L = K.layers
    inputs = K.Input((12, 12, 3))
    x = L.Flatten()(L.MaxPooling2D(2)(L.Conv2D(4, 3, activation="relu")(inputs)))
    model = K.Model(
        inputs, L.Dense(4, activation="softmax", kernel_initializer=lambda *a, **k: wide(a[0]))(x)
    )
    _, report = swapped(model, 0.9)
    assert report.choices.kinds == ("classes",)
    assert "note" not in str(report.choices)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingSwapped)
        notes = [swapped(model, drop)[1].choices.note for drop in (0.05, 0.001, 0.0)]
    assert notes == [
        "14 held-out samples are few to tell a drop of 5 %: give 200 samples",
        "14 held-out samples are few to tell a drop of 0.1 %: no more than 1024 are held out",
        "14 held-out samples are few to tell a drop of 0 %: no more than 1024 are held out",
    ]


def wide(shape: Any) -> Any:
    return np.random.default_rng(0).normal(size=shape) * 8


def test_a_model_that_makes_no_numbers_cannot_be_measured(K: Any) -> None:
    inputs = K.Input((12, 12, 3))
    x = K.layers.MaxPooling2D(2)(K.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = K.Model(inputs, K.layers.Lambda(argmax, output_shape=(5, 5))(x))
    with pytest.raises(BadRequest, match="no output of the model holds floating-point numbers"):
        swapped(model, 0.5)


def argmax(x: Any) -> Any:
    return tf.argmax(x, -1)


def test_a_limit_on_a_batch_that_is_larger_than_what_is_held_out(K: Any) -> None:
    L = K.layers
    inputs = K.Input(batch_shape=(32, 12, 12, 3))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, activation="relu")(inputs))
    model = K.Model(inputs, L.Dense(3)(L.Flatten()(x)))
    _, report = swapped(model, 0.99, calibration_data=images(96))
    assert report.calibration.held_out == 32
    with pytest.raises(
        BadRequest, match="do not fill one batch of 32, the only size that the model accepts"
    ):
        swapped(model, 0.99, calibration_data=images(40))


def test_time_that_is_up_keeps_everything(K: Any) -> None:
    plan = plan_swaps(network(K))
    with pytest.warns(NothingSwapped):
        _, report = apply(plan, 0.99, images(FEW), budget=1e-6)
    assert rules(report) == [None, None]
    assert "nothing was measured" in report.sites[0].reason


@pytest.mark.parametrize(
    ("module", "at", "trials"),
    [(stage_module, "fit_layers", 0), (distill_stage, "distill", 1)],
    ids=["while a form is measured", "in a trial"],
)
def test_ctrl_c_returns_what_holds(
    K: Any, monkeypatch: pytest.MonkeyPatch, module: Any, at: str, trials: int
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, at, interrupted)
    plan = plan_swaps(network(K))
    _, report = apply(plan, 0.99, images(192)) if trials else kept(plan)
    assert report.choices.interrupted
    assert len(report.choices.trials) == trials
    assert rules(report) == ["pool_into_stride" if trials else None] * 2


def kept(plan: Any) -> Any:
    with pytest.warns(NothingSwapped):
        return apply(plan, 0.99, images(192))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_drop": 1.5}, "expected 0 <= max_drop < 1, received 1.5"),
        ({"max_drop": -0.1}, "expected 0 <= max_drop < 1, received -0.1"),
        ({"max_drop": 0.01}, "expected calibration_data .*, received none"),
        (
            {"max_drop": 0.01, "calibration_data": 1, "method": "copy"},
            "expected method='auto' and form='same', rec",
        ),
        (
            {"max_drop": 0.01, "calibration_data": 1, "form": "cover"},
            "received method='auto' and form='cover'",
        ),
        ({"max_drop": 0.01, "calibration_data": np.zeros((9, 5, 5, 3))}, "expected .*12"),
    ],
)
def test_bad_requests(K: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        swap_downsampling(network(K), **options)
