"""Fitting without labels: it helps, says what it did, touches nothing else, and fails well."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.teacher import apart, images, network, settled

import keras_downswap.calibration.closed_form.kernel_fit as kernel_fit
import keras_downswap.calibration.distillation.distill as distill
import keras_downswap.calibration.stage as stage_module
import keras_downswap.calibration.stages.distill as distill_stage
from keras_downswap import BadRequest, calibrate, swap_downsampling
from keras_downswap.calibration.closed_form.layerwise import LayerFit
from keras_downswap.calibration.distillation.terms import distillation_terms
from keras_downswap.calibration.distillation.training import intermediate_loss_weight
from keras_downswap.calibration.holdout import SampleSplit
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.dialects import dialect_of, read_model

METHODS = ["statistics", "least_squares", "distill", "auto"]


@pytest.mark.parametrize("kernel", ["same", "cover"])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_brings_the_models_together(K: Any, method: Any, kernel: Any) -> None:
    old = network(K)
    new = swap_downsampling(old, form=kernel)
    before = laws.snapshot_of(old)
    fresh, x = images(64, seed=9), images()
    start = apart(new, old, fresh)
    report = calibrate(new, original=old, data=x, method=method, steps=120, verbose=False)
    laws.assert_untouched(before, old)
    assert (
        apart(new, old, fresh) < {"statistics": 0.9, "least_squares": 0.4}.get(method, 0.3) * start
    )
    assert report.after.relative_error < report.before.relative_error
    assert [stage.name for stage in report.stages] == (
        METHODS[:3] if method == "auto" else [method]
    )
    assert (report.samples, report.held_out, report.interrupted) == (173, 19, False)


def test_it_works_without_batch_normalization_and_on_probabilities(K: Any) -> None:
    old = network(K, norm=False, outputs="softmax")
    new = swap_downsampling(old)
    start = apart(new, old, images(64, 9))
    report = calibrate(new, original=old, data=images(), steps=150, verbose=False)
    assert apart(new, old, images(64, 9)) < 0.3 * start
    assert report.after.same is not None


def test_a_softmax_hides_no_head_from_a_closed_form(K: Any) -> None:
    """Sums in front of a softmax are fitted as those of the same network without one are."""
    chances = []
    for outputs in ("logits", "softmax"):
        old = network(K, outputs=outputs)
        new = swap_downsampling(old)
        report = calibrate(
            new, original=old, data=images(600), method="least_squares", verbose=False
        )
        (head,) = [fit for fit in report.layers if fit.layer == "head"]
        assert head.error < 0.95 * head.start
        powers = (
            np.exp(new(images(64, 9))) if outputs == "logits" else np.asarray(new(images(64, 9)))
        )
        chances.append(powers / powers.sum(-1, keepdims=True))
    assert np.abs(chances[0] - chances[1]).max() < 0.01


def test_one_call_swaps_and_fits(K: Any) -> None:
    old, x = network(K), images()
    new, report = swap_downsampling(old, calibration_data=x, return_report=True, verbose=False)
    plain = swap_downsampling(old)
    assert apart(new, old, x) < 0.2 * apart(plain, old, x)
    assert report.calibration is not None
    assert json.loads(report.to_json())["calibration"]["method"] == "auto"
    for words in (
        "calibrated on 173 samples without labels",
        "site conv0: squared error",
        "distill:",
    ):
        assert words in str(report)


def test_an_exact_swap_needs_no_data(K: Any) -> None:
    L = K.layers
    old = K.Sequential([K.Input((12, 12, 3)), L.Conv2D(4, 3), L.AveragePooling2D(2)])
    _, report = swap_downsampling(old, calibration_data="not read", return_report=True)
    assert report.calibration is None
    report = calibrate(swap_downsampling(old), original=old, data=images(), verbose=False)
    assert {stage.note for stage in report.stages} == {"the models agree already"}


def test_one_seed_gives_one_result(K: Any) -> None:
    old = network(K)
    made = []
    for seed in (1, 1, 2):
        new = swap_downsampling(old)
        calibrate(new, original=old, data=images(), steps=40, seed=seed, verbose=False)
        made.append(np.asarray(new(images(8, 9))))
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 0


def test_a_model_that_was_saved_and_loaded_is_fitted(K: Any, tmp_path: Path) -> None:
    old = network(K)
    swap_downsampling(old).save(tmp_path / "new.keras")
    new = K.models.load_model(tmp_path / "new.keras")
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert report.after.relative_error < 0.3 * report.before.relative_error


def test_sites_inside_nested_models_are_fitted(K: Any) -> None:
    inner, i = network(K), K.Input((12, 12, 3))
    old = K.Model(i, K.layers.Dense(2)(inner(i)))
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert [fit.layer for fit in report.layers] == [
        "pair/conv0",
        "pair/conv1",
        "pair/head",
        "dense",
    ]
    assert all(fit.error < 0.65 * fit.start for fit in report.layers if fit.site)
    assert report.after.relative_error < 0.7 * report.before.relative_error


SITES: dict[str, tuple[tuple[int, ...], Callable[[Any], list[Any]]]] = {
    "one axis": ((32, 3), lambda L: [L.Conv1D(6, 3, activation="relu"), L.MaxPooling1D(2)]),
    "three axes": ((8, 8, 8, 2), lambda L: [L.Conv3D(4, 3, activation="relu"), L.MaxPooling3D(2)]),
    "depthwise": (
        (12, 12, 3),
        lambda L: [L.DepthwiseConv2D(3, depth_multiplier=2), L.ReLU(), L.MaxPooling2D(2)],
    ),
    "separable": (
        (12, 12, 3),
        lambda L: [L.SeparableConv2D(6, 3, activation="relu"), L.MaxPooling2D(2)],
    ),
    "grouped": (
        (12, 12, 4),
        lambda L: [L.Conv2D(6, 3, groups=2, activation="relu"), L.MaxPooling2D(2)],
    ),
    "tanh": ((12, 12, 3), lambda L: [L.Conv2D(6, 3, activation="tanh"), L.MaxPooling2D(2)]),
    "relu in front of a mean": (
        (12, 12, 3),
        lambda L: [L.Conv2D(6, 3, activation="relu"), L.AveragePooling2D(2)],
    ),
    "no bias": (
        (12, 12, 3),
        lambda L: [L.Conv2D(6, 3, use_bias=False), L.ReLU(), L.MaxPooling2D(2)],
    ),
    "pool first": ((12, 12, 3), lambda L: [L.ReLU(), L.MaxPooling2D(2), L.Conv2D(6, 3)]),
    "overlapping": (
        (13, 13, 3),
        lambda L: [L.Conv2D(6, 3, activation="relu"), L.MaxPooling2D(3, 2, padding="same")],
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_sites_of_every_kind_are_fitted_in_closed_form(K: Any, name: str) -> None:
    K.utils.set_random_seed(5)
    shape, layers = SITES[name]
    old = K.Sequential([K.Input(shape), *layers(K.layers)])
    new = swap_downsampling(old, method="copy")
    x = images(96, shape=shape)
    report = calibrate(new, original=old, data=x, method="least_squares", verbose=False)
    (fit,) = [fit for fit in report.layers if fit.site]
    assert fit.error < (0.99 if name == "depthwise" else 0.8) * fit.start
    assert report.after.relative_error < report.before.relative_error


def test_several_inputs_and_outputs(K: Any) -> None:
    L = K.layers
    a, b = K.Input((16, 3), name="a"), K.Input((4,), name="b")
    x = L.GlobalAveragePooling1D()(
        L.MaxPooling1D(2)(L.Conv1D(6, 3, activation="relu", name="conv")(a))
    )
    old = K.Model(
        [a, b],
        {"one": L.Dense(3, name="one")(L.Concatenate()([x, b])), "two": L.Dense(2, name="two")(x)},
    )
    new = swap_downsampling(old)
    data = {"b": np.ones((128, 4), np.float32), "a": images(128, shape=(16, 3))}
    report = calibrate(new, original=old, data=data, steps=60, verbose=False)
    assert report.after.relative_error < 0.3 * report.before.relative_error
    with pytest.raises(BadRequest, match="expected the inputs a, b; received a"):
        calibrate(new, original=old, data={"a": data["a"]}, verbose=False)


def residual(L: Any, x: Any) -> Any:
    """A shortcut with a kernel of its own, and a block that runs behind it."""
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False, name="last")(y))
    return L.ReLU()(L.Add()([L.Conv2D(8, 1, name="shortcut")(x), y]))


def fire(L: Any, x: Any) -> Any:
    """A squeeze, and two kernels side by side."""
    y = L.Conv2D(4, 1, activation="relu")(x)
    sides = [
        L.Conv2D(6, n, padding="same", activation="relu", name=f"expand{n}")(y) for n in (1, 3)
    ]
    return L.Concatenate()(sides)


@pytest.mark.parametrize(
    ("block", "sites", "others"),
    [(residual, ["last"], ["shortcut"]), (fire, ["expand1", "expand3"], [])],
)
def test_sites_behind_joins_are_fitted_in_closed_form(
    K: Any, block: Any, sites: list[str], others: list[str]
) -> None:
    K.utils.set_random_seed(4)
    L, i = K.layers, K.Input((12, 12, 3))
    x = L.GlobalAveragePooling2D()(L.MaxPooling2D(2)(block(L, i)))
    old = K.Model(i, L.Dense(5)(x))
    settled(old)
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert [fit.layer for fit in report.layers if fit.site] == sites
    assert all(fit.error < 0.7 * fit.start for fit in report.layers if fit.site)
    assert [note.partition(":")[0] for note in report.notes] == others
    start = apart(swap_downsampling(old), old, images(64, 9))
    assert apart(new, old, images(64, 9)) < 0.4 * start


def test_what_cannot_be_met_inside_counts_for_less_as_a_run_goes_on() -> None:
    error = tf.Variable(0.1)
    counts = {
        (loss, done): loss * float(intermediate_loss_weight(tf, tf.constant(loss), done))
        for loss in (0.1, 0.5)
        for done in (0, 0.5, 1)
    }
    assert counts == pytest.approx(
        {(0.1, 0): 0.1, (0.1, 0.5): 0.08, (0.1, 1): 0.06, (0.5, 0): 0.5, (0.5, 0.5): 0, (0.5, 1): 0}
    )
    with tf.GradientTape() as tape:
        loss = 1.0 * error
        part = loss * intermediate_loss_weight(tf, loss, 1.0)
    assert float(tape.gradient(part, error)) == pytest.approx(0.6), (
        "the weight itself is no way to lower the loss"
    )


@pytest.mark.parametrize(("sums", "scale"), [(0.0, 1.0), (0.01, 1e-4), (50.0, 1.0)])
def test_faint_probabilities_count_in_full_and_constant_ones_are_left(
    K: Any, sums: float, scale: float
) -> None:
    """Divided by how much they differ from their mean, where that is less than 1 nat."""
    L, i = K.layers, K.Input((12, 12, 3))
    x = L.GlobalAveragePooling2D()(L.MaxPooling2D(2)(L.Conv2D(8, 3, activation="relu")(i)))
    head = L.Dense(8, activation="softmax", use_bias=False)
    old = K.Model(i, head(L.BatchNormalization()(x)))
    settled(old)
    head.set_weights([np.eye(8) * sums])
    reading, new = (read_model(model) for model in (old, swap_downsampling(old)))
    x = [tf.constant(images())]
    first, *inside = distillation_terms(TrainableSet.of(reading, new, True, x), x)
    assert (first.kind, first.is_intermediate, [term.is_intermediate for term in inside]) == (
        "probabilities",
        False,
        [True],
    )
    assert 0.2 * scale <= first.scale <= scale


def test_two_layers_beside_one_tensor_are_fitted(K: Any) -> None:
    K.utils.set_random_seed(4)
    L, i = K.layers, K.Input((12, 12, 3))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, activation="relu", padding="same", name="first")(i))
    sides = L.Concatenate()([L.Conv2D(2, n, padding="same", name=f"side{n}")(x) for n in (1, 3)])
    old = K.Model(i, L.Conv2D(3, 1, name="head")(L.Activation("tanh")(L.Add()([x, sides]))))
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert [fit.layer for fit in report.layers] == ["first", "side1", "side3", "head"]
    assert report.after.relative_error < 0.5 * report.before.relative_error


def segments(K: Any) -> Any:
    """A U-Net: each position a class, and both pools' inputs read further up too."""
    L = K.layers
    x = i = K.Input((16, 16, 3))
    seen = []
    for filters in (6, 10):
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
        seen.append(x)
        x = L.MaxPooling2D(2)(x)
    x = L.Conv2D(12, 3, padding="same", activation="relu")(x)
    for skip in reversed(seen):
        x = L.Concatenate()([L.UpSampling2D(2)(x), skip])
        x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    return K.Model(i, L.Conv2D(4, 1, activation="softmax", kernel_initializer="random_normal")(x))


