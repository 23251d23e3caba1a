"""Builds the examples that stand in the rules' files, in Keras 3."""

from __future__ import annotations

from typing import Any

from keras_downswap.rulekit import Example, LayerSketch


def built(example: Example, dtype: str = "float32") -> Any:
    """Return the model of an example, with random weights."""
    import keras

    keras.utils.set_random_seed(1)
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        image = x = keras.Input(tuple(example.shape), name="image", dtype=dtype)
        for sketch in example.layers:
            x = _called(sketch, x, image)
        return keras.Model(image, x)
    finally:
        keras.config.set_dtype_policy(usual)


def _called(sketch: LayerSketch, x: Any, image: Any) -> Any:
    import keras

    if sketch.class_name == "Add":
        shortcut = keras.layers.MaxPooling2D(2, name="pool")(image)
        return keras.layers.Add(**sketch.arguments)([x, shortcut])
    return getattr(keras.layers, sketch.class_name)(**sketch.arguments)(x)
