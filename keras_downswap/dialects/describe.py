"""Reads what a layer does off its class name and attributes, which both Kerases spell alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from keras_downswap.ir.facts import (
    ConvFacts,
    ElementwiseFacts,
    Facts,
    JoinFacts,
    LayerKind,
    PoolFacts,
    ResizeFacts,
)
from keras_downswap.ir.geometry import Padding, Window
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
    r"(compat\.v1\.)?nn\.(depthwise_|separable_)?conv(olution|[123]d)"
    r"|(Depthwise|Separable)?Conv"
)
JOIN = re.compile(
    r"Concatenate|Add|Subtract|Average|Multiply|Maximum|Minimum|__operators__\.(add|sub|mul)"
)
LINEAR_JOIN = re.compile(r"Concatenate|Add|Subtract|Average|__operators__\.(add|sub)")
NOISE = re.compile(
    r"(Spatial|Gaussian|Alpha)?Dropout(1D|2D|3D)?|GaussianNoise|ActivityRegularization|Identity"
)
PLAIN_NAMES = frozenset(name.replace("_", "") for name in ELEMENTWISE_NAMES)
ELEMENTWISE_CLASSES = frozenset({"ReLU", "LeakyReLU", "ELU", "ThresholdedReLU"})
MIXING = frozenset({"Softmax", "LayerNormalization"})
"""Layers that mix the values along their axis."""
NORMALIZATIONS = frozenset({"BatchNormalization", "Softmax", "LayerNormalization"})


@dataclass(frozen=True)
class Description:
    """What a rule may know of a layer: see the fields of the same names in `graph.Call`."""

    role: Role
    windows: tuple[Window, ...] = ()
    channels_last: bool = True
    facts: Facts | None = None
    obstacle: str | None = None


OTHER = Description(Role.OTHER)


def is_downsampling_class(name: str) -> bool:
    """Tell whether a stock class is a pool or a convolution that a report must account for."""
    kinds = (CONV, POOL, GLOBAL_POOL, ADAPTIVE_POOL, OTHER_CONV)
    return any(kind.fullmatch(name) for kind in kinds)


def describe(
    layer: Any, class_name: str, rank: int, padding_layers: frozenset[LayerKind]
) -> Description:
    """Describe one call of a stock layer.

    Args:
        layer: The layer.
        class_name: The name of its stock class.
        rank: Rank of the input, batch and channels counted.
        padding_layers: Which of ZeroPadding and Cropping exist for this layer's rank and data
            format.
    """
    channels_last = has_channels_last(layer)
    conv = CONV.fullmatch(class_name)
    if conv:
        return _conv(layer, LayerKind(conv["kind"]), channels_last, padding_layers)
    pool = POOL.fullmatch(class_name)
    if pool:
        role = Role.MAX_POOL if pool[1] == "Max" else Role.AVERAGE_POOL
        windows = _windows(layer.pool_size, layer.strides, 1, layer.padding)
        return Description(role, windows, channels_last, PoolFacts(padding_layers))
    if GLOBAL_POOL.fullmatch(class_name):
        return Description(Role.GLOBAL_POOL, (), channels_last)
    if ADAPTIVE_POOL.fullmatch(class_name):
        adaptive = "is adaptive pooling, which has no fixed window"
        return Description(Role.GLOBAL_POOL, (), channels_last, None, adaptive)
    if OTHER_CONV.fullmatch(class_name):
        windows = _windows(layer.kernel_size, layer.strides, 1, layer.padding)
        return Description(Role.OTHER_CONV, windows, channels_last)
    resize = RESIZE.fullmatch(class_name)
    if resize:
        cells = _cells(layer, pads=resize[1] == "ZeroPadding")
        return Description(Role.RESIZE, (), channels_last, ResizeFacts(cells))
    role, axis = _elementwise(layer, class_name, rank)
    facts = _elementwise_facts(layer, class_name, axis)
    return Description(role, channels_last=channels_last, facts=facts)


def has_channels_last(layer: Any) -> bool:
    """Tell whether a layer's channel axis is the last one; one without a data format has it so."""
    data_format: str = getattr(layer, "data_format", "channels_last")
    return data_format == "channels_last"


def _windows(sizes: Any, strides: Any, dilation: Any, padding: Padding) -> tuple[Window, ...]:
    """Return the windows of a layer, whose arguments may be one number for all axes."""
    taps = _tuple(sizes)
    steps = _tuple(strides)
    rates = (dilation,) * len(taps) if isinstance(dilation, int) else tuple(dilation)
    axes = zip(taps, steps, rates, strict=True)
    return tuple(Window(size, stride, rate, padding) for size, stride, rate in axes)


def _cells(layer: Any, pads: bool) -> tuple[tuple[int, int], ...]:
    """Return the cells that a layer adds along each axis, negative ones where it crops."""
    amount = layer.padding if pads else layer.cropping
    sign = 1 if pads else -1
    # Of one axis it is a pair, of several a pair each.
    pairs = [amount] if isinstance(amount[0], int) else amount
    return tuple((sign * before, sign * after) for before, after in pairs)


