"""Layers and operations of random models in words: what each does to shapes, and how either Keras
makes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.zoo.trap import nn, ops

Dim = int | tuple[int, ...]
"""A known length, or the lengths that an unknown one takes in the samples."""

PYTHON: dict[str, Callable[[Any], Any]] = {
    "python:half": lambda x: x * 0.5,
    "python:square": lambda x: x * x,
}
COMPUTED = {"mixed_float16": "float16", None: "float32"}
MERGES = ("Add", "Multiply", "Maximum", "Average", "Subtract", "Concatenate")


@dataclass(frozen=True)
class Spec:
    """A tensor: its shape without the batch, and its dtype."""

    shape: tuple[Dim, ...]
    dtype: str = "float32"

    @property
    def rank(self) -> int:
        """Number of spatial axes; 0 of a vector."""
        return len(self.shape) - 1

    @property
    def known(self) -> bool:
        """Whether every length is known."""
        return all(isinstance(n, int) for n in self.shape)


def each(function: Callable[..., int], *dims: Dim) -> Dim:
    """Apply a function of lengths to dims, sample by sample where one is unknown."""
    if all(isinstance(n, int) for n in dims):
        return function(*dims)
    count = next(len(n) for n in dims if isinstance(n, tuple))
    return tuple(
        function(*row)
        for row in zip(*((n,) * count if isinstance(n, int) else n for n in dims), strict=True)
    )


def least(dim: Dim) -> int:
    """Return the smallest length of a dim."""
    return dim if isinstance(dim, int) else min(dim)


def shortened(n: int, size: int, stride: int, dilation: int, padding: str) -> int:
    """Return how many windows fit, from the textbook formulas."""
    return (n - dilation * (size - 1) - 1) // stride + 1 if padding == "valid" else -(-n // stride)


@dataclass(frozen=True)
class Layer:
    """One layer (a capital initial) or operation, in words."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self, K: Any, made: dict[int, Any], around: Sequence[Any] = ()) -> Any:
        """Return the layer of a Keras, or the function that applies the operation."""
        if self.kind in OPERATIONS:
            return lambda x: OPERATIONS[self.kind](K, x)
        given = {
            k: PYTHON.get(v, v) if isinstance(v, str) else v for k, v in self.arguments.items()
        }
        given = {k: v.make(K, made) if isinstance(v, Layer) else v for k, v in given.items()}
        return getattr(K.layers, self.kind)(**given)

    def after(self, specs: tuple[Spec, ...]) -> tuple[Spec, ...] | None:
        """Return what comes out for these inputs; None where they do not fit."""
        if self.kind in ("concat", "sum") and len({spec.dtype for spec in specs}) > 1:
            return None
        shape = self._shape([spec.shape for spec in specs])
        if shape is None or any(least(n) < 1 for n in shape):
            return None
        dtype = self.arguments.get("dtype")
        dtype = specs[0].dtype if self.kind in OPERATIONS else COMPUTED.get(dtype, dtype)
        return (Spec(shape, str(dtype)),)

    def _shape(self, shapes: list[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
        (first, *others), arguments = shapes, self.arguments
        kind = {"concat": "Concatenate", "sum": "Add"}.get(self.kind, self.kind)
        if kind in MERGES:
            return _merged(
                first, others, arguments.get("axis", -1) if kind == "Concatenate" else None
            )
        if kind in SHAPES:
            return SHAPES[kind](first, arguments)
        found = re.fullmatch(r"(\w+?)([123])D(Transpose)?", kind)
        if found is None or found[1] == "SpatialDropout":
            return first
        if len(first) != int(found[2]) + 1:
            return None
        moved = arguments.get("data_format") == "channels_first"
        channels, space = (first[0], first[1:]) if moved else (first[-1], first[:-1])
        if "kernel_size" in arguments and not isinstance(channels, int):
            return None
        if found[1].startswith("Global"):
            ones = (1,) * len(space)
            return (
                (channels,)
                if not arguments.get("keepdims")
                else (channels, *ones)
                if moved
                else (*ones, channels)
            )
        lengths = _lengths(found[1] + (found[3] or ""), space, arguments)
        channels = arguments.get(
            "filters", each(lambda n: n * arguments.get("depth_multiplier", 1), channels)
        )
        return (channels, *lengths) if moved else (*lengths, channels)


def _lengths(kind: str, space: tuple[Dim, ...], arguments: dict[str, Any]) -> tuple[Dim, ...]:
    every = range(len(space))
    if kind in ("ZeroPadding", "Cropping"):
        cells = arguments["padding" if kind == "ZeroPadding" else "cropping"]
        pairs, sign = [cells] if len(space) == 1 else cells, 1 if kind == "ZeroPadding" else -1
        return tuple(each(lambda n, i=i: n + sign * sum(pairs[i]), space[i]) for i in every)
    if kind == "UpSampling":
        factor = arguments["size"]
        return tuple(
            each(lambda n, i=i: n * (factor[i] if len(space) > 1 else factor), space[i])
            for i in every
        )
    sizes, strides = arguments.get("kernel_size") or arguments["pool_size"], arguments["strides"]
    if kind == "ConvTranspose":
        more = [
            max(k - s, 0) if arguments["padding"] == "valid" else 0
            for k, s in zip(sizes, strides, strict=True)
        ]
        return tuple(each(lambda n, i=i: n * strides[i] + more[i], space[i]) for i in every)
    far = arguments.get("dilation_rate", (1,) * len(space))
    facts = list(zip(sizes, strides, far, strict=True))
    return tuple(
        each(lambda n, i=i: shortened(n, *facts[i], arguments["padding"]), space[i]) for i in every
    )


def _merged(
    first: tuple[Dim, ...], others: list[tuple[Dim, ...]], axis: int | None
) -> tuple[Dim, ...] | None:
    """Return the shape of a join; sizes of 1 stretch unless the join is a concatenation."""
    shape = list(first)
    for other in others:
        if len(other) != len(shape):
            return None
        for i, (a, b) in enumerate(zip(shape, other, strict=True)):
            if axis is not None and i == axis % len(shape):
                shape[i] = each(lambda n, m: n + m, a, b)
            elif a != b and (axis is not None or 1 not in (a, b)):
                return None
            else:
                shape[i] = b if a == 1 else a
    return tuple(shape)


def _reshaped(shape: tuple[Dim, ...], arguments: dict[str, Any]) -> tuple[Dim, ...] | None:
    known = [n for n in shape if isinstance(n, int)]
    if len(known) < len(shape):
        return None
    target = arguments.get("target_shape", (math.prod(known),))
    return target if math.prod(target) == math.prod(known) else None


def _in_time(shape: tuple[Dim, ...], arguments: dict[str, Any]) -> tuple[Dim, ...] | None:
    made: tuple[Spec, ...] | None = (
        arguments["layer"].after((Spec(shape[1:]),)) if len(shape) > 2 else None
    )
    return None if made is None else (shape[0], *made[0].shape)


SHAPES: dict[str, Callable[[tuple[Dim, ...], dict[str, Any]], tuple[Dim, ...] | None]] = {
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Permute": lambda shape, a: (
        tuple(shape[i - 1] for i in a["dims"]) if len(a["dims"]) == len(shape) else None
    ),
    "Dense": lambda shape, a: (*shape[:-1], a["units"]) if isinstance(shape[-1], int) else None,
    "TimeDistributed": _in_time,
    "slice": lambda shape, a: (each(lambda n: n - 1, shape[0]), *shape[1:]),
    "mean": lambda shape, a: shape[1:] if len(shape) > 1 else None,
}


def _one_of(K: Any, keras: str, tensorflow: str) -> Callable[..., Any]:
    """Return a function by its name in Keras 3, or by its name in TensorFlow."""
    return getattr(ops(K), keras if hasattr(K, "ops") else tensorflow)  # type: ignore[no-any-return]


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "affine": lambda K, x: x * 2.0 + 1.0,
    "slice": lambda K, x: x[:, 1:],
    "relu": lambda K, x: nn(K).relu(x),
    "mean": lambda K, x: _one_of(K, "mean", "reduce_mean")(x, 1),
    "sum": lambda K, x: x[0] + x[1],
    "concat": lambda K, x: _one_of(K, "concatenate", "concat")(x, -1),
}
