"""The live side of a scale and an offset for each channel: the layer whose weights take them, and what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.execution.live_kernel import Kernel, laid_out, played, slope_step
from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call, Role
from keras_downswap.ir.types import Array


def takes_scale(dialect: Dialect, layer: Any, role: Role) -> bool:
    """Tell whether a layer's own weights can take a scale for each channel of what it makes, and may be trained."""
    norm = dialect.stock_class(layer) == "BatchNormalization"
    takes = role is Role.CONV or (norm and layer.gamma is not None and layer.beta is not None)
    return takes and bool(layer.trainable)


@dataclass
class Scale:
    """A convolution or BatchNormalization, and the elementwise calls behind it.

    Attributes:
        reading: The model.
        call: The layer's call.
        chain: The elementwise calls behind it.
        rank: Number of axes between batch and channels.
        channels_last: Whether the channels come behind them.
        scope: The number of the graph that holds the calls.
    """

    reading: Reading
    call: Call
    chain: Sequence[Call]
    rank: int
    channels_last: bool
    scope: int = 0

    def __post_init__(self) -> None:
        self.dialect = self.reading.dialect
        self.layer = self.dialect.unwrapped(self.reading.layers[self.call.layer])
        is_conv = self.call.role is Role.CONV
        self.kernel = (
            Kernel(self.reading, self.call, self.chain, self.rank, scope=self.scope)
            if is_conv
            else None
        )

    @property
    def can_shift(self) -> bool:
        """Whether an offset can be written."""
        return self.kernel is None or self.kernel.bias is not None

    @property
    def step(self) -> float:
        """How far apart two sums must lie, in standard deviations, to tell the slope of what follows in its dtype."""
        return slope_step(self.reading, self.scope, (self.call, *self.chain))

    def sums(self, taps: Array) -> Array:
        """Return what the layer makes in front of its activation: (rows, taps, channels) -> (rows, channels)."""
        if self.kernel is not None:
            made = np.matmul(self.kernel.rows(taps), self.kernel.weights()).transpose(1, 0, 2)
            return np.asarray(made.reshape(len(taps), -1) + self.kernel.offset())
        value = laid_out(taps[:, 0], self.rank, self.channels_last)
        return self._run([self.call], value)

    def through(self, sums: Array) -> Array:
        """Return what its activation and the layers behind make of that, shape (rows, channels)."""
        if self.kernel is not None:
            return self.kernel.through(sums)
        value = laid_out(sums, self.rank, self.channels_last)
        return self._run(self.chain, value)

    def write(self, scale: Array, offset: Array) -> None:
        """Give the layer's weights a scale and an offset, each of shape (channels,)."""
        assign, array = self.dialect.assign, self.dialect.array
        if self.kernel is None:
            assign(self.layer.gamma, array(self.layer.gamma) * scale)
            assign(self.layer.beta, array(self.layer.beta) * scale + offset)
            return
        variable = self.kernel.variable
        filters = (
            scale.reshape(variable.shape[-2:]) if self.kernel.kind == "DepthwiseConv" else scale
        )
        assign(variable, array(variable) * filters)
        if self.kernel.bias is not None:
            assign(self.kernel.bias, array(self.kernel.bias) * scale + offset)

    def _run(self, calls: Sequence[Call], value: Array) -> Array:
        for call in calls:
            value = played(self.reading, self.scope, call, [value])
        return np.asarray(value, np.float32).reshape(len(value), -1)