def embeds(K: Any) -> Any:
    """Vectors of length 1."""
    L = K.layers
    x = i = K.Input((16, 16, 3))
    for filters in (6, 10):
        x = L.MaxPooling2D(2)(L.Conv2D(filters, 3, padding="same", activation="relu")(x))
    return K.Model(i, L.UnitNormalization()(L.Dense(8)(L.GlobalMaxPooling2D()(x))))


def reconstructs(K: Any) -> Any:
    """An autoencoder of series."""
    L = K.layers
    x = i = K.Input((32, 2))
    x = L.MaxPooling1D(2)(L.Conv1D(8, 5, padding="same", activation="tanh")(x))
    x = L.MaxPooling1D(2)(L.Conv1D(8, 5, padding="same", activation="tanh")(x))
    x = L.Conv1DTranspose(8, 4, strides=4, padding="same", activation="tanh")(x)
    return K.Model(i, L.Conv1D(2, 5, padding="same")(x))


@pytest.mark.parametrize("make", [segments, embeds, reconstructs])
@pytest.mark.parametrize("to", ["strided_conv", "average_pool"])
def test_networks_that_classify_nothing_are_fitted(
    K: Any, make: Callable[[Any], Any], to: Any
) -> None:
    K.utils.set_random_seed(2)
    old = make(K)
    new, swaps = swap_downsampling(old, to=to, return_report=True)
    assert [site.promise for site in swaps.sites if site.status == "swapped"] == ["approximate"] * 2
    shape = old.input_shape[1:]
    closed = calibrate(
        new, original=old, data=images(160, 0, shape), method="least_squares", verbose=False
    )
    assert closed.after.relative_error < 0.7 * closed.before.relative_error
    report = calibrate(
        new, original=old, data=images(160, 0, shape), method="distill", steps=160, verbose=False
    )
    start = apart(swap_downsampling(old, to=to), old, images(48, 9, shape))
    assert apart(new, old, images(48, 9, shape)) < 0.5 * start
    assert report.after.kinds == (("numbers",) if make is not segments else report.after.kinds)


