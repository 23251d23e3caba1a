"""The live side of a kernel fit: the kernel as a matrix, and what follows as a function."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_downswap.calibration.execution.calls import CallChain, as_single_cells
from keras_downswap.ir.facts import ElementwiseFacts, LayerKind
from keras_downswap.ir.graph import Call, Role
from keras_downswap.ir.types import Array
from keras_downswap.rebuilding.make_layers import kernels


@dataclass(frozen=True)
class Join:
    """A call that joins the output of a fitted layer with other branches.

    Attributes:
        position: Which of its arguments is the fitted branch.
        others: How many other arguments change the values: none, where channels are concatenated.
        around: Channels before and after those of the fitted branch, where they are concatenated.
    """

    position: int
    others: int
    around: tuple[int, int] | None = None


@dataclass(frozen=True)
class LiveKernel:
    """A convolution or dense layer whose kernel is fitted, and the elementwise calls after it.

    A separable convolution is fitted in its pointwise kernel; what its depthwise kernel makes of
    the input are the rows of the design matrix.

    Attributes:
        calls: The layer's call, and the calls after it.
        layer: The layer.
        kind: `Conv`, `DepthwiseConv`, `SeparableConv` or `Dense`.
        kernels: Its kernel variables in the order in which they run; the last one is fitted.
        bias: Its bias variable; None where there is none.
        is_site: Whether the layer is a site's own: then a frozen BatchNormalization after it may
            change too.
        joins: The joins among the calls after it, by the number of the call.
    """

    calls: CallChain
    layer: Any
    kind: LayerKind
    kernels: tuple[Any, ...]
    bias: Any
    is_site: bool = True
    joins: Mapping[int, Join] = field(default_factory=dict)

    @classmethod
    def of(
        cls, calls: CallChain, is_site: bool = True, joins: Mapping[int, Join] | None = None
    ) -> LiveKernel:
        """Look up the layer of a call, and its variables."""
        layer = calls.layer
        kind = LayerKind.DENSE
        if calls.call.role is Role.CONV:
            kind = calls.call.conv.kind
        bias = layer.bias if layer.use_bias else None
        variables = tuple(kernels(layer).values())
        return cls(calls, layer, kind, variables, bias, is_site, joins or {})

    @property
    def variable(self) -> Any:
        """The kernel that is fitted."""
        return self.kernels[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel that is fitted: (*taps, input channels, output channels).

        For a depthwise convolution it is (*taps, channels, filters of a channel).
        """
        return tuple(self.variable.shape)

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has filters of its own."""
        return self.kind is LayerKind.DEPTHWISE_CONV

    @property
    def groups(self) -> int:
        """Number of sets of filters that see different input channels."""
        if self.is_depthwise:
            return int(self.shape[-2])
        return int(self.layer.groups) if self.kind is LayerKind.CONV else 1

    @property
    def unknowns(self) -> int:
        """Kernel values of one filter."""
        taps = math.prod(self.shape[:-2])
        return taps if self.is_depthwise else taps * self.shape[-2]

    @property
    def filters(self) -> int:
        """Output channels of the layer."""
        if self.is_depthwise:
            return math.prod(self.shape[-2:])
        return self.shape[-1]

    @property
    def batch_norm(self) -> Any:
        """The BatchNormalization whose input is the kernel's output and that may change.

        None where there is none: an activation lies between, it is called elsewhere too, or it is
        frozen and no part of a site.
        """
        if self._has_activation:
            return None
        for call in self.calls.following:
            layer = self.calls.layer_of(call)
            if self.calls.dialect.is_batch_norm(layer):
                may_change = self.is_site or layer.trainable
                return layer if may_change and self._is_alone(call) else None
            # Dropout and noise do nothing at inference: the layer after them has the same input.
            facts = call.facts
            if not isinstance(facts, ElementwiseFacts) or not facts.is_identity:
                return None
        return None

    def _is_alone(self, call: Call) -> bool:
        uses = self.calls.reading.graph.uses()
        return call.uses(uses) == 1 and call.frozen_training is None

    @property
    def _has_activation(self) -> bool:
        activation = getattr(self.layer, "activation", None)
        return activation is not None and getattr(activation, "__name__", "") != "linear"

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the layer's activation is a softmax over its channels, and nothing follows.

        Logits that differ by one number in all channels give the same probabilities, so the fit
        leaves that number open.
        """
        call = self.calls.call
        # A softmax runs over the last axis, wherever the channels are.
        over_channels = call.channels_last or self.calls.rank < 1
        is_softmax = getattr(self.layer.activation, "__name__", "") == "softmax"
        return is_softmax and over_channels and not self.calls.following

    @property
    def can_shift(self) -> bool:
        """Whether an offset can be written: as a bias, or into the BatchNormalization after."""
        return self.bias is not None or self.batch_norm is not None

    def design_matrix(self, patches: Array) -> Array:
        """Return the rows that the filters of each group are multiplied by.

        Args:
            patches: Input windows, shape (rows, taps, channels).

        Returns:
            Shape (groups, rows, unknowns), float32, the unknowns in the order of `weights`.
        """
        patches = patches.astype(np.float32, copy=False)
        count, taps = patches.shape[:2]
        if self.kind is LayerKind.SEPARABLE_CONV:
            # The unknowns are those of the pointwise kernel: one for each depthwise output.
            spatial = self._value_of(self.kernels[0])
            flat = spatial.reshape(taps, *spatial.shape[-2:])
            depthwise: Array = np.einsum("ntc,tcm->ncm", patches, flat)
            return depthwise.reshape(1, count, -1)
        # Grouped and depthwise convolutions split the channels; taps stay together in a row.
        by_channels = patches.reshape(count, taps, self.groups, -1)
        by_group = by_channels.transpose(2, 0, 1, 3)
        design = np.ascontiguousarray(by_group)
        return design.reshape(self.groups, count, -1)

    def weights(self) -> Array:
        """Return the kernel as (groups, unknowns, filters of a group)."""
        kernel = self._value_of(self.variable)
        if self.is_depthwise:
            channels_first = np.ascontiguousarray(np.moveaxis(kernel, -2, 0))
            return channels_first.reshape(self.groups, self.unknowns, -1)
        by_group = kernel.reshape(self.unknowns, self.groups, -1)
        return np.ascontiguousarray(by_group.transpose(1, 0, 2))

    def offset(self) -> Array:
        """Return the bias, zeros where there is none, shape (filters,)."""
        if self.bias is None:
            return np.zeros(self.filters, np.float32)
        return self._value_of(self.bias)

    def _value_of(self, variable: Any) -> Array:
        return self.calls.dialect.array(variable).astype(np.float32)

    def own_channels(self, values: Array) -> Array:
        """Return the channels that are the kernel's, of all that joins concatenate.

        Args:
            values: Shape (rows, channels), what stands after the last call.
        """
        before = after = 0
        for join in self.joins.values():
            if join.around is not None:
                before += join.around[0]
                after += join.around[1]
        return values[..., before : values.shape[-1] - after]

    def apply_activation(self, sums: Array, *side_values: Array) -> Array:
        """Return what the layer's activation and the calls after it make of the kernel's sums.

        A softmax at the end is left out: the fit compares logits.

        Args:
            sums: The sums with the bias, shape (rows, filters).
            side_values: Arguments of joins from other branches, in order, each of shape (rows,
                channels).

        Returns:
            Shape (rows, filters), float32.
        """
        dialect = self.calls.dialect
        value = self._as_cells(sums)
        others = iter(side_values)
        if self._has_activation and not self.ends_in_softmax:
            activated = self.layer.activation(dialect.to_tensor(value))
            value = dialect.to_array(activated)
        for call in self.calls.following:
            value = self._apply(call, value, others)
        single = np.asarray(value, np.float32)
        return self.own_channels(single.reshape(len(sums), -1))

    def _as_cells(self, rows: Array) -> Array:
        channels_last = self.calls.call.channels_last
        return as_single_cells(rows, self.calls.rank, channels_last)

    def _apply(self, call: Call, value: Array, others: Iterator[Array]) -> Array:
        """Return what a call makes of a value; a join consumes further values of `others`."""
        join = self.joins.get(call.index)
        if join is None:
            return self.calls.run(call, [value])
        if join.around is not None:
            # Concatenated channels change nothing in the fitted ones: zeros stand for them.
            channel_axis = -1 if self.calls.call.channels_last else 1
            widths = [(0, 0)] * value.ndim
            widths[channel_axis] = join.around
            return np.pad(value, widths)
        arguments = [self._as_cells(next(others)) for _ in range(join.others)]
        arguments.insert(join.position, value)
        return self.calls.run(call, arguments)

    def write(self, weights: Array, bias: Array, sums: Array) -> None:
        """Write a fit into the layer.

        A BatchNormalization after it gets the statistics of its new input, while the function that
        it computes stays the same.

        Args:
            weights: As `weights` returns them.
            bias: The offset, shape (filters,).
            sums: The output of the new kernel for the rows, without the offset.
        """
        assign = self.calls.dialect.assign
        assign(self.variable, self._kernel_of(weights))
        # Without a bias, the offset goes into the BatchNormalization.
        shift = bias
        if self.bias is not None:
            assign(self.bias, bias)
            sums = sums + bias
            shift = np.zeros_like(bias)
        norm = self.batch_norm
        if norm is not None:
            self._renormalise(norm, sums, shift)

    def _kernel_of(self, weights: Array) -> Array:
        """Return weights, laid out as `weights` returns them, in the shape of the kernel."""
        if self.is_depthwise:
            taps = self.shape[:-2]
            by_channel = weights.reshape(self.groups, *taps, -1)
            kernel = np.moveaxis(by_channel, 0, -2)
        else:
            kernel = weights.transpose(1, 0, 2)
        return kernel.reshape(self.shape)

    def _renormalise(self, norm: Any, inputs: Array, shift: Array) -> None:
        """Give a BatchNormalization new statistics, and keep its function but for a shift.

        Its function is x -> scale x + (beta - scale mean). New statistics would change it; gamma
        and beta make up for that, so that training mode, which uses the statistics of the batch,
        and inference agree when distillation begins.
        """
        dialect = self.calls.dialect
        array, assign = dialect.array, dialect.assign
        mean = array(norm.moving_mean).astype(np.float64)
        variance = array(norm.moving_variance).astype(np.float64)
        if norm.gamma is None or norm.beta is None:
            # It cannot make up for new statistics: the shift alone goes into the mean.
            assign(norm.moving_mean, mean - shift)
            return
        gamma = array(norm.gamma).astype(np.float64)
        beta = array(norm.beta).astype(np.float64)
        scale = gamma / np.sqrt(variance + norm.epsilon)
        new_mean = inputs.mean(0, dtype=np.float64)
        new_variance = inputs.var(0, dtype=np.float64)
        assign(norm.moving_mean, new_mean)
        assign(norm.moving_variance, new_variance)
        new_deviation = np.sqrt(new_variance + norm.epsilon)
        assign(norm.gamma, scale * new_deviation)
        assign(norm.beta, beta + scale * (new_mean + shift - mean))


def logits_of(probabilities: Array) -> Array:
    """Return the logits of probabilities, with a mean of 0 over the channels.

    Args:
        probabilities: Shape (rows, channels).

    Returns:
        The same shape, float32.
    """
    # The smallest positive numbers of the dtypes, about: what underflowed to 0 has a logarithm.
    least = np.float32(6e-5 if probabilities.dtype == np.float16 else 1e-37)
    single = probabilities.astype(np.float32)
    logits = np.log(np.maximum(single, least))
    mean = logits.mean(-1, keepdims=True)
    return np.asarray(logits - mean)