def _elementwise_facts(layer: Any, class_name: str, axis: int | None) -> ElementwiseFacts:
    if class_name == "ReLU":
        slope = float(layer.negative_slope)
        threshold = float(layer.threshold)
        return ElementwiseFacts(
            axis=axis,
            is_never_negative=slope == 0 and threshold >= 0,
            is_monotone=slope >= 0 and threshold >= 0,
        )
    if class_name in ("LeakyReLU", "ELU"):
        # Keras 2 calls it alpha. Unknown means that it may decrease.
        slope = float(getattr(layer, "alpha", getattr(layer, "negative_slope", -1)))
        return ElementwiseFacts(axis=axis, is_monotone=slope >= 0)
    if class_name == "Activation":
        name = activation_name(layer.activation)
        return ElementwiseFacts(activation=name, axis=axis, mixes=axis is not None)
    if NOISE.fullmatch(class_name):
        # An AlphaDropout drops to a negative value, and noise has both signs.
        drops_to_zero = "Dropout" in class_name and "Alpha" not in class_name
        keeps_sign = class_name == "Identity" or drops_to_zero
        return ElementwiseFacts(axis=axis, is_identity=True, keeps_sign=keeps_sign)
    return ElementwiseFacts(axis=axis, mixes=class_name in MIXING)


def describe_function(name: str, strides: Any, tensors: int) -> Description:
    """Describe a function in the graph: a pool or a convolution is accounted for, and stays.

    Args:
        name: The function's name in its framework.
        strides: The strides it was called with, or None.
        tensors: How many tensors it consumes.
    """
    stays = "is an operation, not a layer, and stays as it is"
    if FUNCTION_POOL.fullmatch(name):
        role = Role.AVERAGE_POOL if "av" in name.lower() else Role.MAX_POOL
        return Description(role, obstacle=stays)
    if FUNCTION_CONV.fullmatch(name):
        steps = (strides,) if isinstance(strides, int) else tuple(strides or ())
        windows = tuple(Window(1, stride) for stride in steps)
        return Description(Role.OTHER_CONV, windows, obstacle=stays)
    plain = name.rpartition(".")[2].replace("_", "").lower()
    if tensors != 1 or plain not in PLAIN_NAMES:
        return OTHER
    # Keras 3 has an operation ReLU, which may have a slope below zero.
    never_negative = plain in NEVER_NEGATIVE and name != "ReLU"
    return Description(Role.POINTWISE, facts=ElementwiseFacts(is_never_negative=never_negative))


def describe_join(layer: Any, name: str, rank: int) -> Description:
    """Describe a stock layer or function that consumes several tensors of one rank alone."""
    if not JOIN.fullmatch(name):
        return OTHER
    facts = JoinFacts(
        is_linear=bool(LINEAR_JOIN.fullmatch(name)),
        keeps_sign="sub" not in name.lower(),
        axis=layer.axis % rank if name == "Concatenate" else None,
    )
    return Description(Role.JOIN, facts=facts)


def _conv(
    layer: Any, kind: LayerKind, channels_last: bool, padding_layers: frozenset[LayerKind]
) -> Description:
    windows = _windows(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    facts = ConvFacts(
        kind=kind,
        filters=getattr(layer, "filters", None),
        groups=getattr(layer, "groups", 1),
        depth_multiplier=getattr(layer, "depth_multiplier", 1),
        use_bias=layer.use_bias,
        activation=activation_name(layer.activation),
        padding_layers=padding_layers,
    )
    obstacle = None
    if getattr(layer, "quantization_mode", None) is not None:
        mode = layer.quantization_mode
        obstacle = f"is quantized ({mode}), and its kernel cannot be moved as it is"
    elif getattr(layer.activation, "weights", None):
        activation = type(layer.activation).__name__
        obstacle = f"has an activation with weights of its own ({activation})"
    elif getattr(layer, "lora_enabled", False):
        obstacle = "has LoRA enabled: merge its weights first"
    return Description(Role.CONV, windows, channels_last, facts, obstacle)


def _elementwise(layer: Any, class_name: str, rank: int) -> tuple[Role, int | None]:
    """Return the role, and the axis along which the map mixes or differs.

    The axis is None where it does neither.
    """
    if NOISE.fullmatch(class_name):
        shape = list(getattr(layer, "noise_shape", None) or ())
        # Noise that is drawn for positions by themselves tells them apart in training.
        by_position = any(n not in (None, 1) for n in shape[1:-1])
        return Role.OTHER if by_position else Role.LINEAR, None
    if class_name == "Activation":
        name = activation_name(layer.activation)
        role = Role.LINEAR if name == "linear" else Role.POINTWISE
        return role, rank - 1 if name in ALONG_LAST_AXIS else None
    if class_name in NORMALIZATIONS:
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        if len(axes) != 1:
            return Role.OTHER, None
        role = Role.LINEAR if class_name == "BatchNormalization" else Role.POINTWISE
        return role, axes[0] % rank
    if class_name == "Rescaling":
        scalars = all(isinstance(value, int | float) for value in (layer.scale, layer.offset))
        return Role.LINEAR if scalars else Role.OTHER, None
    if class_name == "PReLU":
        return _prelu(layer, rank)
    return Role.POINTWISE if class_name in ELEMENTWISE_CLASSES else Role.OTHER, None


def _prelu(layer: Any, rank: int) -> tuple[Role, int | None]:
    shared = {axis % rank for axis in layer.shared_axes or ()}
    own = [axis for axis in range(1, rank) if axis not in shared]
    if len(own) > 1:
        return Role.OTHER, None
    return Role.POINTWISE, own[0] if own else None


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def activation_name(activation: Any) -> str:
    """Return an activation's name: `linear` for none.

    One that no framework here defines has a `?` before its name.
    """
    if activation is None:
        return "linear"
    name = str(getattr(activation, "__name__", type(activation).__name__))
    root = str(getattr(activation, "__module__", "")).partition(".")[0]
    is_function = hasattr(activation, "__name__")
    known = root in ("keras", "tf_keras", "tensorflow") and is_function
    return name if known else f"?{name}"
