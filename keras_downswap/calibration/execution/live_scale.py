"""The live side of a pool scale: the layer that takes it up, and what follows it."""

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
            return self._run([self.calls.call], patches[:, 0])
        design = self.kernel.design_matrix(patches)
        by_group = np.matmul(design, self.kernel.weights())
        by_row = by_group.transpose(1, 0, 2)
        sums = by_row.reshape(len(patches), -1)
        return np.asarray(sums + self.kernel.offset())

    def apply_activation(self, sums: Array) -> Array:
        """Return what the layer's activation and the calls after it make of the sums.

        Args:
            sums: Shape (rows, channels).

        Returns:
            The same shape.
        """
        if self.kernel is not None:
            return self.kernel.apply_activation(sums)
        return self._run(self.calls.following, sums)

    def write(self, scale: Array, offset: Array) -> None:
        """Multiply the layer's output by a scale and add an offset, each of shape (channels,)."""
        dialect = self.calls.dialect
        assign, array = dialect.assign, dialect.array
        if self.kernel is None:
            # A BatchNormalization is x -> gamma x' + beta with x' normalised, so both multiply.
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
        bias = self.kernel.bias
        if bias is not None:
            assign(bias, array(bias) * scale + offset)

    def _run(self, calls: Sequence[Call], rows: Array) -> Array:
        """Run calls on rows of channels, shape (rows, channels), and return the same shape."""
        value = as_single_cells(rows, self.calls.rank, self.channels_last)
        for call in calls:
            value = self.calls.run(call, [value])
        single = np.asarray(value, np.float32)
        return single.reshape(len(rows), -1)
