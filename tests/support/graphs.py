"""Synthetic graphs, as a dialect would read them off a model, and what their layers compute, in
float64 loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_downswap.dialects.layer_arguments import constructor_arguments
from keras_downswap.ir.facts import (
    RESIZE_KINDS,
    ConvFacts,
    ElementwiseFacts,
    LayerKind,
    PoolFacts,
    ResizeFacts,
)
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role, Shape, Tensor, spatial
from keras_downswap.ir.replacement import Make, MakeConv, Replacement
from keras_downswap.planning.sites import Site

Axes = int | Sequence[int]
BOTH = RESIZE_KINDS


def axes(value: Axes, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


@dataclass
class Sketch:
    """A graph being drawn: every method adds one call and returns the number of its output tensor.

    Sketches of one model's scopes need a scope number each and one iterator of layer numbers
    together.
    """

    scope: int = 0
    name: str = "model"
    channels_last: bool = True
    numbers: Iterator[int] = field(default_factory=count)
    calls: list[Call] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)

    def input(
        self, *sizes: int | None, channels: int = 2, dtype: str = "float32", name: str = "input"
    ) -> int:
        self.inputs.append(
            self.add(name, "InputLayer", Role.INPUT, (), self.shaped(sizes, channels), dtype)
        )
        return self.inputs[-1]

    def conv(
        self,
        x: int,
        kernel: Axes = 3,
        stride: Axes = 1,
        padding: Any = "valid",
        dilation: Axes = 1,
        *,
        filters: int = 4,
        kind: str = "Conv",
        name: str = "conv",
        activation: str = "linear",
        groups: int = 1,
        use_bias: bool = True,
        padding_layers: frozenset[LayerKind] = BOTH,
        marks: Mapping[str, bool] = MappingProxyType({}),
        **more: Any,
    ) -> int:
        rank = self.rank(x)
        sizes = (axes(value, rank) for value in (kernel, stride, dilation))
        windows = tuple(Window(k, s, d, padding) for k, s, d in zip(*sizes, strict=True))
        role = Role.OTHER_CONV if kind == "ConvLSTM" else Role.CONV
        known = None
        if role is Role.CONV:
            known = ConvFacts(
                kind=LayerKind(kind),
                filters=filters,
                groups=groups,
                use_bias=use_bias,
                activation=activation,
                padding_layers=padding_layers,
                **marks,
            )
        return self.slide(x, name, f"{kind}{rank}D", role, windows, filters, facts=known, **more)

    def pool(
        self,
        x: int,
        size: Axes = 2,
        stride: Axes | None = None,
        padding: Any = "valid",
        *,
        kind: str = "Max",
        name: str = "pool",
        **facts: Any,
    ) -> int:
        rank = self.rank(x)
        pairs = zip(axes(size, rank), axes(size if stride is None else stride, rank), strict=True)
        windows = tuple(Window(p, q, 1, padding) for p, q in pairs)
        return self.slide(
            x,
            name,
            f"{kind}Pooling{rank}D",
            Role[f"{kind.upper()}_POOL"],
            windows,
            facts=PoolFacts(BOTH),
            **facts,
        )

    def pad(self, x: int, *cells: tuple[int, int], name: str = "pad") -> int:
        sizes = [
            None if n is None else n + sum(pair)
            for n, pair in zip(self.sizes(x), cells, strict=True)
        ]
        shape, kind = self.shaped(sizes, self.channels(x)), f"ZeroPadding{self.rank(x)}D"
        return self.add(
            name, kind, Role.RESIZE, (x,), shape, self.tensors[x].dtype, facts=ResizeFacts(cells)
        )

    def global_pool(self, x: int, name: str = "gap", **facts: Any) -> int:
        shape, dtype = (None, self.channels(x)), self.tensors[x].dtype
        return self.add(
            name,
            f"GlobalAveragePooling{self.rank(x)}D",
            Role.GLOBAL_POOL,
            (x,),
            shape,
            dtype,
            **facts,
        )

    def relu(self, x: int, name: str = "relu", **facts: Any) -> int:
        return self.each(x, name, "ReLU", Role.POINTWISE, **facts)

    def batch_norm(self, x: int, name: str = "bn", axis: int | None = None, **facts: Any) -> int:
        rank = len(self.tensors[x].shape)
        own = (rank - 1 if self.channels_last else 1) if axis is None else axis % rank
        return self.each(
            x, name, "BatchNormalization", Role.LINEAR, facts=ElementwiseFacts(axis=own), **facts
        )

    def dropout(self, x: int, name: str = "dropout", **facts: Any) -> int:
        return self.each(x, name, "Dropout", Role.LINEAR, **facts)

    def cast(self, x: int, dtype: str, name: str = "cast") -> int:
        return self.each(x, name, "Activation", Role.LINEAR, dtype=dtype)

    def opaque(self, *xs: int, name: str = "opaque", **facts: Any) -> int:
        first = self.tensors[xs[0]]
        return self.add(name, "Opaque", Role.OTHER, xs, first.shape, first.dtype, **facts)

    def nested(self, x: int, inner: Graph, name: str, **facts: Any) -> int:
        out = inner.tensors[inner.outputs[0]]
        return self.add(
            name, "Functional", Role.MODEL, (x,), out.shape, out.dtype, nested_graph=inner, **facts
        )

    def again(self, call: Call, *xs: int) -> int:
        """Calls a layer once more (or, in another sketch, over again) on other tensors."""
        facts = {
            name: getattr(call, name)
            for name in ("layer", "facts", "unreachable_sites", "frozen_training")
        }
        if call.windows:
            facts["filters"] = call.conv.filters if isinstance(call.facts, ConvFacts) else None
            return self.slide(xs[0], call.name, call.class_name, call.role, call.windows, **facts)
        return self.add(
            call.name, call.class_name, call.role, xs, self.tensors[xs[0]].shape, "float32", **facts
        )

    def graph(self, *outputs: int) -> Graph:
        parts = tuple(self.calls), tuple(self.tensors), tuple(self.inputs)
        return Graph(self.scope, self.name, *parts, outputs or (self.last,))

    @property
    def last(self) -> int:
        return len(self.tensors) - 1

    def rank(self, x: int) -> int:
        return len(self.tensors[x].shape) - 2

    def channels(self, x: int) -> int | None:
        return self.tensors[x].shape[-1 if self.channels_last else 1]

    def sizes(self, x: int) -> Shape:
        return spatial(self.tensors[x].shape, self.channels_last)

    def shaped(self, sizes: Sequence[int | None], channels: int | None) -> Shape:
        return (None, *sizes, channels) if self.channels_last else (None, channels, *sizes)

    def each(
        self, x: int, name: str, class_name: str, role: Role, dtype: str | None = None, **facts: Any
    ) -> int:
        tensor = self.tensors[x]
        return self.add(name, class_name, role, (x,), tensor.shape, dtype or tensor.dtype, **facts)

    def slide(
        self,
        x: int,
        name: str,
        class_name: str,
        role: Role,
        windows: tuple[Window, ...],
        filters: int | None = None,
        dtype: str | None = None,
        **facts: Any,
    ) -> int:
        sizes = [
            None if n is None else w.law(n) for n, w in zip(self.sizes(x), windows, strict=True)
        ]
        shape = self.shaped(sizes, filters or self.channels(x))
        return self.add(
            name,
            class_name,
            role,
            (x,),
            shape,
            dtype or self.tensors[x].dtype,
            windows=windows,
            **facts,
        )

    def add(
        self,
        name: str,
        class_name: str,
        role: Role,
        xs: Sequence[int],
        shape: Shape,
        dtype: str,
        **facts: Any,
    ) -> int:
        index = len(self.calls)
        facts = {"channels_last": self.channels_last, **facts}
        number = facts.pop("layer") if "layer" in facts else next(self.numbers)
        self.tensors.append(Tensor(shape, dtype, index))
        self.calls.append(
            Call(index, number, name, class_name, role, tuple(xs), (self.last,), **facts)
        )
        return self.last


def pair(
    *sizes: int | None,
    conv: Mapping[str, Any] | None = None,
    between: Sequence[str] = (),
    pool: Mapping[str, Any] | None = None,
    last: bool = True,
) -> Graph:
    """Draws input -> convolution -> elementwise calls (by the name of their method) -> pool."""
    sketch = Sketch(channels_last=last)
    sketch.conv(sketch.input(*sizes), **(conv or {}))
    for number, method in enumerate(between):
        getattr(sketch, method)(sketch.last, name=f"{method}{number}")
    sketch.pool(sketch.last, **(pool or {}))
    return sketch.graph()


def arguments(step: Make) -> dict[str, Any]:
    """Returns the arguments of a made layer, in Keras' words."""
    return constructor_arguments(step)


