"""A small network to be swapped, as training leaves one, and what it sees."""

from typing import Any

import numpy as np


def images(count: int = 192, seed: int = 0, shape: tuple[int, ...] = (12, 12, 3)) -> Any:
    """Smooth random images: neighbouring cells are alike, as in real ones."""
    rough = np.random.default_rng(seed).normal(size=(count, *shape))
    for axis in range(1, len(shape)):
        rough = rough + np.roll(rough, 1, axis) + np.roll(rough, -1, axis)
    return (rough / rough.std()).astype(np.float32)


def network(K: Any, norm: bool = True, outputs: str = "logits", name: str = "pair") -> Any:
    """Two convolution-and-pool pairs and a head, with weights and statistics as training leaves
    them.
    """
    K.utils.set_random_seed(3)
    L = K.layers
    x = inputs = K.Input((12, 12, 3), name="image")
    for number, filters in enumerate((8, 12)):
        x = L.Conv2D(filters, 3, padding="same", use_bias=not norm, name=f"conv{number}")(x)
        x = L.BatchNormalization(name=f"bn{number}")(x) if norm else x
        x = L.MaxPooling2D(2, name=f"pool{number}")(L.ReLU(name=f"relu{number}")(x))
    x = L.GlobalAveragePooling2D(name="gap")(x)
    y = L.Dense(5, activation="softmax" if outputs == "softmax" else None, name="head")(x)
    model = K.Model(inputs, y, name=name)
    if norm:
        settled(model)
    return model


def settled(model: Any) -> None:
    """Bring BatchNormalization to the statistics of what it sees."""
    for layer in model.layers:
        if "BatchNormalization" in type(layer).__name__:
            layer.momentum = 0.0
    model(images(), training=True)


def apart(new: Any, old: Any, x: Any) -> float:
    a, b = (np.asarray(model(x, training=False), np.float64) for model in (new, old))
    return float(((a - b) ** 2).mean() / b.var(0).mean())
