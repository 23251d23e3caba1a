"""What a Keras does with values: backend tensors, and layers that are called on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class TensorOperations(ABC):
    """Backend tensors of one Keras. What knows its internals is in `keras2.py` and `keras3.py`."""

    @abstractmethod
    def run_layer(self, layer: Any, value: Any) -> Any:
        """Call a layer at inference on a backend tensor or an array, or on a list of them."""

    @abstractmethod
    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a layer as a node does, on backend tensors."""

    def static_shape(self, value: Any) -> tuple[int, ...]:
        """Return the shape of a backend tensor."""
        return tuple(value.shape)

    @abstractmethod
    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        """Return an array as a backend tensor, of its own dtype or of another."""

    @abstractmethod
    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        """Return a backend tensor in another shape, lengths of which may be tensors."""

    @abstractmethod
    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        """Return the shape of a backend tensor, tensors where lengths are known only as it runs."""

    def merge_time(self, value: Any) -> Any:
        """Return a backend tensor with its second axis, that of time, made a part of the batch."""
        return self.reshape(value, (-1, *self.dynamic_shape(value)[2:]))

    def split_time(self, value: Any, like: Any) -> Any:
        """Return a folded tensor with the axis of time that another one has."""
        return self.reshape(
            value, (-1, self.dynamic_shape(like)[1], *self.dynamic_shape(value)[1:])
        )

    @abstractmethod
    def to_array(self, value: Any) -> np.ndarray[Any, Any]:
        """Return a backend tensor as an array."""
