"""The live side of a fit: a layer's kernel as a matrix, what follows it as a function, and both written back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call, Role
from keras_downswap.ir.types import Array
from keras_downswap.rebuilding.make_layers import kernels


@dataclass(frozen=True)
class Join:
    """A call that joins what a kernel leads to with other branches.

    Attributes:
        position: Which of its arguments the kernel's way is.
        others: How many others it takes that make a difference: none, where channels are
            concatenated.
        around: Channels before and behind those of the way, where they are.
    """

    position: int
    others: int
    around: tuple[int, int] | None = None


@dataclass
class Kernel:
    """A convolution or dense layer whose kernel is fitted, and the elementwise calls behind it.

    A separable convolution is fitted in its pointwise kernel; what its depthwise one makes are the
    rows.

    Attributes:
        reading: The model.
        call: The layer's call.
        chain: The elementwise calls behind it.
        rank: Number of axes between batch and channels of what it makes.
        site: Whether the layer is a site's own: then a frozen BatchNormalization behind it may move
            too.
        joins: Those of the calls behind it that join it with other branches, by their numbers.
        scope: The number of the graph that holds the calls.
    """

    reading: Reading
    call: Call
    chain: Sequence[Call]
    rank: int
    site: bool = True
    joins: Mapping[int, Join] = field(default_factory=dict)
    scope: int = 0

    def __post_init__(self) -> None:
        self.dialect = self.reading.dialect
        of = self.dialect.unwrapped
        self.layer = of(self.reading.layers[self.call.layer])
        self.behind = [of(self.reading.layers[call.layer]) for call in self.chain]
        self.kind = (
            str(self.call.settings.get("kind", "Dense")) if self.call.role is Role.CONV else "Dense"
        )
        self.variable = list(kernels(self.layer).values())[-1]
        self.shape = tuple(self.variable.shape)
        self.bias = self.layer.bias if self.layer.use_bias else None

    @property
    def groups(self) -> int:
        """How many sets of filters see inputs of their own."""
        if self.kind == "DepthwiseConv":
            return int(self.shape[-2])
        return int(self.layer.groups) if self.kind == "Conv" else 1

    @property
    def unknowns(self) -> int:
        """Kernel values of one filter."""
        return int(
            np.prod(self.shape[:-2]) * (1 if self.kind == "DepthwiseConv" else self.shape[-2])
        )

    @property
    def filters(self) -> int:
        """Channels that the layer makes."""
        return (
            int(np.prod(self.shape[-2:])) if self.kind == "DepthwiseConv" else int(self.shape[-1])
        )

    @property
    def norm(self) -> Any:
        """The BatchNormalization behind it that takes what the kernel makes and may move; None where there is none."""
        if self._active:
            return None
        for call, layer in zip(self.chain, self.behind, strict=True):
            if self.dialect.stock_class(layer) == "BatchNormalization":
                return layer if self._is_alone(call) and (self.site or layer.trainable) else None
            if not call.class_name.endswith(("Dropout", "Noise")):
                return None
        return None

    def _is_alone(self, call: Call) -> bool:
        return call.uses(self.reading.graph.uses()) == 1 and call.frozen_training is None

    @property
    def _active(self) -> bool:
        activation = getattr(self.layer, "activation", None)
        return activation is not None and getattr(activation, "__name__", "") != "linear"

    @property
    def makes_probabilities(self) -> bool:
        """Whether it ends in a softmax over its channels: sums that differ by one number for all are alike then."""
        behind = self.call.channels_last or self.rank < 1
        return (
            not self.chain
            and behind
            and getattr(self.layer.activation, "__name__", "") == "softmax"
        )

    @staticmethod
    def before_softmax(chances: Array) -> Array:
        """Return the sums that make probabilities, of mean 0 over the channels."""
        least = 6e-5 if chances.dtype == np.float16 else 1e-37
        logs = np.log(np.maximum(chances.astype(np.float32), np.float32(least)))
        return np.asarray(logs - logs.mean(-1, keepdims=True))

    @property
    def can_shift(self) -> bool:
        """Whether an offset can be written: as a bias, or into the BatchNormalization behind."""
        return self.bias is not None or self.norm is not None

    @property
    def step(self) -> float:
        """How far apart two sums must lie, in standard deviations, to tell the slope of what follows in its dtype."""
        return slope_step(self.reading, self.scope, (self.call, *self.chain))

    def rows(self, taps: Array) -> Array:
        """Return what each group of filters sees: (rows, taps, channels) -> (groups, rows, unknowns), float32."""
        taps = taps.astype(np.float32, copy=False)
        if self.kind == "SeparableConv":
            first = self.dialect.array(next(iter(kernels(self.layer).values()))).astype(np.float32)
            made: Array = np.einsum("ntc,tcm->ncm", taps, first.reshape(-1, *first.shape[-2:]))
            return made.reshape(1, len(made), -1)
        parts = taps.reshape(*taps.shape[:2], self.groups, -1)
        rows = np.ascontiguousarray(parts.transpose(2, 0, 1, 3))
        return rows.reshape(self.groups, len(taps), -1)

    def weights(self) -> Array:
        """Return the kernel as (groups, unknowns, filters of a group)."""
        kernel = self.dialect.array(self.variable).astype(np.float32)
        if self.kind == "DepthwiseConv":
            return np.ascontiguousarray(np.moveaxis(kernel, -2, 0)).reshape(
                self.groups, self.unknowns, -1
            )
        flat = kernel.reshape(self.unknowns, self.groups, -1)
        return np.ascontiguousarray(flat.transpose(1, 0, 2))

    def offset(self) -> Array:
        """Return the bias, zeros where there is none."""
        return (
            self.dialect.array(self.bias) if self.bias is not None else np.zeros(self.filters)
        ).astype(np.float32)

    def own(self, values: Array) -> Array:
        """Return the channels, on the last axis, that the kernel makes of all those that joins put together."""
        around = [join.around for join in self.joins.values() if join.around is not None]
        before, after = (sum(sides) for sides in zip(*around, strict=True)) if around else (0, 0)
        return values[..., before : values.shape[-1] - after]

    def through(self, sums: Array, *beside: Array) -> Array:
        """Return what the layers behind make of the kernel's sums, shape (rows, filters).

        Args:
            sums: The sums, shape (rows, filters).
            beside: What other branches bring to joins, in order, each of shape (rows, channels).
        """
        value, others = laid_out(sums, self.rank, self.call.channels_last), iter(beside)
        if self._active and not self.makes_probabilities:
            value = self.dialect.to_array(self.layer.activation(self.dialect.to_tensor(value)))
        for call in self.chain:
            value = self._behind(call, value, others)
        return self.own(np.asarray(value, np.float32).reshape(len(sums), -1))

    def _behind(self, call: Call, value: Array, others: Iterator[Array]) -> Array:
        """Return what a call makes of a value, a join of others besides; zeros stand for concatenated ones."""
        join, last, taken = self.joins.get(call.index), self.call.channels_last, [value]
        if join is not None and join.around is not None:
            sides = [(0, 0)] * value.ndim
            sides[-1 if last else 1] = join.around
            return np.pad(value, sides)
        if join is not None:
            taken = [laid_out(next(others), self.rank, last) for _ in range(join.others)]
            taken.insert(join.position, value)
        return played(self.reading, self.scope, call, taken)

    def write(self, weights: Array, bias: Array, sums: Array) -> None:
        """Write a fit back; a BatchNormalization behind gets the statistics that it will meet, its map unchanged.

        Args:
            weights: As `weights` gives them.
            bias: The offset, shape (filters,).
            sums: What the kernel now makes of the rows, without the offset.
        """
        kernel = weights.transpose(1, 0, 2) if self.kind != "DepthwiseConv" else weights
        if self.kind == "DepthwiseConv":
            kernel = np.moveaxis(weights.reshape(self.groups, *self.shape[:-2], -1), 0, -2)
        self.dialect.assign(self.variable, kernel.reshape(self.shape))
        norm = self.norm
        if self.bias is not None:
            self.dialect.assign(self.bias, bias)
            seen = sums + bias
            shift = np.zeros_like(bias)
        else:
            seen, shift = sums, bias
        if norm is not None:
            self._renormalise(norm, seen, shift)

    def _renormalise(self, norm: Any, seen: Array, shift: Array) -> None:
        array, assign = self.dialect.array, self.dialect.assign
        mean, variance = (
            array(norm.moving_mean).astype(np.float64),
            array(norm.moving_variance).astype(np.float64),
        )
        if norm.gamma is None or norm.beta is None:
            assign(norm.moving_mean, mean - shift)
            return
        gamma, beta = array(norm.gamma).astype(np.float64), array(norm.beta).astype(np.float64)
        scale = gamma / np.sqrt(variance + norm.epsilon)
        now, spread = seen.mean(0, dtype=np.float64), seen.var(0, dtype=np.float64)
        assign(norm.moving_mean, now)
        assign(norm.moving_variance, spread)
        assign(norm.gamma, scale * np.sqrt(spread + norm.epsilon))
        assign(norm.beta, beta + scale * (now + shift - mean))


def slope_step(reading: Reading, scope: int, calls: Iterable[Call]) -> float:
    """Return how far apart two values must lie, in standard deviations, to tell the slope of calls in their dtypes."""
    tensors = reading.scopes[scope].graph.tensors
    return (
        0.1
        if {tensors[t].dtype for call in calls for t in call.outputs} & {"float16", "bfloat16"}
        else 0.01
    )


def played(reading: Reading, scope: int, call: Call, values: Sequence[Array]) -> Array:
    """Return what a call makes of arrays, one for each tensor it takes."""
    tensors, dialect = reading.scopes[scope].graph.tensors, reading.dialect
    if call.wrapped is not None:
        steps = values[0].reshape(-1, *values[0].shape[2:])
        inner = dialect.unwrapped(reading.layers[call.layer])
        made = dialect.to_array(
            dialect.run_layer(inner, dialect.to_tensor(steps, tensors[call.inputs[0]].dtype))
        )
        return made.reshape(*values[0].shape[:2], *made.shape[1:])
    given = {
        t: dialect.to_tensor(value, tensors[t].dtype)
        for t, value in zip(call.inputs, values, strict=True)
    }
    return dialect.to_array(reading.run_call(scope, call, given)[0])


def laid_out(sums: Array, rank: int, channels_last: bool) -> Array:
    """Return rows of channels as maps of one cell: from shape (rows, channels)."""
    ones = (1,) * rank
    return sums.reshape((len(sums), *ones, -1) if channels_last else (len(sums), -1, *ones))
