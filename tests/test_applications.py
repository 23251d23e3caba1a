"""The architectures that people use, in both Kerases and in all directions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import architectures, laws

from keras_downswap import NothingSwapped, swap_downsampling

TARGETS = ("strided_conv", "max_pool", "average_pool", "subsample")
SIZES = {
    "VGG16": 48,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "DenseNet121": 64,
    "InceptionV3": 96,
    "Xception": 96,
    "MobileNetV2": 64,
    "EfficientNetB0": 64,
    "NASNetMobile": 64,
}
BUILDERS: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda K, name=name, n=n: getattr(K.applications, name)(
            weights=None, input_shape=(n, n, 3), classes=10
        )
        for name, n in SIZES.items()
    },
    "SqueezeNet": architectures.squeezenet_1_1,
    "FishNet": architectures.fishnet_like,
    "ResNet-D": architectures.resnet_d,
}
SWAPPED = {
    ("VGG16", "strided_conv"): 5,
    ("VGG16", "average_pool"): 5,
    ("ResNet50", "max_pool"): 7,
    ("ResNet50", "subsample"): 7,
    ("ResNet50", "strided_conv"): 1,
    ("DenseNet121", "strided_conv"): 4,
    ("DenseNet121", "cheapest"): 3,
    ("InceptionV3", "max_pool"): 12,
    ("MobileNetV2", "subsample"): 5,
    ("SqueezeNet", "average_pool"): 4,
    ("SqueezeNet", "strided_conv"): 3,
    ("FishNet", "average_pool"): 4,
}
"""Sites known from the papers, so that a site found nowhere is noticed."""


def randomised(model: Any) -> Any:
    """Give statistics and offsets values of their own, so that a swap that loses them shows."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights(
                [w + rng.uniform(0.1, 0.3, w.shape).astype(w.dtype) for w in layer.get_weights()]
            )
    return model


def shapes_when_run(K: Any, model: Any, names: list[str], x: Any) -> list[tuple[int, ...]]:
    """Return the shapes that layers really produce, not the ones that the graph claims."""
    whole = K.Model(model.inputs, [model.get_layer(name).output for name in names])
    return [tuple(y.shape) for y in whole(x, training=False)]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_direction(K: Any, name: str) -> None:
    old = randomised(BUILDERS[name](K))
    before = laws.snapshot_of(old)
    x = laws.sample_for(old, batch=1)
    for to in TARGETS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingSwapped)
            new, report = swap_downsampling(old, to=to, return_report=True)
        swaps = [site for site in report.sites if site.status == "swapped"]
        touched = {layer for site in swaps for layer in site.layers}
        laws.assert_same_boundary(old, new)
        laws.assert_weights_kept(old, new, touched)
        laws.assert_nothing_shared(old, new)
        laws.assert_accounted(old, report)
        assert len(swaps) == SWAPPED.get((name, to), len(swaps))
        surviving = [lay.name for lay in old.layers if lay.name not in touched]
        assert shapes_when_run(K, new, surviving, x) == shapes_when_run(K, old, surviving, x)
        if all(site.promise == "exact" for site in swaps):
            laws.assert_same_values(old, new, x, rtol=1e-5)
    laws.assert_untouched(before, old)
