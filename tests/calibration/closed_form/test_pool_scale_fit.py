"""A scale and an offset in front of a pool of another kind: found where there are some, and never
for the worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.teacher import apart, images, network

from keras_downswap import calibrate, swap_downsampling
from keras_downswap.calibration.closed_form.pool_scale_fit import PoolScaleProblem
from keras_downswap.ir.types import Array

SCALE, OFFSET = np.array([1.7, 0.4, 1.1]), np.array([0.3, -0.2, 0.0])
HOLDOUT_ROWS = 60
pytestmark = pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")


def identity(z: Array) -> Array:
    return z


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def problem(
    activation: Callable[[Array], Array], largest: bool, **changes: Any
) -> PoolScaleProblem:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(300, 4, 3)).astype(np.float32)
    inside = rng.random((300, 4)) < 0.8
    inside[:, 0] = True
    given = {"intercept": True, "holdout_rows": HOLDOUT_ROWS, "slope_step": 0.01} | changes
    found = PoolScaleProblem(made, inside, np.zeros((300, 3)), activation, largest, **given)
    found.goal = found.pooled(SCALE, OFFSET)
    return found


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("activation", [identity, relu, np.tanh])
def test_a_scale_and_an_offset_are_found(
    activation: Callable[[Array], Array], largest: bool
) -> None:
    best = problem(activation, largest).solve()
    np.testing.assert_allclose(best.scale, SCALE, atol=0.03)
    np.testing.assert_allclose(best.offset, OFFSET, atol=0.03)
    assert best.error < 1e-3 < best.start


def test_a_mean_is_over_what_is_inside() -> None:
    one = problem(identity, False)
    for row in (0, 7, 100):
        taken = one.sums[row][one.inside[row]]
        np.testing.assert_allclose(
            one.pooled(np.ones(3), np.zeros(3))[row], taken.mean(0), rtol=1e-5
        )
    other = problem(identity, True)
    np.testing.assert_array_equal(
        other.pooled(np.ones(3), np.zeros(3))[7], other.sums[7][other.inside[7]].max(0)
    )


def test_without_an_intercept_there_is_a_scale_alone() -> None:
    one = problem(identity, False, intercept=False)
    best, means = one.solve(), one.pooled(np.ones(3), np.zeros(3))[:-HOLDOUT_ROWS]
    np.testing.assert_array_equal(best.offset, 0)
    np.testing.assert_allclose(
        best.scale, (means * one.goal[:-HOLDOUT_ROWS]).sum(0) / (means**2).sum(0), rtol=0.01
    )


def test_what_held_out_rows_do_not_confirm_stays() -> None:
    one = problem(identity, False)
    start = one.pooled(np.ones(3), np.zeros(3))
    one.goal[-HOLDOUT_ROWS:, 1] = start[-HOLDOUT_ROWS:, 1]
    best = one.solve()
    assert (best.scale[1], best.offset[1]) == (1, 0)
    np.testing.assert_allclose(best.scale[[0, 2]], SCALE[[0, 2]], atol=0.03)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_what_is_not_finite_or_never_moves_stays(spoilt: float) -> None:
    one = problem(relu, False)
    one.sums[5, 0, 0] = spoilt
    one.sums[:, :, 2] = -50
    with np.errstate(invalid="ignore"):
        best = one.solve()
    assert (best.scale[0], best.offset[0], best.scale[2]) == (1, 0, 1)
    np.testing.assert_allclose(best.scale[1], SCALE[1], atol=0.03)


def frozen(layer: Any) -> Any:
    layer.trainable = False
    return layer


def in_front(L: Any) -> dict[str, tuple[tuple[int, ...], list[Any], str]]:
    """For each kind the input's shape, the layers in front of the pool with it, and which of them
    takes the scale.
    """
    return {
        "1-D": (
            (32, 3),
            [L.Conv1D(6, 3, activation="relu", name="conv"), L.MaxPooling1D(2)],
            "conv",
        ),
        "3-D": ((8, 8, 8, 2), [L.Conv3D(4, 3, name="conv"), L.ReLU(), L.MaxPooling3D(2)], "conv"),
        "no bias": (
            (12, 12, 3),
            [L.Conv2D(6, 3, use_bias=False, name="conv"), L.ReLU(), L.MaxPooling2D(2)],
            "conv",
        ),
        "depthwise": ((12, 12, 3), [L.DepthwiseConv2D(3, name="conv"), L.MaxPooling2D(2)], "conv"),
        "separable": (
            (12, 12, 3),
            [L.SeparableConv2D(6, 3, name="conv"), L.MaxPooling2D(2)],
            "conv",
        ),
        "grouped": (
            (12, 12, 4),
            [L.Conv2D(6, 3, groups=2, name="conv"), L.ELU(), L.MaxPooling2D(2)],
            "conv",
        ),
        "norm behind": (
            (12, 12, 3),
            [L.Conv2D(6, 3), L.ReLU(), L.BatchNormalization(name="norm"), L.MaxPooling2D(2)],
            "norm",
        ),
        "norm without gamma": (
            (12, 12, 3),
            [L.Conv2D(6, 3, name="conv"), L.BatchNormalization(scale=False), L.MaxPooling2D(2)],
            "conv",
        ),
        "frozen norm": (
            (12, 12, 3),
            [L.Conv2D(6, 3, name="conv"), frozen(L.BatchNormalization()), L.MaxPooling2D(2)],
            "conv",
        ),
        "overlapping": (
            (13, 13, 3),
            [L.Conv2D(6, 3, activation="swish", name="conv"), L.MaxPooling2D(3, 2, "same")],
            "conv",
        ),
    }


KINDS = list(in_front(__import__("keras").layers))


@pytest.mark.parametrize("name", KINDS)
def test_the_layer_in_front_takes_them_and_no_other_moves(K: Any, name: str) -> None:
    K.utils.set_random_seed(5)
    shape, layers, takes = in_front(K.layers)[name]
    old = K.Sequential([K.Input(shape), *layers])
    new = swap_downsampling(old, to="average_pool")
    before = {layer.name: [np.array(w) for w in layer.get_weights()] for layer in new.layers}
    x = images(96, shape=shape)
    report = calibrate(
        new, original=old, data=x, method="least_squares", scope="sites", verbose=False
    )
    (fit,) = report.layers
    assert fit.site
    assert fit.note.endswith(f"'{takes}'")
    assert fit.error < 0.95 * fit.start
    assert report.after.relative_error < report.before.relative_error
    moved = [
        layer.name
        for layer in new.layers
        if not all(map(np.array_equal, before[layer.name], layer.get_weights()))
    ]
    assert moved == [takes]


def test_the_scale_is_that_of_the_values_behind(K: Any) -> None:
    """What the fit says it reaches is what the new model then makes."""
    old = network(K)
    new = swap_downsampling(old, to="average_pool")
    (first, *_) = calibrate(
        new, original=old, data=images(), method="least_squares", scope="sites", verbose=False
    ).layers
    ends = [K.Model(model.input, model.get_layer("pool0").output) for model in (new, old)]
    assert apart(*ends, images()) == pytest.approx(first.error, rel=0.3)
    assert first.error < 0.5 * first.start


def test_channels_first(K: Any) -> None:
    if K.__name__ == "tf_keras":
        pytest.skip("tf_keras has no channels_first convolution on a CPU")
    L = K.layers
    old = K.Sequential(
        [K.Input((3, 12, 11)), L.Permute((2, 3, 1)), L.Conv2D(5, 3), L.Permute((3, 1, 2))]
    )
    old.add(L.BatchNormalization(axis=1, name="norm"))
    old.add(L.ReLU())
    old.add(L.MaxPooling2D(2, data_format="channels_first"))
    new = swap_downsampling(old, to="average_pool")
    report = calibrate(
        new,
        original=old,
        data=images(96, shape=(3, 12, 11)),
        method="least_squares",
        scope="sites",
        verbose=False,
    )
    (fit,) = report.layers
    assert fit.note.endswith("'norm'")
    assert fit.error < 0.7 * fit.start


def test_average_pools_that_become_max_pools_too(K: Any) -> None:
    L = K.layers
    old = K.Sequential(
        [K.Input((12, 12, 3)), L.Conv2D(6, 3, activation="relu"), L.AveragePooling2D(2)]
    )
    new = swap_downsampling(old, to="max_pool")
    report = calibrate(new, original=old, data=images(), method="statistics", verbose=False)
    assert report.after.relative_error < 0.5 * report.before.relative_error


def test_all_of_the_ladder(K: Any) -> None:
    old = network(K)
    new = swap_downsampling(old, to="average_pool")
    report = calibrate(new, original=old, data=images(), steps=60, verbose=False)
    assert [stage.agreement is not None for stage in report.stages] == [True] * 3
    assert report.after.relative_error < 0.2 * report.before.relative_error
    statistics, exact = report.stages[0].agreement, report.before
    assert statistics is not None
    assert statistics.relative_error < 0.6 * exact.relative_error


def test_what_others_read_too_is_left_alone_and_told(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    x = L.Conv2D(4, 3, activation="relu", name="conv")(i)
    old = K.Model(i, L.Add()([L.Conv2D(4, 2, 2)(x), L.MaxPooling2D(2, name="pool")(x)]))
    new = swap_downsampling(old, to="average_pool", include=["pool"])
    report = calibrate(
        new, original=old, data=images(), method="least_squares", scope="sites", verbose=False
    )
    assert [stage.note for stage in report.stages] == ["no site can be fitted in closed form"]
    assert list(report.notes) == [
        "pool: no layer that AveragePooling2D 'pool' alone reads can have a scale and an offset "
        "for each channel"
    ]


def test_what_has_no_scale_for_each_channel_of_the_pool_takes_none(K: Any) -> None:
    """BatchNormalization along another axis, a softmax, and channels elsewhere than the pool has
    them.
    """
    L = K.layers
    behind = {
        "norm": [L.Conv2D(4, 3), L.BatchNormalization(axis=1), L.MaxPooling2D(2, name="pool")],
        "softmax": [L.Conv2D(4, 3, activation="softmax"), L.MaxPooling2D(2, name="pool")],
    }
    if K.__name__ == "keras":  # tf_keras has no channels_first convolution on a CPU
        behind["format"] = [
            L.Conv2D(10, 3, data_format="channels_first"),
            L.MaxPooling2D(2, name="pool"),
        ]
    for name, layers in behind.items():
        old = K.Sequential([K.Input((12, 12, 3)), *layers])
        new = swap_downsampling(old, to="average_pool")
        report = calibrate(
            new, original=old, data=images(64), method="least_squares", scope="sites", verbose=False
        )
        assert [stage.note for stage in report.stages] == [
            "no site can be fitted in closed form"
        ], name
        assert [note.partition(":")[0] for note in report.notes] == ["pool"]


def test_a_scale_that_does_not_help_is_not_written_and_that_is_told(K: Any) -> None:
    """Where all taps of a window are alike, the largest is the mean."""
    L, i = K.layers, K.Input((12, 12, 3))
    ends = [
        L.MaxPooling2D(2, name=f"pool{n}")(L.Conv2D(4, n, padding="same", name=f"conv{n}")(i))
        for n in (1, 3)
    ]
    old = K.Model(i, ends)
    new = swap_downsampling(old, to="average_pool")
    before = [np.array(w) for w in new.get_layer("conv1").get_weights()]
    x = images(shape=(6, 6, 3)).repeat(2, 1).repeat(2, 2)
    report = calibrate(
        new, original=old, data=x, method="least_squares", scope="sites", verbose=False
    )
    alike, other = report.layers
    assert (alike.layer, alike.error) == ("pool1", alike.start)
    assert alike.note == "nothing fits better than its start on held-out samples: kept"
    assert (other.layer, other.note) == ("pool3", "scale and offset in Conv2D 'conv3'")
    assert all(map(np.array_equal, before, new.get_layer("conv1").get_weights()))


def test_nested_pools(K: Any) -> None:
    i = K.Input((12, 12, 3))
    old = K.Model(i, K.layers.Dense(2)(network(K)(i)))
    new = swap_downsampling(old, to="average_pool")
    report = calibrate(
        new, original=old, data=images(), method="least_squares", scope="sites", verbose=False
    )
    assert [fit.layer for fit in report.layers] == ["pair/pool0", "pair/pool1"]
    assert all(fit.error < 0.7 * fit.start for fit in report.layers)
    assert report.after.relative_error < report.before.relative_error


def test_one_layer_in_front_is_fitted_as_a_layer_behind_and_then_scaled(K: Any) -> None:
    old = network(K, norm=False)
    new = swap_downsampling(old, to="average_pool")
    report = calibrate(new, original=old, data=images(), method="least_squares", verbose=False)
    assert [fit.layer for fit in report.layers] == ["pool0", "conv1", "pool1", "head"]
    plain = swap_downsampling(old, to="average_pool")
    assert apart(new, old, images(64, 9)) < 0.3 * apart(plain, old, images(64, 9))
