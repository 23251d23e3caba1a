"""The live side of a scale and an offset for each channel: the layer that takes them up, and what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_downswap.calibration.execution.calls import CallChain, as_single_cells
from keras_downswap.calibration.execution.live_kernel import LiveKernel
from keras_downswap.ir.graph import Call, Role
from keras_downswap.ir.types import Array


@dataclass(frozen=True)
class LiveScale:
    """A convolution or BatchNormalization, and the elementwise calls after it.

    Attributes:
        calls: The layer's call, and the calls after it.
        channels_last: Whether the channels are on the last axis of its output.
        kernel: The layer's kernel; None where it is a BatchNormalization.
    """

    calls: CallChain
    channels_last: bool
    kernel: LiveKernel | None

    @classmethod
    def of(cls, calls: CallChain, channels_last: bool) -> LiveScale:
        """Look up the layer of a call."""
        is_conv = calls.call.role is Role.CONV
        return cls(calls, channels_last, LiveKernel.of(calls) if is_conv else None)

    @property
    def can_shift(self) -> bool:
        """Whether an offset can be written."""
        return self.kernel is None or self.kernel.bias is not None

    def sums(self, patches: Array) -> Array:
        """Return the layer's output before its activation.

        Args:
            patches: Input windows, shape (rows, taps, channels).

        Returns:
            Shape (rows, channels).
        """
        if self.kernel is None:
            # A BatchNormalization sees each cell alone: there is one tap.
            value = as_single_cells(patches[:, 0], self.calls.rank, self.channels_last)
            return self._run([self.calls.call], value)
        by_group = np.matmul(self.kernel.design_matrix(patches), self.kernel.weights())
        made = by_group.transpose(1, 0, 2).reshape(len(patches), -1)
        return np.asarray(made + self.kernel.offset())

    def apply_activation(self, sums: Array) -> Array:
        """Return what the layer's activation and the calls after it make of the sums.

        Args:
            sums: Shape (rows, channels).

        Returns:
            The same shape.
        """
        if self.kernel is not None:
            return self.kernel.apply_activation(sums)
        value = as_single_cells(sums, self.calls.rank, self.channels_last)
        return self._run(self.calls.following, value)

    def write(self, scale: Array, offset: Array) -> None:
        """Multiply the layer's output by a scale and add an offset, each of shape (channels,)."""
        assign, array = self.calls.dialect.assign, self.calls.dialect.array
        if self.kernel is None:
            norm = self.calls.layer
            assign(norm.gamma, array(norm.gamma) * scale)
            assign(norm.beta, array(norm.beta) * scale + offset)
            return
        variable = self.kernel.variable
        filter_scale = scale
        if self.kernel.is_depthwise:
            # The last two axes of its kernel together are the output channels.
            filter_scale = scale.reshape(variable.shape[-2:])
        assign(variable, array(variable) * filter_scale)
        if self.kernel.bias is not None:
            assign(self.kernel.bias, array(self.kernel.bias) * scale + offset)

    def _run(self, calls: Sequence[Call], value: Array) -> Array:
        for call in calls:
            value = self.calls.run(call, [value])
        return np.asarray(value, np.float32).reshape(len(value), -1)
