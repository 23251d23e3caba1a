"""How the layers of random models are drawn, so that each fits the tensor on which it is called."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from support.random_layers import Dim, Layer, Spec, least

ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu", "softmax", "swish", "python:half", "python:square")
RARE: tuple[dict[str, Any], ...] = (
    {"kernel_regularizer": "l2"},
    {"activity_regularizer": "l2"},
    {"kernel_constraint": "non_neg"},
    {"trainable": False},
)
CHANGING = (
    "Depthwise",
    "Separable",
    "Transpose",
    "Pad",
    "Crop",
    "Global",
    "Dense",
    "Time",
    "Flatten",
    "Up",
    "Permute",
)
STEPS = (0, 1, 2, 5)
"""By how much the unknown lengths of the samples differ from the first one."""
POINTWISE = (
    "BatchNormalization",
    "BatchNormalization",
    "BatchNormalization",
    "ReLU",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "Activation",
    "Activation",
    "Dropout",
    "SpatialDropout",
    "GaussianNoise",
    "Softmax",
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "Rescaling",
    "ActivityRegularization",
    "Lambda",
)


def sizes(draw: st.DrawFn, space: tuple[Dim, ...], most: int, low: int = 1) -> tuple[int, ...]:
    """Draw a size for each axis that fits its length, the same for all more often than not."""
    if draw(st.booleans()):
        wish = draw(st.sampled_from(range(low, most + 1)))
        return tuple(max(1, min(wish, least(n))) for n in space)
    return tuple(draw(st.integers(min(low, least(n)), max(1, min(most, least(n))))) for n in space)


def convolution(
    draw: st.DrawFn, spec: Spec, given: dict[str, Any], strided: bool | None = None
) -> Layer:
    """Draw an ordinary convolution that fits a tensor."""
    moved = given.get("data_format") == "channels_first"
    channels, space = (
        (spec.shape[0], spec.shape[1:]) if moved else (spec.shape[-1], spec.shape[:-1])
    )
    rank = len(space)
    kernel = sizes(draw, space, 4 if rank < 3 else 3)
    strides, dilation = (1,) * rank, (1,) * rank
    if draw(st.integers(0, 3)) == 0 if strided is None else strided:
        strides = sizes(draw, (3,) * rank, 3)
    elif draw(st.integers(0, 5)) == 0:
        dilation = tuple(
            draw(st.integers(1, max(1, min(3, (least(n) - 1) // max(k - 1, 1)))))
            for n, k in zip(space, kernel, strict=True)
        )
    filters = draw(st.sampled_from((2, 3, 4)))
    whole = math.gcd(filters, least(channels))
    settings = {
        "filters": filters,
        "kernel_size": kernel,
        "strides": strides,
        "dilation_rate": dilation,
        "padding": draw(
            st.sampled_from(("valid", "same", "causal") if rank == 1 else ("valid", "same"))
        ),
        "groups": whole if draw(st.integers(0, 5)) == 0 else 1,
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from((None,) * 12 + ACTIVATIONS)),
    }
    rare = {
        "kernel_regularizer": "l2",
        "activity_regularizer": "l2",
        "trainable": False,
        "kernel_constraint": "non_neg",
    }
    extra = draw(st.sampled_from((None,) * 8 + tuple(rare)))
    return Layer(f"Conv{rank}D", {**settings, **given, **({extra: rare[extra]} if extra else {})})


def pool(draw: st.DrawFn, spec: Spec, given: dict[str, Any]) -> Layer:
    """Draw a pool that fits a tensor: equal to its stride, overlapping, with gaps, of size 1."""
    space = spec.shape[1:] if given.get("data_format") == "channels_first" else spec.shape[:-1]
    size = (
        (1,) * len(space) if draw(st.sampled_from(range(7))) == 6 else sizes(draw, space, 4, low=2)
    )
    kind, padding = (
        draw(st.sampled_from(("Max", "Average", "Average"))),
        draw(st.sampled_from(("valid", "same"))),
    )
    strides = (
        size if draw(st.booleans()) and set(size) != {1} else sizes(draw, (3,) * len(space), 3)
    )
    return Layer(
        f"{kind}Pooling{len(space)}D",
        {"pool_size": size, "strides": strides, "padding": padding, **given},
    )


def pointwise(draw: st.DrawFn, spec: Spec, given: dict[str, Any]) -> Layer | None:
    """Draw a layer that keeps the shape, most of them elementwise."""
    kind, given = draw(st.sampled_from(POINTWISE)), dict(given)
    moved = given.pop("data_format", None) == "channels_first"
    rank, channel = len(spec.shape), 1 if moved else len(spec.shape)
    axis = channel if draw(st.integers(0, 5)) else draw(st.integers(1, rank))
    depth = spec.shape[axis - 1]
    if kind in (
        "BatchNormalization",
        "LayerNormalization",
        "GroupNormalization",
    ) and not isinstance(depth, int):
        return None
    if kind == "SpatialDropout":
        if rank == 1:
            return None
        form = {"data_format": "channels_first"} if moved and rank > 2 else {}
        return Layer(f"SpatialDropout{rank - 1}D", {"rate": 0.5, **form, **given})
    if kind == "PReLU":
        shared = (
            [a for a in range(1, rank) if a != channel or moved] if draw(st.booleans()) else [1]
        )
        shared = (
            shared
            if spec.known and draw(st.integers(0, 3)) == 0
            else [a for a in range(1, rank + 1) if a != axis]
        )
        if not isinstance(depth, int):
            return None
        return Layer(kind, {"alpha_initializer": "ones", "shared_axes": shared, **given})
    if kind == "GroupNormalization" and (rank == 1 or not spec.known):
        return None
    settings: dict[str, dict[str, Any]] = {
        "BatchNormalization": {"axis": axis, "scale": draw(st.booleans())},
        "ReLU": {"max_value": draw(st.sampled_from((None, 6.0)))},
        "Activation": {"activation": draw(st.sampled_from(ACTIVATIONS))},
        "Dropout": {"rate": 0.5},
        "GaussianNoise": {"stddev": 1.0},
        "Softmax": {"axis": draw(st.sampled_from((-1, axis)))},
        "LayerNormalization": {"axis": axis},
        "GroupNormalization": {"groups": draw(st.sampled_from((1, depth))), "axis": axis},
        "UnitNormalization": {"axis": axis},
        "Rescaling": {"scale": 0.5, "offset": 0.1},
        "ActivityRegularization": {"l2": 0.1},
        "Lambda": {"function": draw(st.sampled_from(("python:half", "python:square")))},
    }
    return Layer(kind, {**settings.get(kind, {}), **given})


def other(draw: st.DrawFn, spec: Spec, given: dict[str, Any]) -> Layer | None:
    """Draw a layer that changes the shape and is neither an ordinary convolution nor a pool."""
    moved = given.get("data_format") == "channels_first"
    space, rank = (spec.shape[1:] if moved else spec.shape[:-1]), spec.rank
    kind = draw(st.sampled_from(CHANGING))
    plain = {k: v for k, v in given.items() if k != "data_format"}
    if kind == "Dense":
        return Layer(kind, {"units": draw(st.sampled_from((2, 3))), **plain})
    if kind == "Flatten":
        return Layer("Flatten", plain) if draw(st.booleans()) else _reshape(spec, plain)
    if kind == "Permute":
        return Layer(kind, {"dims": tuple(draw(st.permutations(range(1, rank + 2)))), **plain})
    if kind == "Time":
        inner = Spec(spec.shape[1:])
        if rank < 2 or not spec.known or moved:
            return None
        return Layer(
            "TimeDistributed",
            {"layer": draw(st.sampled_from((convolution, pool)))(draw, inner, {})},
        )
    if kind == "Global":
        what = draw(st.sampled_from(("Max", "Average")))
        return Layer(f"Global{what}Pooling{rank}D", {"keepdims": draw(st.booleans()), **given})
    beside = given if rank > 1 else plain
    if kind == "Up":
        return Layer(f"UpSampling{rank}D", {"size": (2,) * rank if rank > 1 else 2, **beside})
    if kind in ("Pad", "Crop"):
        pairs = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 1))) for _ in space)
        name, argument = {"Pad": ("ZeroPadding", "padding"), "Crop": ("Cropping", "cropping")}[kind]
        return Layer(f"{name}{rank}D", {argument: pairs if rank > 1 else pairs[0], **beside})
    return _other_convolution(draw, kind, space, given)


def _reshape(spec: Spec, plain: dict[str, Any]) -> Layer | None:
    """Return the layer that makes one axis of the first two."""
    if spec.rank < 2 or not spec.known:
        return None
    return Layer(
        "Reshape",
        {"target_shape": (least(spec.shape[0]) * least(spec.shape[1]), *spec.shape[2:]), **plain},
    )


def _other_convolution(
    draw: st.DrawFn, kind: str, space: tuple[Dim, ...], given: dict[str, Any]
) -> Layer | None:
    rank, padding = len(space), draw(st.sampled_from(("valid", "same")))
    stride = draw(
        st.integers(1, 2)
    )  # a depthwise convolution of unequal strides does not run on every CPU
    settings = {
        "kernel_size": sizes(draw, space, 3),
        "strides": (stride,) * rank,
        "padding": padding,
        **given,
    }
    if kind == "Transpose":
        return Layer(f"Conv{rank}DTranspose", {"filters": 2, **settings})
    if rank > 2:
        return None
    if kind == "Depthwise":
        return Layer(
            f"DepthwiseConv{rank}D", {"depth_multiplier": draw(st.integers(1, 2)), **settings}
        )
    return Layer(f"SeparableConv{rank}D", {"filters": 3, **settings})


def loosened(spec: Spec, common: dict[str, Any], loose: bool) -> Spec:
    """Return an input that takes a tensor: of its own lengths, or of any."""
    channel = 0 if "data_format" in common else len(spec.shape) - 1
    dims = (
        (n,) * len(STEPS) if loose and isinstance(n, int) and i != channel else n
        for i, n in enumerate(spec.shape)
    )
    return Spec(tuple(dims), spec.dtype)


def an_input(draw: st.DrawFn, common: dict[str, Any], base: int) -> Spec:
    """Draw an input, of spatial rank 1 to 3."""
    rank = draw(
        st.sampled_from(
            (1, 1, 2, 2, 2, 3) if "dtype" not in common and "dtypes" not in common else (1, 2)
        )
    )
    longest = {1: 24, 2: 16, 3: 9}[rank]
    lengths: list[Dim] = [draw(st.integers(min(6, longest), longest)) for _ in range(rank)]
    if draw(st.integers(0, 3)) == 0:
        low = min(base, longest)
        lengths = [
            tuple(low + more for more in STEPS) if draw(st.booleans()) else n for n in lengths
        ]
    channels = draw(st.sampled_from((2, 3, 4)))
    shape = (channels, *lengths) if "data_format" in common else (*lengths, channels)
    return Spec(shape, common.get("dtype", "float32"))
