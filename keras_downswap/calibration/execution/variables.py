"""The variables of a live model and of its layers."""

from __future__ import annotations

from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.reading import Reading

LEARNABLE = ("depthwise_kernel", "pointwise_kernel", "kernel", "bias", "gamma", "beta")


def all_variables(reading: Reading) -> list[Any]:
    """Return every variable of a model once, the state of seeds and of recurrent layers too."""
    model = reading.model
    # `variables` has not the same contents in both Kerases: the second list adds what it lacks.
    listed = [*getattr(model, "variables", ())]
    listed += getattr(model, "non_trainable_variables", ())
    is_variable = reading.dialect.is_variable
    by_identity = {id(v): v for v in listed if is_variable(v)}
    return list(by_identity.values())


def learnable_weights(dialect: Dialect, layer: Any) -> list[Any]:
    """Return the weights of a layer that training would change if the layer were not frozen."""
    found = []
    for name in LEARNABLE:
        # A quantized layer or one with LoRA has a property of that name, which computes; the
        # variable itself is then under the name with an underscore.
        value = vars(layer).get(f"_{name}", getattr(layer, name, None))
        if value is not None and dialect.is_variable(value):
            found.append(value)
    return found