def named(graph: Graph, name: str) -> Call:
    return next(call for call in graph.calls if call.name == name)


def made(answer: Site | Replacement | None) -> list[Make]:
    """Returns the layers that a swap makes, in graph order."""
    replacement = answer.replacement if isinstance(answer, Site) else answer
    assert replacement is not None, "the site is kept"
    return [
        s
        for index in sorted(replacement.steps)
        for s in replacement.steps[index]
        if isinstance(s, Make)
    ]


@cache
def placed(n: int, span: int, stride: int, padding: str) -> tuple[int, int]:
    """Returns (cells padded in front, number of windows) as TensorFlow defines them."""
    if padding == "same":
        out = -(-n // stride)
        return max((out - 1) * stride + span - n, 0) // 2, out
    left = span - 1 if padding == "causal" else 0
    return left, max(-(-(n + left - span + 1) // stride), 0)


def fixed_kernel(step: MakeConv, depth: int) -> Any:
    """Returns the kernel of a made convolution that stands for no other, as a dense one."""
    assert step.fixed is not None
    taps, groups = arguments(step)["kernel_size"], arguments(step).get("groups", depth)
    if step.kind == "Conv" and groups == 1:
        return step.fixed((*taps, depth, arguments(step)["filters"]))
    if step.kind == "DepthwiseConv":
        inside, outside = 1, arguments(step)["depth_multiplier"]
        kernel = step.fixed((*taps, depth, outside)).reshape(*taps, 1, -1)
    else:
        inside, outside = depth // groups, arguments(step)["filters"] // groups
        kernel = step.fixed((*taps, inside, arguments(step)["filters"]))
    dense = np.zeros((*taps, depth, groups * outside))
    for group in range(groups):
        own = slice(group * outside, (group + 1) * outside)
        dense[..., group * inside : (group + 1) * inside, own] = kernel[..., own]
    return dense


def convolved(
    x: Any, kernel: Any, windows: Sequence[tuple[int, int, str]], bias: float = 0.5
) -> Any:
    """Convolves in float64 and adds a bias; one (stride, dilation, padding) per axis of x but the
    last.
    """
    cuts = []
    for axis, (s, d, padding) in enumerate(windows):
        n, k = x.shape[axis], kernel.shape[axis]
        left, out = placed(n, d * (k - 1) + 1, s, padding)
        end = max((out - 1) * s + d * (k - 1) + 1 - n - left, 0)
        x = np.pad(x, [(left, end) if a == axis else (0, 0) for a in range(x.ndim)])
        cuts.append([slice(t * d, t * d + (out - 1) * s + 1, s) for t in range(k)])
    taps = np.ndindex(*kernel.shape[:-2])
    return bias + sum(
        x[tuple(cut[t] for cut, t in zip(cuts, tap, strict=True))] @ kernel[tap] for tap in taps
    )


def averages(x: Any, windows: Sequence[tuple[int, int, str]]) -> Any:
    """Averages the real cells of each window; one (size, stride, padding) per axis of x but the
    last.
    """
    return pooled(x, windows, np.mean)


def maxima(x: Any, windows: Sequence[tuple[int, int, str]]) -> Any:
    """Takes the maximum of the real cells of each window; likewise."""
    return pooled(x, windows, np.max)


def pooled(x: Any, windows: Sequence[tuple[int, int, str]], take: Any) -> Any:
    for axis, (size, stride, padding) in enumerate(windows):
        left, out = placed(x.shape[axis], size, stride, padding)
        rows = np.moveaxis(x, axis, 0)
        cells = [rows[max(j * stride - left, 0) : j * stride - left + size] for j in range(out)]
        x = np.moveaxis(np.stack([take(c, axis=0) for c in cells]), 0, axis)
    return x


def emitted(x: Any, steps: Sequence[Make], kernel: Any) -> Any:
    """Runs the layers that an exact swap makes."""
    for step in steps:
        s, rank = arguments(step), x.ndim - 1
        if isinstance(step, MakeConv):
            windows = list(
                zip(s["strides"], s["dilation_rate"], [s["padding"]] * rank, strict=True)
            )
            if step.fixed is None:
                x = convolved(x, step.kernel(kernel) if step.kernel else kernel, windows)
            else:
                x = convolved(x, fixed_kernel(step, x.shape[-1]), windows, bias=0)
                x = np.maximum(x, 0) if s["activation"] == "relu" else x
        elif step.kind == "AveragePooling":
            x = averages(
                x, [(p, q, s["padding"]) for p, q in zip(s["pool_size"], s["strides"], strict=True)]
            )
        elif step.kind == "MaxPooling":
            x = maxima(
                x, [(p, q, s["padding"]) for p, q in zip(s["pool_size"], s["strides"], strict=True)]
            )
        else:
            cells = s["padding" if step.kind == "ZeroPadding" else "cropping"]
            pairs = [cells] if rank == 1 else cells
            cut = tuple(slice(a, n - b) for (a, b), n in zip(pairs, x.shape, strict=False))
            x = np.pad(x, [*pairs, (0, 0)]) if step.kind == "ZeroPadding" else x[cut]
    return x


def close(new: Any, old: Any) -> bool:
    return new.shape == old.shape and bool(np.abs(new - old).max() < 1e-12 * np.abs(old).max())
