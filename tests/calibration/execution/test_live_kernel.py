"""A layer's kernel as a matrix, what follows it as a function, and both written back: against the
layers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from support.graphs import convolved

from keras_downswap.calibration.closed_form.im2col import (
    draw_positions,
    extract_patches,
    move_channels_last,
    values_at,
)
from keras_downswap.calibration.closed_form.normal_equations import grouped_product
from keras_downswap.calibration.execution.calls import CallChain
from keras_downswap.calibration.execution.live_kernel import LiveKernel, logits_of
from keras_downswap.dialects import read_model
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.types import Array

Maker = Callable[..., Any]

LAYERS: dict[str, tuple[tuple[int, ...], Maker]] = {
    "Conv1D": ((11, 3), lambda L, **o: L.Conv1D(4, 3, strides=2, padding="same", **o)),
    "Conv1D causal": ((11, 3), lambda L, **o: L.Conv1D(4, 3, strides=2, padding="causal", **o)),
    "Conv2D": ((7, 8, 3), lambda L, **o: L.Conv2D(4, (3, 2), strides=2, padding="same", **o)),
    "Conv2D dilated": ((9, 8, 3), lambda L, **o: L.Conv2D(4, (3, 2), dilation_rate=2, **o)),
    "Conv3D": ((5, 6, 5, 2), lambda L, **o: L.Conv3D(4, (2, 3, 1), strides=2, padding="same", **o)),
    "grouped Conv1D": ((11, 4), lambda L, **o: L.Conv1D(6, 3, groups=2, strides=2, **o)),
    "grouped Conv2D": (
        (7, 8, 6),
        lambda L, **o: L.Conv2D(6, 3, groups=3, strides=2, padding="same", **o),
    ),
    "Conv2D, a group a channel": (
        (7, 8, 4),
        lambda L, **o: L.Conv2D(8, 3, groups=4, padding="same", **o),
    ),
    "DepthwiseConv1D": (
        (11, 3),
        lambda L, **o: L.DepthwiseConv1D(3, strides=2, depth_multiplier=2, **o),
    ),
    "DepthwiseConv2D": ((7, 8, 3), lambda L, **o: L.DepthwiseConv2D((3, 2), padding="same", **o)),
    "DepthwiseConv2D of two": (
        (7, 8, 3),
        lambda L, **o: L.DepthwiseConv2D(3, strides=2, depth_multiplier=2, **o),
    ),
    "SeparableConv1D": (
        (11, 3),
        lambda L, **o: L.SeparableConv1D(4, 3, strides=2, padding="same", **o),
    ),
    "SeparableConv2D": (
        (7, 8, 3),
        lambda L, **o: L.SeparableConv2D(4, 3, strides=2, depth_multiplier=2, **o),
    ),
    "Dense": ((6,), lambda L, **o: L.Dense(4, **o)),
    "Dense on a sequence": ((5, 6), lambda L, **o: L.Dense(4, **o)),
    "Dense on a map": ((4, 5, 6), lambda L, **o: L.Dense(4, **o)),
}
NORMED = [
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "grouped Conv2D",
    "DepthwiseConv2D of two",
    "SeparableConv2D",
    "Dense",
]
BEHIND: dict[str, Callable[[Any], list[Any]]] = {
    "nothing": lambda L: [],
    "BatchNormalization": lambda L: [L.BatchNormalization(epsilon=1e-2)],
    "ReLU": lambda L: [L.ReLU(max_value=1.5)],
    "BatchNormalization, ReLU": lambda L: [L.BatchNormalization(), L.ReLU()],
    "Dropout, BatchNormalization, Activation": lambda L: [
        L.Dropout(0.5),
        L.BatchNormalization(scale=False),
        L.Activation("tanh"),
    ],
    "two norms around noise": lambda L: [
        L.BatchNormalization(),
        L.GaussianNoise(1.0),
        L.BatchNormalization(),
    ],
    "PReLU, LayerNormalization": lambda L: [L.PReLU(shared_axes=[1, 2]), L.LayerNormalization()],
    "SpatialDropout2D, Softmax": lambda L: [L.SpatialDropout2D(0.5), L.Softmax()],
}


@dataclass
class Seen:
    """A model that is one layer with a kernel and what stands behind it, with all weights drawn,
    and its kernel.
    """

    model: Any
    kernel: LiveKernel
    x: Array

    @property
    def layer(self) -> Any:
        return self.kernel.layer

    @property
    def norm(self) -> Any:
        calls = self.kernel.calls
        layers = [calls.layer_of(call) for call in calls.following]
        return next(x for x in layers if type(x).__name__ == "BatchNormalization")

    def sums(self, weights: Array, positions: Array) -> Array:
        """What kernels of this form make of what stands at the positions, without an offset."""
        last = move_channels_last(self.x, self.kernel.calls.call.channels_last)
        windows = self.kernel.calls.call.windows or (Window(1),) * (last.ndim - 2)
        rows = self.kernel.design_matrix(extract_patches(last, windows, positions))
        assert rows.shape == (
            self.kernel.groups,
            positions.shape[0] * positions.shape[1],
            self.kernel.unknowns,
        )
        return grouped_product(rows, weights)

    def made(self, training: bool = False) -> Array:
        return np.asarray(self.model(self.x, training=training))


def seen(
    K: Any, layer: Any, shape: Sequence[int], behind: Sequence[Any] = (), samples: int = 6
) -> Seen:
    inputs = K.Input(shape)
    y = layer(inputs)
    for part in behind:
        y = part(y)
    model = K.Model(inputs, y)
    rng = np.random.default_rng(0)
    for part in (layer, *behind):
        draw(rng, part)
    reading = read_model(model)
    call, *chain = reading.graph.calls[1:]
    assert reading.layers[call.layer] is layer
    kernel = LiveKernel.of(CallChain(reading, call, chain, len(y.shape) - 2))
    return Seen(model, kernel, rng.normal(0.2, 1, (samples, *shape)).astype(np.float32))


def draw(rng: np.random.Generator, layer: Any) -> None:
    """Draw all weights of a layer; what is a variance is not negative."""
    drawn = [rng.normal(0.1, 0.6, tuple(w.shape)).astype(np.float32) for w in layer.weights]
    layer.set_weights(
        [
            abs(v) + 0.2 if "variance" in w.name else v
            for v, w in zip(drawn, layer.weights, strict=True)
        ]
    )


def everywhere(lengths: Sequence[int], samples: int) -> Array:
    cells = np.array(list(product(*map(range, lengths))), int).reshape(
        int(np.prod(lengths)), len(lengths)
    )
    return np.broadcast_to(cells, (samples, *cells.shape))


def some(made: Array, most: int = 5) -> Array:
    return draw_positions(np.random.default_rng(1), len(made), made.shape[1:-1], most)


def assert_near(found: Array, wanted: Array, tolerance: float) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=tolerance * max(1.0, float(np.abs(wanted).max()))
    )


# The kernel as a matrix


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_weights_and_the_offset_are_what_the_layer_makes(
    K: Any, name: str, use_bias: bool
) -> None:
    shape, make = LAYERS[name]
    one = seen(K, make(K.layers, use_bias=use_bias), shape)
    made = one.made()
    weights, offset = one.kernel.weights(), one.kernel.offset()
    assert weights.shape == (
        one.kernel.groups,
        one.kernel.unknowns,
        one.kernel.filters // one.kernel.groups,
    )
    assert (offset != 0).all() if use_bias else not offset.any()
    assert (weights.dtype, offset.dtype, offset.shape) == (
        np.float32,
        np.float32,
        (made.shape[-1],),
    )
    for positions in (some(made), everywhere(made.shape[1:-1], len(made))):
        assert_near(one.sums(weights, positions) + offset, values_at(made, positions), 1e-5)


@pytest.mark.parametrize(
    ("name", "groups", "unknowns", "filters"),
    [
        ("Conv2D", 1, 18, 4),
        ("grouped Conv2D", 3, 18, 6),
        ("DepthwiseConv1D", 3, 3, 6),
        ("DepthwiseConv2D of two", 3, 9, 6),
        ("SeparableConv2D", 1, 6, 4),
        ("Dense", 1, 6, 4),
    ],
)
def test_how_many_unknowns_a_kernel_has(
    K: Any, name: str, groups: int, unknowns: int, filters: int
) -> None:
    shape, make = LAYERS[name]
    kernel = seen(K, make(K.layers), shape).kernel
    assert (kernel.groups, kernel.unknowns, kernel.filters) == (groups, unknowns, filters)


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        (
            (3, 11),
            lambda L: L.Conv1D(4, 3, strides=2, padding="same", data_format="channels_first"),
        ),
        (
            (3, 7, 8),
            lambda L: L.Conv2D(4, (3, 2), strides=2, padding="same", data_format="channels_first"),
        ),
        ((2, 5, 6, 5), lambda L: L.Conv3D(4, (2, 3, 1), strides=2, data_format="channels_first")),
    ],
)
def test_channels_first_as_a_convolution_in_float64_has_it(
    K: Any, shape: tuple[int, ...], make: Maker
) -> None:
    """No processor runs it with every Keras, so it is computed by hand."""
    one = seen(K, make(K.layers), shape)
    kernel, bias = (np.asarray(w, np.float64) for w in one.layer.get_weights())
    slides = [(w.stride, w.dilation, w.padding) for w in one.kernel.calls.call.windows]
    made = (
        np.stack([convolved(np.moveaxis(sample, 0, -1), kernel, slides, 0) for sample in one.x])
        + bias
    )
    assert not one.kernel.calls.call.channels_last
    positions = some(made)
    assert_near(
        one.sums(one.kernel.weights(), positions) + one.kernel.offset(),
        values_at(made, positions),
        1e-5,
    )


# What follows as a function


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "a layer", "a function"])
@pytest.mark.parametrize("behind", BEHIND)
def test_through_is_what_the_later_layers_make(K: Any, behind: str, activation: Any) -> None:
    own = {"a layer": K.layers.LeakyReLU(), "a function": lambda x: x * x}.get(
        activation, activation
    )
    shape, make = LAYERS["Conv2D"]
    one = seen(K, make(K.layers, activation=own), shape, BEHIND[behind](K.layers))
    made = one.made()
    positions = some(made)
    sums = one.sums(one.kernel.weights(), positions) + one.kernel.offset()
    found = one.kernel.apply_activation(sums)
    assert found.dtype == np.float32
    assert_near(found, values_at(made, positions), 1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_through_fits_every_rank(K: Any, name: str) -> None:
    shape, make = LAYERS[name]
    behind = [K.layers.BatchNormalization(), K.layers.Dropout(0.3), K.layers.ReLU()]
    one = seen(K, make(K.layers, activation="tanh"), shape, behind)
    made = one.made()
    positions = some(made)
    sums = one.sums(one.kernel.weights(), positions) + one.kernel.offset()
    assert_near(one.kernel.apply_activation(sums), values_at(made, positions), 1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_through_with_channels_first(K: Any, rank: int) -> None:
    """By the moments and weights of the BatchNormalization itself, as no processor runs the
    convolution.
    """
    conv = getattr(K.layers, f"Conv{rank}D")(4, 2, data_format="channels_first", activation="relu")
    one = seen(
        K, conv, (3, *(5,) * rank), [K.layers.BatchNormalization(axis=1), K.layers.LeakyReLU()]
    )
    norm = one.norm
    gamma, beta, mean, variance = (np.asarray(w) for w in norm.get_weights())
    sums = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    wanted = gamma * (np.maximum(sums, 0) - mean) / np.sqrt(variance + norm.epsilon) + beta
    slope = 0.3
    assert_near(
        one.kernel.apply_activation(sums), np.where(wanted > 0, wanted, slope * wanted), 1e-5
    )


# Written back


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_written_is_what_the_layer_has(K: Any, name: str, use_bias: bool) -> None:
    shape, make = LAYERS[name]
    one = seen(K, make(K.layers, use_bias=use_bias), shape)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=one.kernel.weights().shape).astype(np.float32)
    offset = rng.normal(size=one.kernel.filters).astype(np.float32) * use_bias
    made = one.made()
    positions = everywhere(made.shape[1:-1], len(made))
    sums = one.sums(weights, positions)
    one.kernel.write(weights, offset, sums)
    np.testing.assert_array_equal(one.kernel.weights(), weights)
    np.testing.assert_array_equal(one.kernel.offset(), offset)
    assert_near(values_at(one.made(), positions), sums + offset, 1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", NORMED)
def test_writing_the_same_renews_the_statistics_and_leaves_the_function(
    K: Any, name: str, use_bias: bool
) -> None:
    shape, make = LAYERS[name]
    one = seen(
        K, make(K.layers, use_bias=use_bias), shape, [K.layers.BatchNormalization()], samples=40
    )
    before, held = one.made(), [np.asarray(w) for w in one.norm.get_weights()]
    positions = everywhere(before.shape[1:-1], len(before))
    sums = one.sums(one.kernel.weights(), positions)
    kept = [np.asarray(w) for w in one.layer.get_weights()]
    one.kernel.write(one.kernel.weights(), one.kernel.offset(), sums)
    assert_near(one.made(), before, 1e-4)
    for old, new in zip(kept, one.layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    _, _, mean, variance = (np.asarray(w) for w in one.norm.get_weights())
    seen_by_norm = sums + one.kernel.offset()
    np.testing.assert_allclose(mean, seen_by_norm.mean(0), atol=1e-4)
    np.testing.assert_allclose(variance, seen_by_norm.var(0), rtol=1e-3)
    for old, new in zip(held, one.norm.get_weights(), strict=True):
        assert np.abs(old - new).max() > 1e-2
    assert_near(one.made(training=True), before, 1e-3)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("between", ["nothing", "Dropout"])
@pytest.mark.parametrize("name", NORMED)
def test_a_fit_is_met_by_the_later_norm(K: Any, name: str, between: str, use_bias: bool) -> None:
    """An offset goes into the bias, or into the norm where there is none; its map of the sums stays
    as it was.
    """
    shape, make = LAYERS[name]
    behind = [K.layers.Dropout(0.5)] * (between == "Dropout") + [
        K.layers.BatchNormalization(),
        K.layers.ReLU(),
    ]
    one = seen(K, make(K.layers, use_bias=use_bias), shape, behind, samples=40)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=one.kernel.weights().shape).astype(np.float32)
    offset = rng.normal(size=one.kernel.filters).astype(np.float32)
    made = one.made()
    positions = everywhere(made.shape[1:-1], len(made))
    sums = one.sums(weights, positions)
    wanted = one.kernel.apply_activation(sums + offset)
    one.kernel.write(weights, offset, sums)
    assert_near(values_at(one.made(), positions), wanted, 1e-4)
    assert_near(one.kernel.apply_activation(sums + one.kernel.offset()), wanted, 1e-4)
    assert not np.allclose(values_at(made, positions), wanted, atol=0.1)
    if between == "nothing":
        assert_near(values_at(one.made(training=True), positions), wanted, 1e-3)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "plain", [{"scale": False}, {"center": False}, {"scale": False, "center": False}]
)
def test_a_norm_without_scale_or_centre_takes_an_offset_too(
    K: Any, plain: dict[str, bool], use_bias: bool
) -> None:
    shape, make = LAYERS["Conv2D"]
    one = seen(K, make(K.layers, use_bias=use_bias), shape, [K.layers.BatchNormalization(**plain)])
    made = one.made()
    positions = everywhere(made.shape[1:-1], len(made))
    weights = 2 * one.kernel.weights()
    offset = np.linspace(-1, 1, one.kernel.filters, dtype=np.float32)
    sums = one.sums(weights, positions)
    wanted = one.kernel.apply_activation(sums + offset)
    one.kernel.write(weights, offset, sums)
    assert_near(values_at(one.made(), positions), wanted, 1e-4)


def test_channels_that_are_dead_stay_finite(K: Any) -> None:
    shape, make = LAYERS["Conv2D"]
    one = seen(K, make(K.layers), shape, [K.layers.BatchNormalization()])
    before = one.made()
    positions = everywhere(before.shape[1:-1], len(before))
    weights = one.kernel.weights()
    weights[:, :, 1] = 0
    sums = one.sums(weights, positions)
    wanted = one.kernel.apply_activation(sums + one.kernel.offset())
    one.kernel.write(weights, one.kernel.offset(), sums)
    assert_near(values_at(one.made(), positions), wanted, 1e-4)
    assert_near(values_at(one.made(training=True), positions), wanted, 1e-3)


# Which norm, and which offset


NORMS = {
    "directly behind": (None, lambda L: [L.BatchNormalization()], True),
    "linear in words": ("linear", lambda L: [L.BatchNormalization()], True),
    "behind Dropout": (None, lambda L: [L.Dropout(0.5), L.BatchNormalization(), L.ReLU()], True),
    "behind noise": (None, lambda L: [L.GaussianNoise(0.5), L.BatchNormalization()], True),
    "behind an activation of the layer": ("relu", lambda L: [L.BatchNormalization()], False),
    "behind a ReLU": (None, lambda L: [L.ReLU(), L.BatchNormalization()], False),
    "behind Dropout and a ReLU": (
        None,
        lambda L: [L.Dropout(0.5), L.ReLU(), L.BatchNormalization()],
        False,
    ),
    "none": (None, lambda L: [L.Dropout(0.5), L.ReLU()], False),
    "nothing": (None, lambda L: [], False),
}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_the_norm_whose_input_is_what_the_kernel_makes(K: Any, name: str, use_bias: bool) -> None:
    activation, behind, found = NORMS[name]
    layers = behind(K.layers)
    one = seen(
        K, K.layers.Conv2D(4, 3, activation=activation, use_bias=use_bias), (7, 8, 3), layers
    )
    norms = [layer for layer in layers if type(layer).__name__ == "BatchNormalization"]
    assert one.kernel.batch_norm is (norms[0] if found else None)
    assert one.kernel.can_shift is (use_bias or found)


def test_of_two_norms_the_first(K: Any) -> None:
    layers = [K.layers.BatchNormalization(), K.layers.BatchNormalization()]
    assert seen(K, K.layers.Conv2D(4, 3), (7, 8, 3), layers).kernel.batch_norm is layers[0]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("nested", [False, True])
def test_a_norm_that_is_called_in_two_places_is_left_alone(
    K: Any, nested: bool, use_bias: bool
) -> None:
    L = K.layers
    inputs, norm = K.Input((7, 8, 3)), L.BatchNormalization(name="bn")
    one, two = (L.Conv2D(4, 3, use_bias=use_bias, name=name)(inputs) for name in ("one", "two"))
    second = K.Model(two, norm(two), name="inner")(two) if nested else norm(two)
    model = K.Model(inputs, L.Add()([norm(one), second]))
    draw(np.random.default_rng(0), norm)
    reading = read_model(model)
    calls = {call.name: call for call in reading.graph.calls}
    kernel = LiveKernel.of(CallChain(reading, calls["one"], [calls["bn"]], 2))
    assert kernel.batch_norm is None
    assert kernel.can_shift is use_bias
    before = [np.asarray(w) for w in norm.get_weights()]
    kernel.write(kernel.weights() + 1, kernel.offset(), np.ones((9, 4), np.float32))
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_sums_before_a_softmax_are_no_probabilities(dtype: Any) -> None:
    sums = np.array([[1.0, -2.0, 0.5], [3.0, 3.0, -1.0], [0.0, 0.0, 900.0]])
    powers = np.exp(sums - sums.max(-1, keepdims=True))
    found = logits_of((powers / powers.sum(-1, keepdims=True)).astype(dtype))
    centred = sums - sums.mean(-1, keepdims=True)
    np.testing.assert_allclose(found[:2], centred[:2], atol=0.02)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found[2].argmax() == 2


def test_a_later_function_keeps_what_else_it_is_given(K: Any) -> None:
    leaky = K.ops.leaky_relu if hasattr(K, "ops") else tf.nn.leaky_relu
    i = K.Input((5, 6, 2))
    model = K.Model(i, leaky(K.layers.Conv2D(3, 1)(i), 0.7))
    reading = read_model(model)
    call, *chain = reading.graph.calls[1:]
    sums = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    made = LiveKernel.of(CallChain(reading, call, chain, 2)).apply_activation(sums)
    np.testing.assert_allclose(made, np.where(sums > 0, sums, 0.7 * sums), rtol=1e-6)


def test_a_softmax_along_another_axis_than_the_channels_is_no_probability_of_them(K: Any) -> None:
    i = K.Input((3, 8, 8))
    for where, along in (("channels_first", False), ("channels_last", True)):
        model = K.Model(
            i, K.layers.Conv2D(4, 1, activation="softmax", data_format=where, name="conv")(i)
        )
        reading = read_model(model)
        calls = CallChain(reading, reading.graph.calls[-1], (), 2)
        assert LiveKernel.of(calls).ends_in_softmax is along
