"""What a Keras does with live tensors and variables, and with layers that are called on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_downswap.ir.types import Array

SMALL = 1 << 16
"""Bytes up to which two arrays are compared as strings of bytes, which copies them both."""


class TensorOperations(ABC):
    """Tensors and variables of one Keras; `keras2.py` and `keras3.py` know its internals."""

    @property
    @abstractmethod
    def on_tensorflow(self) -> bool:
        """Whether this Keras runs on TensorFlow."""

    # Layers called on tensors

    @abstractmethod
    def run_layer(self, layer: Any, value: Any) -> Any:
        """Call a layer at inference on a backend tensor or an array, or on a list of them."""

    @abstractmethod
    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a layer as a node does, on backend tensors."""

    # Tensors

    @abstractmethod
    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        """Return an array as a backend tensor, of its own dtype or of another."""

    @abstractmethod
    def to_array(self, value: Any) -> Array:
        """Return a backend tensor as an array."""

    def static_shape(self, value: Any) -> tuple[int, ...]:
        """Return the shape of a backend tensor as Python knows it."""
        return tuple(value.shape)

    @abstractmethod
    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        """Return the shape of a backend tensor; a length known only as it runs is a tensor."""

    @abstractmethod
    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        """Return a backend tensor in another shape, lengths of which may be tensors."""

    def merge_time(self, value: Any) -> Any:
        """Merge the second axis of a backend tensor, that of time, into the batch.

        Shape (batch, time, ...) becomes (batch * time, ...).
        """
        rest = self.dynamic_shape(value)[2:]
        return self.reshape(value, (-1, *rest))

    def split_time(self, value: Any, like: Any) -> Any:
        """Undo `merge_time`: (batch * time, ...) becomes (batch, time, ...), as `like` has it."""
        time = self.dynamic_shape(like)[1]
        rest = self.dynamic_shape(value)[1:]
        return self.reshape(value, (-1, time, *rest))

    # Variables

    @abstractmethod
    def is_variable(self, value: Any) -> bool:
        """Tell whether a value is a variable of any kind."""

    @abstractmethod
    def backend_variable(self, variable: Any) -> Any:
        """Return the backend's own variable, without what Keras wraps it in."""

    @abstractmethod
    def array(self, variable: Any) -> Array:
        """Return the value of a variable."""

    @abstractmethod
    def assign(self, target: Any, value: Any) -> None:
        """Assign a variable's or an array's value to a variable."""

    def same_bits(self, one: Any, other: Any) -> bool:
        """Tell whether two variables hold the same bits; equal NaNs count as the same."""
        first = self.array(one)
        second = self.array(other)
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        # Strings and objects hold pointers, whose bits say nothing; other widths have no integer
        # type to be viewed as.
        width = first.dtype.itemsize
        if first.dtype.kind in "OSU" or width not in (1, 2, 4, 8):
            return bool(first.tolist() == second.tolist())
        if first.nbytes < SMALL:
            return bool(first.tobytes() == second.tobytes())
        bits = f"u{width}"
        first_bits = np.ravel(first).view(bits)
        second_bits = np.ravel(second).view(bits)
        return bool((first_bits == second_bits).all())