def test_labels_are_ignored_and_streams_are_streamed(K: Any) -> None:
    old = network(K)
    stream = tf.data.Dataset.from_tensor_slices((images(), np.zeros(192))).batch(50)
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=stream, steps=30, verbose=False)
    assert report.samples == 173, "the end of so short a stream was seen"
    assert "a stream of samples" in str(replace(report, samples=None))
    assert report.after.relative_error < 0.5 * report.before.relative_error


def weights_of(model: Any, name: str) -> list[Any]:
    return [np.array(w) for w in model.get_layer(name).get_weights()]


def test_frozen_layers_stay_unless_they_are_part_of_a_site(K: Any) -> None:
    old = network(K)
    for name in ("head", "conv0", "bn0", "bn1"):
        old.get_layer(name).trainable = False
    new = swap_downsampling(old)
    before = {name: weights_of(new, name) for name in ("head", "conv0", "conv1")}
    report = calibrate(new, original=old, data=images(), steps=30, verbose=False)
    same = {name: all(map(np.array_equal, before[name], weights_of(new, name))) for name in before}
    assert same == {"head": True, "conv0": False, "conv1": False}
    assert any(
        note.startswith("conv0 is frozen, and is fitted nevertheless") for note in report.notes
    )
    assert not new.get_layer("conv0").trainable


