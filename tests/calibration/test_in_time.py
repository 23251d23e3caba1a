"""What runs at each step of time is fitted as if each step were a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_downswap import calibrate, swap_downsampling
from keras_downswap.calibration.closed_form.kernel_fit import KernelFit
from keras_downswap.calibration.execution.interpreter import Interpreter
from keras_downswap.dialects import dialect_of, read_model

SIZE = (12, 10, 3)


def plain(K: Any) -> Any:
    L, image = K.layers, K.Input(SIZE)
    x = L.BatchNormalization(momentum=0.8, name="norm")(
        L.Conv2D(5, 3, padding="same", name="conv")(image)
    )
    x = L.MaxPooling2D(2, name="pool")(L.ReLU(name="relu")(x))
    return K.Model(image, L.Conv2D(4, 3, name="next")(x))


def layers_in_time(K: Any) -> Any:
    L, video = K.layers, K.Input((None, *SIZE))
    x = L.TimeDistributed(L.Conv2D(5, 3, padding="same", name="conv"), name="each")(video)
    x = L.ReLU(name="relu")(
        L.TimeDistributed(L.BatchNormalization(momentum=0.8, name="norm"), name="norms")(x)
    )
    x = L.TimeDistributed(L.MaxPooling2D(2, name="pool"), name="pools")(x)
    return K.Model(video, L.TimeDistributed(L.Conv2D(4, 3, name="next"), name="nexts")(x))


def model_in_time(K: Any) -> Any:
    video = K.Input((None, *SIZE))
    return K.Model(video, K.layers.TimeDistributed(plain(K), name="steps")(video))


def smooth(count: int) -> np.ndarray[Any, Any]:
    """Images whose neighbouring cells are alike, mostly."""
    cells = np.random.default_rng(0).uniform(-1, 1, (count, 3, 5, 3)).astype("float32")
    return cells.repeat(4, 1).repeat(2, 2)


def weights(model: Any) -> dict[str, list[Any]]:
    """The weights of what has any, by its name, whatever it is inside of."""
    layers = [layer for layer in model._flatten_layers() if layer.name in ("conv", "norm", "next")]
    return {layer.name: layer.get_weights() for layer in layers}


def draw(model: Any) -> None:
    rng = np.random.default_rng(3)
    layers = {layer.name: layer for layer in model._flatten_layers()}
    for name in ("conv", "norm", "next"):
        olds = layers[name].get_weights()
        moved = [
            rng.uniform(-0.3, 0.3, old.shape).astype("float32") + (0 if old.ndim > 1 else old)
            for old in olds
        ]
        layers[name].set_weights(moved)


@pytest.mark.parametrize("make", [layers_in_time, model_in_time])
@pytest.mark.parametrize("to", ["strided_conv", "average_pool"])
@pytest.mark.parametrize("method", ["statistics", "least_squares"])
def test_a_step_is_fitted_like_a_sample(
    K: Any, make: Callable[[Any], Any], to: Any, method: Any
) -> None:
    images = smooth(120)
    fitted = []
    for model, data in ((plain(K), images), (make(K), images[:, None])):
        draw(model)
        new = swap_downsampling(model, to=to)
        report = calibrate(new, original=model, data=data, method=method, verbose=False)
        fitted.append((report, weights(new)))
    (one, ours), (two, theirs) = fitted
    found = [report.stages[0].agreement for report in (one, two)]
    assert found[1] != two.before
    assert found[1].relative_error == pytest.approx(found[0].relative_error, rel=1e-3)
    assert [fit.error for fit in two.layers] == pytest.approx(
        [fit.error for fit in one.layers], rel=1e-3
    )
    for name, values in ours.items():
        for a, b in zip(values, theirs[name], strict=True):
            assert np.allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [layers_in_time, model_in_time])
def test_steps_are_distilled_too(K: Any, make: Callable[[Any], Any]) -> None:
    videos = smooth(240).reshape(80, 3, *SIZE)
    model = make(K)
    draw(model)
    new = swap_downsampling(model)
    report = calibrate(new, original=model, data=videos, method="distill", steps=400, verbose=False)
    assert report.after.relative_error < 0.5 * report.before.relative_error
    assert report.notes == ()


def test_time_is_folded_into_the_batch_and_back(K: Any) -> None:
    dialect = dialect_of(plain(K))
    value = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)
    folded = dialect.merge_time(dialect.to_tensor(value))
    assert np.array_equal(dialect.to_array(folded), value.reshape(6, 4, 5))
    back = dialect.split_time(folded, dialect.to_tensor(value))
    assert np.array_equal(dialect.to_array(back), value)


def masked(K: Any) -> Any:
    L, video = K.layers, K.Input((5, *SIZE))
    step = K.Sequential(
        [K.Input(SIZE), L.Conv2D(4, 3), L.ReLU(), L.MaxPooling2D(2), L.Flatten()], name="step"
    )
    return K.Model(video, L.LSTM(3)(L.TimeDistributed(step)(L.Masking()(video))))


def texts(K: Any) -> Any:
    L, words = K.layers, K.Input((4, 6), dtype="int32")
    step = K.Sequential(
        [K.Input((6,), dtype="int32"), L.Embedding(9, 3, mask_zero=True), L.Activation("tanh")]
    )
    return K.Model(words, L.LSTM(2)(L.TimeDistributed(L.LSTM(3))(L.TimeDistributed(step)(words))))


@pytest.mark.parametrize("make", [masked, texts])
def test_masks_reach_what_stands_after_a_model_in_time(K: Any, make: Callable[[Any], Any]) -> None:
    if make is masked and K.__name__ == "keras":
        pytest.skip("Keras 3 hands an LSTM the mask of every cell, and the model does not run")
    model = make(K)
    x = (
        smooth(40).reshape(8, 5, *SIZE)
        if make is masked
        else np.random.default_rng(0).integers(0, 9, (8, 4, 6))
    )
    x[:4, 2:] = 0
    reading = read_model(model)
    (end,) = [((), tensor) for tensor in reading.graph.outputs]
    made = Interpreter(reading, {end}).run([reading.dialect.to_tensor(x)])[end]
    np.testing.assert_allclose(
        reading.dialect.to_array(made), model.predict(x, verbose=0), atol=1e-5
    )


def test_a_layer_that_two_wrappers_hold_is_left_alone(K: Any) -> None:
    L, video, shared = K.layers, K.Input((2, *SIZE)), K.layers.Conv2D(4, 3, name="shared")
    x = L.TimeDistributed(L.Conv2D(5, 3, name="conv"), name="each")(video)
    x = L.TimeDistributed(L.MaxPooling2D(2), name="pools")(L.ReLU()(x))
    ends = [
        L.TimeDistributed(shared, name="one")(x),
        L.TimeDistributed(shared, name="two")(L.Rescaling(-2.0, 0.5)(x)),
    ]
    model = K.Model(video, [L.Flatten()(end) for end in ends])
    new = swap_downsampling(model)
    before = [np.array(weight) for weight in new.get_layer("one").get_weights()]
    report = calibrate(
        new,
        original=model,
        data=smooth(80).reshape(40, 2, *SIZE),
        method="least_squares",
        verbose=False,
    )
    assert [fit.layer for fit in report.layers] == ["each/conv"]
    assert all(map(np.array_equal, before, new.get_layer("one").get_weights()))


def test_whole_videos_are_held_out(K: Any) -> None:
    model = layers_in_time(K)
    new = swap_downsampling(model)
    held: list[int] = []
    own = KernelFit.holdout_rows

    def seen(self: KernelFit, inputs: Any) -> int:
        held.append(own(self, inputs))
        assert held[-1] % (7 * self.positions[0].shape[1]) == 0
        return held[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KernelFit, "holdout_rows", seen)
        calibrate(
            new,
            original=model,
            data=smooth(77).reshape(11, 7, *SIZE),
            method="least_squares",
            verbose=False,
        )
    assert len(held) == 2
