"""Reads what a layer does off its class name and attributes, which both Kerases spell alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Role
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, NEVER_NEGATIVE
from keras_downswap.ir.predicates import ELEMENTWISE as ELEMENTWISE_NAMES

CONV = re.compile(r"(?P<kind>Conv|DepthwiseConv|SeparableConv)[123]D")
POOL = re.compile(r"(Max|Average)Pooling[123]D")
GLOBAL_POOL = re.compile(r"Global(Max|Average)Pooling[123]D")
ADAPTIVE_POOL = re.compile(r"Adaptive(Max|Average)Pooling[123]D")
OTHER_CONV = re.compile(r"ConvLSTM[123]D|LocallyConnected[12]D")
RESIZE = re.compile(r"(ZeroPadding|Cropping)[123]D")
FUNCTION_POOL = re.compile(
    r"(compat\.v1\.)?nn\.(max_pool|avg_pool|pool)\w*|(Adaptive)?(Max|Average)Pool"
)
FUNCTION_CONV = re.compile(
    r"(compat\.v1\.)?nn\.(depthwise_|separable_)?conv(olution|[123]d)|(Depthwise|Separable)?Conv"
)
JOIN = re.compile(
    r"Concatenate|Add|Subtract|Average|Multiply|Maximum|Minimum|__operators__\.(add|sub|mul)"
)
LINEAR_JOIN = re.compile(r"Concatenate|Add|Subtract|Average|__operators__\.(add|sub)")
NOISE = re.compile(
    r"(Spatial|Gaussian|Alpha)?Dropout(1D|2D|3D)?|GaussianNoise|ActivityRegularization|Identity"
)
PLAIN_NAMES = frozenset(name.replace("_", "") for name in ELEMENTWISE_NAMES)
ELEMENTWISE = frozenset({"ReLU", "LeakyReLU", "ELU", "ThresholdedReLU"})


@dataclass(frozen=True)
class Description:
    """What a rule may know of a layer: see the fields of the same names in `graph.Call`."""

    role: Role
    windows: tuple[Window, ...] = ()
    channels_last: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    obstacle: str | None = None


OTHER = Description(Role.OTHER)


def is_downsampling_class(name: str) -> bool:
    """Tell whether a stock class is a pool or a convolution that a report owes an entry."""
    return any(
        kind.fullmatch(name) for kind in (CONV, POOL, GLOBAL_POOL, ADAPTIVE_POOL, OTHER_CONV)
    )


def describe(layer: Any, class_name: str, rank: int, in_front: frozenset[str]) -> Description:
    """Describe one call of a stock layer.

    Args:
        layer: The layer.
        class_name: The name of its stock class.
        rank: Rank of the input, batch and channels counted.
        in_front: Which of `ZeroPadding` and `Cropping` exist for this layer's rank and data format.
    """
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    if found := CONV.fullmatch(class_name):
        return _conv(layer, found["kind"], last, in_front)
    if found := POOL.fullmatch(class_name):
        role = Role.MAX_POOL if found[1] == "Max" else Role.AVERAGE_POOL
        windows = zip(_tuple(layer.pool_size), _tuple(layer.strides), strict=True)
        return Description(
            role,
            tuple(Window(p, q, 1, layer.padding) for p, q in windows),
            last,
            {"layers_in_front": in_front},
        )
    if GLOBAL_POOL.fullmatch(class_name):
        return Description(Role.GLOBAL_POOL, (), last)
    if ADAPTIVE_POOL.fullmatch(class_name):
        return Description(
            Role.GLOBAL_POOL, (), last, {}, "is adaptive pooling, which has no fixed window"
        )
    if OTHER_CONV.fullmatch(class_name):
        return _other_conv(layer, last)
    if found := RESIZE.fullmatch(class_name):
        cells = layer.padding if found[1] == "ZeroPadding" else layer.cropping
        sign = 1 if found[1] == "ZeroPadding" else -1
        pairs = [cells] if isinstance(cells[0], int) else cells
        return Description(
            Role.RESIZE, (), last, {"cells": tuple((sign * a, sign * b) for a, b in pairs)}
        )
    role, axis = _elementwise(layer, class_name, rank)
    settings: dict[str, Any] = {} if axis is None else {"axis": axis}
    if class_name == "ReLU":
        settings["never_negative"] = (
            float(layer.negative_slope) == 0 and float(layer.threshold) >= 0
        )
        settings["monotone"] = float(layer.negative_slope) >= 0 and float(layer.threshold) >= 0
    elif class_name in ("LeakyReLU", "ELU"):
        settings["monotone"] = (
            float(getattr(layer, "alpha", getattr(layer, "negative_slope", -1))) >= 0
        )
    elif NOISE.fullmatch(class_name):
        settings["keeps_sign"] = class_name == "Identity" or (
            "Dropout" in class_name and "Alpha" not in class_name
        )
    if class_name == "Activation":
        settings["activation"] = activation_name(layer.activation)
    return Description(role, channels_last=last, settings=settings)


def describe_function(name: str, strides: Any, tensors: int) -> Description:
    """Describe a function in the graph: a pool or a convolution is accounted for, and stays.

    Args:
        name: The function's name in its framework.
        tensors: How many tensors it takes.
        strides: The strides it was called with, or None.
    """
    stays = "is an operation, not a layer, and stays as it is"
    if FUNCTION_POOL.fullmatch(name):
        role = Role.AVERAGE_POOL if "av" in name.lower() else Role.MAX_POOL
        return Description(role, obstacle=stays)
    if FUNCTION_CONV.fullmatch(name):
        steps = (strides,) if isinstance(strides, int) else tuple(strides or ())
        return Description(Role.OTHER_CONV, tuple(Window(1, s) for s in steps), obstacle=stays)
    plain = name.rpartition(".")[2].replace("_", "").lower()
    facts = {
        "never_negative": plain in NEVER_NEGATIVE and name != "ReLU"
    }  # that one may have a slope below zero
    return (
        Description(Role.POINTWISE, settings=facts)
        if tensors == 1 and plain in PLAIN_NAMES
        else OTHER
    )


def describe_join(layer: Any, name: str, rank: int) -> Description:
    """Describe a stock layer or function that takes several tensors of a rank and nothing else."""
    if not JOIN.fullmatch(name):
        return OTHER
    settings: dict[str, Any] = {
        "linear": bool(LINEAR_JOIN.fullmatch(name)),
        "keeps_sign": "sub" not in name.lower(),
    }
    if name == "Concatenate":
        settings["axis"] = layer.axis % rank
    return Description(Role.JOIN, settings=settings)


def _conv(layer: Any, kind: str, last: bool, in_front: frozenset[str]) -> Description:
    windows = zip(
        _tuple(layer.kernel_size), _tuple(layer.strides), _tuple(layer.dilation_rate), strict=True
    )
    settings = {
        "kind": kind,
        "filters": getattr(layer, "filters", None),
        "groups": getattr(layer, "groups", 1),
        "depth_multiplier": getattr(layer, "depth_multiplier", 1),
        "use_bias": layer.use_bias,
        "activation": activation_name(layer.activation),
        "layers_in_front": in_front,
    }
    obstacle = None
    if getattr(layer, "quantization_mode", None) is not None:
        obstacle = (
            f"is quantized ({layer.quantization_mode}), and its kernel cannot be moved as it is"
        )
    elif getattr(layer.activation, "weights", None):
        obstacle = f"has an activation with weights of its own ({type(layer.activation).__name__})"
    elif getattr(layer, "lora_enabled", False):
        obstacle = "has LoRA enabled: merge its weights first"
    return Description(
        Role.CONV,
        tuple(Window(k, s, d, layer.padding) for k, s, d in windows),
        last,
        settings,
        obstacle,
    )


def _other_conv(layer: Any, last: bool) -> Description:
    kernel, strides = _tuple(layer.kernel_size), _tuple(layer.strides)
    windows = tuple(Window(k, s, 1, layer.padding) for k, s in zip(kernel, strides, strict=True))
    return Description(Role.OTHER_CONV, windows, last)


def _elementwise(layer: Any, class_name: str, rank: int) -> tuple[Role, int | None]:
    """Return the role, and the axis along which the map mixes or differs (None where it does neither)."""
    if NOISE.fullmatch(class_name):
        shape = list(getattr(layer, "noise_shape", None) or ())
        return (Role.OTHER if any(n not in (None, 1) for n in shape[1:-1]) else Role.LINEAR), None
    if class_name == "Activation":
        name = activation_name(layer.activation)
        role = Role.LINEAR if name == "linear" else Role.POINTWISE
        return role, rank - 1 if name in ALONG_LAST_AXIS else None
    if class_name in ("BatchNormalization", "Softmax", "LayerNormalization"):
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        role = Role.LINEAR if class_name == "BatchNormalization" else Role.POINTWISE
        return (role, axes[0] % rank) if len(axes) == 1 else (Role.OTHER, None)
    if class_name == "Rescaling":
        scalars = all(isinstance(v, int | float) for v in (layer.scale, layer.offset))
        return (Role.LINEAR if scalars else Role.OTHER), None
    if class_name == "PReLU":
        shared = {a % rank for a in layer.shared_axes or ()}
        own = [a for a in range(1, rank) if a not in shared]
        return (Role.POINTWISE, own[0] if own else None) if len(own) < 2 else (Role.OTHER, None)
    return (Role.POINTWISE if class_name in ELEMENTWISE else Role.OTHER), None


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def activation_name(activation: Any) -> str:
    """Return an activation's name: `linear` for none, with a `?` in front for one that no framework here defines."""
    if activation is None:
        return "linear"
    name = str(getattr(activation, "__name__", type(activation).__name__))
    root = str(getattr(activation, "__module__", "")).partition(".")[0]
    return (
        name
        if root in ("keras", "tf_keras", "tensorflow") and hasattr(activation, "__name__")
        else f"?{name}"
    )