def test_in_the_scope_of_sites_nothing_else_moves(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old, include=["conv1"])
    before = {name: weights_of(new, name) for name in ("conv0", "bn0", "conv1", "head")}
    calibrate(new, original=old, data=images(), scope="sites", steps=30, verbose=False)
    moved = [
        name for name in before if not all(map(np.array_equal, before[name], weights_of(new, name)))
    ]
    assert moved == ["conv1"]


@pytest.mark.parametrize(("count", "held"), [(3, 1), (8, 2), (16, 4), (33, 8), (80, 8), (200, 20)])
def test_a_few_samples_are_held_out_at_least(K: Any, count: int, held: int) -> None:
    model = network(K)
    x = np.resize(images(), (count, *images().shape[1:]))
    for source in (x, lambda: (x[i : i + 5] for i in range(0, count, 5))):
        samples = SampleSplit.of(source, read_model(model), 0)
        assert (len(samples.held_out[0]), samples.fitting.count) == (held, count - held)


def test_too_little_data_falls_back_and_says_so(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old, form="cover")
    report = calibrate(new, original=old, data=images(8), verbose=False)
    notes = [fit.note for fit in report.layers]
    assert any("rows are too few for" in note for note in notes)
    assert report.stages[-1].note == "6 samples are too few: 64 are needed"
    assert report.after.relative_error <= report.before.relative_error


