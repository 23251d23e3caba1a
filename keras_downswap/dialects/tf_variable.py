"""TensorFlow variables, which both Kerases hold on the TensorFlow backend."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np


def copied(variable: Any) -> Any:
    """Return a new variable of the same value, name and properties."""
    kind = type(variable)
    if kind.__name__ != "ResourceVariable":
        return copy.deepcopy(variable)
    return kind(
        initial_value=variable.value(),
        trainable=variable.trainable,
        constraint=variable.constraint,
        dtype=variable.dtype,
        name=variable.name.removesuffix(":0"),
        synchronization=variable.synchronization,
        aggregation=variable.aggregation,
    )


def array(variable: Any) -> np.ndarray[Any, Any]:
    """Return the value of a variable."""
    return np.asarray(variable.value())
