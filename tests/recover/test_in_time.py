"""What runs at each step of time is fitted as if each step were a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_downswap import calibrate, swap_downsampling
from keras_downswap.dialects import dialect_of

SIZE = (12, 10, 3)


def plain(K: Any) -> Any:
    L, image = K.layers, K.Input(SIZE)
    x = L.BatchNormalization(momentum=0.8, name="norm")(L.Conv2D(5, 3, padding="same", name="conv")(image))
    x = L.MaxPooling2D(2, name="pool")(L.ReLU(name="relu")(x))
    return K.Model(image, L.Conv2D(4, 3, name="next")(x))


def layers_in_time(K: Any) -> Any:
    L, video = K.layers, K.Input((None, *SIZE))
    x = L.TimeDistributed(L.Conv2D(5, 3, padding="same", name="conv"), name="each")(video)
    x = L.ReLU(name="relu")(L.TimeDistributed(L.BatchNormalization(momentum=0.8, name="norm"), name="norms")(x))
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
        moved = [rng.uniform(-0.3, 0.3, old.shape).astype("float32") + (0 if old.ndim > 1 else old) for old in olds]
        layers[name].set_weights(moved)


@pytest.mark.parametrize("make", [layers_in_time, model_in_time])
@pytest.mark.parametrize("to", ["strided_conv", "average_pool"])
@pytest.mark.parametrize("method", ["statistics", "least_squares"])
def test_a_step_is_fitted_like_a_sample(K: Any, make: Callable[[Any], Any], to: Any, method: Any) -> None:
    images = smooth(120)
    fitted = []
    for model, data in ((plain(K), images), (make(K), images[:, None])):
        draw(model)
        new = swap_downsampling(model, to=to)
        report = calibrate(new, model, data, method=method, verbose=False)
        fitted.append((report, weights(new)))
    (one, ours), (two, theirs) = fitted
    found = [report.stages[0].agreement for report in (one, two)]
    assert found[1] != two.before
    assert found[1].distance == pytest.approx(found[0].distance, rel=1e-3)
    assert [fit.error for fit in two.layers] == pytest.approx([fit.error for fit in one.layers], rel=1e-3)
    for name, values in ours.items():
        for a, b in zip(values, theirs[name], strict=True):
            assert np.allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [layers_in_time, model_in_time])
def test_steps_are_distilled_too(K: Any, make: Callable[[Any], Any]) -> None:
    videos = smooth(240).reshape(80, 3, *SIZE)
    model = make(K)
    draw(model)
    new = swap_downsampling(model)
    report = calibrate(new, model, videos, method="distill", steps=400, verbose=False)
    assert report.after.distance < 0.5 * report.before.distance
    assert report.notes == []


def test_time_is_folded_into_the_batch_and_back(K: Any) -> None:
    dialect = dialect_of(plain(K))
    value = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(2, 3, 4, 5)
    folded = dialect.fold(dialect.tensor(value))
    assert np.array_equal(dialect.result(folded), value.reshape(6, 4, 5))
    back = dialect.unfold(folded, dialect.tensor(value))
    assert np.array_equal(dialect.result(back), value)