def nan(x: Any) -> Any:
    x = x.copy()
    x[3, 2, 1, 0] = np.nan
    return x


BAD = {
    "not a number": (lambda x: nan(x), "'image'.*sample index 3"),
    "other shape": (lambda x: x[:, :10], r"'image'.*\(None, 12, 12, 3\).*10"),
    "empty": (lambda x: x[:0], "."),
    "one sample": (lambda x: x[:1], "2"),
    "no data": (lambda x: 3, "."),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_is_refused_and_changes_nothing(K: Any, what: str) -> None:
    old = network(K)
    new = swap_downsampling(old)
    before = [np.array(w) for w in new.get_weights()]
    spoil, words = BAD[what]
    with pytest.raises(BadRequest, match=words):
        calibrate(new, original=old, data=spoil(images()), verbose=False)
    assert all(map(np.array_equal, before, new.get_weights()))


def test_bad_requests_are_refused(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old)
    with pytest.raises(BadRequest, match="unknown method='best'"):
        calibrate(new, original=old, data=images(), method="best")  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="unknown scope='none'"):
        calibrate(new, original=old, data=images(), scope="none")  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="received one model twice"):
        calibrate(old, original=old, data=images())
    with pytest.raises(BadRequest, match="the outputs of the models differ"):
        calibrate(new, original=K.Model(old.input, old.get_layer("gap").output), data=images())
    with pytest.raises(BadRequest, match="unknown form='big'"):
        swap_downsampling(old, form="big")  # type: ignore[call-overload]


