"""Runs single calls of a model: on backend tensors, or on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call
from keras_downswap.ir.types import Array

COARSE_DTYPES = frozenset({"float16", "bfloat16"})
SLOPE_STEP = 0.01
COARSE_SLOPE_STEP = 0.1


def run_call(
    reading: Reading, scope: int, call: Call, values: Mapping[int, Any], **arguments: Any
) -> list[Any]:
    """Call a layer as the model does, with whatever else it is given there.

    Args:
        reading: The model.
        scope: The number of the graph that holds the call.
        call: The call.
        values: The backend tensor that stands for each tensor it consumes, by number.
        arguments: Further arguments of the layer's call.

    Returns:
        The tensors that it produces.
    """
    dialect, live = reading.dialect, reading.scopes[scope]

    def backend_value(leaf: Any) -> Any:
        if not dialect.is_tensor(leaf):
            return leaf
        return values[live.numbers[id(leaf)]]

    # The node knows what else the layer is given there: masks, states, options of a function.
    given = dialect.node_arguments(live.nodes[call.index])
    args, kwargs = dialect.map(backend_value, given)
    layer = reading.layers[call.layer]
    outputs = dialect.call_layer(layer, args, {**kwargs, **arguments})
    return dialect.flatten(outputs)


def run_on_arrays(reading: Reading, scope: int, call: Call, values: Sequence[Array]) -> Array:
    """Run a call on arrays, one for each tensor it consumes, and return what it produces."""
    dialect = reading.dialect
    tensors = reading.scopes[scope].graph.tensors
    dtypes = [tensors[number].dtype for number in call.inputs]
    if call.wrapped is not None:
        return _run_at_each_step(reading, call, values[0], dtypes[0])
    given = {}
    for number, value, dtype in zip(call.inputs, values, dtypes, strict=True):
        given[number] = dialect.to_tensor(value, dtype)
    outputs = run_call(reading, scope, call, given)
    return dialect.to_array(outputs[0])


def _run_at_each_step(reading: Reading, call: Call, value: Array, dtype: str) -> Array:
    """Run what a TimeDistributed layer wraps, with each step of time as a sample."""
    dialect = reading.dialect
    samples, steps = value.shape[:2]
    # The layer is elementwise here, so a cell of one step is as good as a cell of a sample.
    merged = value.reshape(-1, *value.shape[2:])
    inner = dialect.unwrapped(reading.layers[call.layer])
    output = dialect.run_layer(inner, dialect.to_tensor(merged, dtype))
    made = dialect.to_array(output)
    return made.reshape(samples, steps, *made.shape[1:])


@dataclass(frozen=True)
class CallChain:
    """A call of a layer that is fitted, and the calls after it that its fit sees through.

    Attributes:
        reading: The model.
        call: The layer's call.
        following: The calls after it, in order.
        rank: Number of axes between batch and channels of the layer's output.
        scope: The number of the graph that holds the calls.
    """

    reading: Reading
    call: Call
    following: Sequence[Call]
    rank: int
    scope: int = 0

    @property
    def dialect(self) -> Dialect:
        """The Keras of the model."""
        return self.reading.dialect

    @property
    def layer(self) -> Any:
        """The layer; of a TimeDistributed layer the one that it wraps."""
        return self.layer_of(self.call)

    def layer_of(self, call: Call) -> Any:
        """Return the layer of a call; of a TimeDistributed layer the one that it wraps."""
        return self.dialect.unwrapped(self.reading.layers[call.layer])

    @property
    def slope_step(self) -> float:
        """Distance of two values, in standard deviations, by which a slope can be measured.

        In a dtype of 8 or 11 significant bits, the difference of outputs nearer to each other
        would be mostly rounding.
        """
        tensors = self.reading.scopes[self.scope].graph.tensors
        for call in (self.call, *self.following):
            if any(tensors[t].dtype in COARSE_DTYPES for t in call.outputs):
                return COARSE_SLOPE_STEP
        return SLOPE_STEP

    def run(self, call: Call, values: Sequence[Array]) -> Array:
        """Run one of the calls on arrays."""
        return run_on_arrays(self.reading, self.scope, call, values)


def as_single_cells(rows: Array, rank: int, channels_last: bool) -> Array:
    """Return rows of channels, shape (rows, channels), as maps of a single cell each.

    An elementwise layer computes the same for a cell wherever it is, so rows can go through it
    without the maps that they are from.
    """
    count, channels = rows.shape
    ones = (1,) * rank
    if channels_last:
        return rows.reshape(count, *ones, channels)
    return rows.reshape(count, channels, *ones)