def test_ctrl_c_keeps_the_best_state(K: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old = network(K)
    new = swap_downsampling(old)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(distill_stage, "distill", interrupted)
    report = calibrate(new, original=old, data=images(), verbose=False)
    assert report.interrupted
    assert "interrupted: the best state until then is kept" in str(report)
    assert apart(new, old, images()) < 0.5 * apart(swap_downsampling(old), old, images())


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """What presses Ctrl-C; the signal is heard, even where the parent process has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_between_two_steps_keeps_the_best_state(
    K: Any, monkeypatch: pytest.MonkeyPatch, ctrl_c: Callable[[], None]
) -> None:
    old, rates, calls = network(K), distill.learning_rates, itertools.count(1)

    def pressed(done: float) -> Any:
        if next(calls) == 25:
            ctrl_c()
        return rates(done)

    monkeypatch.setattr(distill, "learning_rates", pressed)
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(), steps=100, verbose=False)
    assert report.interrupted
    assert [(stage.name, stage.note) for stage in report.stages][-1] == ("distill", "24 steps")
    assert report.after.relative_error <= min(
        stage.agreement.relative_error for stage in report.stages if stage.agreement
    )
    assert apart(new, old, images()) < 0.5 * apart(swap_downsampling(old), old, images())


@pytest.mark.parametrize("layer", [0, 1])
def test_ctrl_c_between_two_layers_leaves_the_model_as_it_was(
    K: Any, monkeypatch: pytest.MonkeyPatch, ctrl_c: Callable[[], None], layer: int
) -> None:
    old, solve, calls = network(K), kernel_fit.KernelFit.fit_layer, itertools.count()

    def pressed(self: Any, *args: Any) -> Any:
        if next(calls) == layer:
            ctrl_c()
        return solve(self, *args)

    monkeypatch.setattr(kernel_fit.KernelFit, "fit_layer", pressed)
    new = swap_downsampling(old)
    before = [np.array(weight) for weight in new.get_weights()]
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert (report.interrupted, report.stages, report.layers) == (True, (), ())
    assert all(map(np.array_equal, before, new.get_weights()))


def test_a_fit_that_spoils_is_taken_back(K: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old = network(K)
    new = swap_downsampling(old)
    before = [np.array(w) for w in new.get_weights()]

    def spoiled(old: Any, new: Any, *args: Any, **kwargs: Any) -> list[Any]:
        new.model.get_layer("head").kernel.assign(np.full((12, 5), 9.0))
        return []

    monkeypatch.setattr(stage_module, "fit_layers", spoiled)
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert (report.stages[0].kept, report.after) == (False, report.before)
    assert all(map(np.array_equal, before, new.get_weights()))


def test_a_budget_that_ends_before_the_first_step_is_kept_to(
    K: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    distillation_terms = distill_stage.distillation_terms
    monkeypatch.setattr(
        distill_stage, "distillation_terms", lambda *a: (time.sleep(2), distillation_terms(*a))[1]
    )
    old = network(K)
    report = calibrate(
        swap_downsampling(old),
        original=old,
        data=images(),
        method="distill",
        budget=2,
        verbose=False,
    )
    assert [stage.note for stage in report.stages] == ["the time is up"]


def test_a_network_for_texts_is_distilled_its_embedding_too(K: Any) -> None:
    K.utils.set_random_seed(5)
    L = K.layers
    words = K.Input((24,), dtype="int32")
    x = L.Conv1D(12, 3, activation="relu")(L.Embedding(40, 8, name="words")(words))
    x = L.GlobalAveragePooling1D()(L.MaxPooling1D(2)(x))
    old = K.Model(words, L.Dense(3)(x))
    texts = np.random.default_rng(0).integers(0, 40, (256, 24)).astype(np.int32)
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=texts, method="distill", steps=60, verbose=False)
    assert report.after.relative_error < 0.5 * report.before.relative_error
    tables = [np.asarray(model.get_layer("words").get_weights()[0]) for model in (old, new)]
    assert 0 < np.abs(tables[0] - tables[1]).max() < 0.05


def test_an_extra_convolution_is_fitted(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old, to="extra_conv")
    start = apart(new, old, images(64, 9))
    before = new.get_layer("pool0").get_weights()[0]
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert {"pool0", "pool1"} <= {fit.layer for fit in report.layers if fit.site}
    assert apart(new, old, images(64, 9)) < 0.5 * start
    assert np.abs(new.get_layer("pool0").get_weights()[0] - before).max() > 0.01


def test_what_least_squares_says_of_its_layers_stays_where_it_does_not_help(
    K: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = LayerFit("conv0", True, 0.5, 0.5, "too few rows")
    monkeypatch.setattr(stage_module, "fit_layers", lambda *a: [fit])
    old = network(K)
    report = calibrate(
        swap_downsampling(old), original=old, data=images(), method="least_squares", verbose=False
    )
    assert (report.layers, report.notes) == ((), ("conv0: too few rows",))


def test_a_budget_ends_it(K: Any) -> None:
    old = network(K)
    report = calibrate(
        swap_downsampling(old), original=old, data=images(), budget=1e-3, verbose=False
    )
    assert {stage.note for stage in report.stages} == {"the time is up"}


def test_mixed_precision_is_fitted(K: Any) -> None:
    K.mixed_precision.set_global_policy("mixed_float16")
    try:
        old = network(K)
    finally:
        K.mixed_precision.set_global_policy("float32")
    new = swap_downsampling(old)
    assert dialect_of(new).policy(new.get_layer("conv0")).name == "mixed_float16"
    report = calibrate(new, original=old, data=images(), steps=60, verbose=False)
    assert report.after.relative_error < 0.5 * report.before.relative_error


def test_what_is_found_wrong_on_the_way_is_taken_back_too(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old)
    before = [np.array(w) for w in new.get_weights()]
    x = images(400)
    passes = []

    def stream() -> Any:
        passes.append(1)
        yield x[:300]
        yield nan(x[300:]) if len(passes) > 3 else x[300:]

    with pytest.raises(BadRequest, match="'image'"):
        calibrate(new, original=old, data=stream, steps=30, verbose=False)
    assert all(map(np.array_equal, before, new.get_weights()))


def test_a_model_of_one_batch_size_is_fed_such_batches(K: Any) -> None:
    L = K.layers
    i = (
        K.Input(batch_shape=(6, 12, 12, 3))
        if K.__name__ == "keras"
        else K.Input((12, 12, 3), batch_size=6)
    )
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, activation="relu", name="conv")(i))
    old = K.Model(i, L.Dense(2)(L.Flatten()(x)))
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(130), steps=30, verbose=False)
    assert report.after.relative_error < 0.7 * report.before.relative_error
    with pytest.raises(BadRequest, match="do not fill one batch of 6"):
        calibrate(new, original=old, data=images(11), verbose=False)


def test_samples_of_several_sizes_are_fitted(K: Any) -> None:
    L = K.layers
    i = K.Input((None, None, 3))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same", activation="relu", name="conv")(i))
    old = K.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    new = swap_downsampling(old)
    sizes = [images(40, seed, (size, size, 3)) for seed, size in enumerate((12, 12, 15, 16))]
    report = calibrate(new, original=old, data=sizes, method="distill", steps=60, verbose=False)
    assert report.after.relative_error < 0.5 * report.before.relative_error


def test_outputs_that_are_no_numbers_are_refused(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    y = L.MaxPooling2D(2)(L.Conv2D(4, 3)(i))
    old = K.Model(i, L.Lambda(lambda t: tf.argmax(t, -1), output_shape=(5, 5), dtype="int64")(y))
    with pytest.raises(BadRequest, match="nothing to compare by"):
        calibrate(swap_downsampling(old), original=old, data=images(), verbose=False)


def test_a_frozen_normalization_behind_a_layer_that_is_no_site_stays(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    x = L.MaxPooling2D(2)(L.Conv2D(6, 3, padding="same", activation="relu", name="site")(i))
    x = L.BatchNormalization(name="frozen")(L.Conv2D(6, 3, use_bias=False, name="behind")(x))
    old = K.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(x))))
    settled(old)
    old.get_layer("frozen").trainable = False
    new = swap_downsampling(old)
    before = {name: weights_of(new, name) for name in ("frozen", "behind")}
    calibrate(new, original=old, data=images(), steps=30, verbose=False)
    same = {name: all(map(np.array_equal, before[name], weights_of(new, name))) for name in before}
    assert same == {"frozen": True, "behind": False}


def test_where_nothing_may_move_nothing_is_trained(K: Any) -> None:
    old = network(K)
    for layer in old.layers:
        layer.trainable = layer.name == "head"
    new = swap_downsampling(old, to="average_pool")
    report = calibrate(
        new, original=old, data=images(), method="distill", scope="sites", verbose=False
    )
    assert [stage.note for stage in report.stages] == ["no layer may be trained"]
