"""Convolutions with fixed kernels, which replace a layer without weights."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import KernelMaker, MakeConv
from keras_downswap.rulekit.rule import Refused


def depth_of(graph: Graph, call: Call) -> int:
    """Return how many input channels a call has.

    Raises:
        Refused: If that is unknown, as no convolution can be built then.
    """
    depth = channels(graph.input_shape(call), call.channels_last)
    if depth is None:
        unknown = "an unknown number of channels, for which no convolution can be built"
        raise Refused(f"{call.label} has {unknown}")
    return depth


def fixed_depthwise(
    call: Call,
    name: str,
    windows: Sequence[Window],
    kernel: KernelMaker,
    *,
    depth: int,
    features: int = 1,
    activation: str = "linear",
    beside: Call | None = None,
) -> MakeConv:
    """Return a frozen convolution of each channel by itself, in the place of a call.

    Args:
        call: The call that gives data format and dtype policy.
        name: Wanted name.
        windows: Its windows, one per axis, of one padding.
        kernel: Computes its kernel from its shape: (*taps, channels, features) of a depthwise one,
            and of a grouped one (*taps, 1, channels * features).
        depth: Input channels.
        features: Output channels per input channel.
        activation: Its activation.
        beside: The call that gives the dtype policy instead.
    """
    policy = call if beside is None else beside
    strides = {window.stride for window in windows}
    plain = MakeConv(
        name,
        policy.layer,
        LayerKind.DEPTHWISE_CONV,
        axes=tuple(windows),
        channels_last=call.channels_last,
        depth_multiplier=features,
        use_bias=False,
        activation=activation,
        fixed=kernel,
        frozen=True,
    )
    if len(windows) < 3 and len(strides) == 1:
        return plain
    # Keras has no depthwise convolution over three axes, or with unequal strides: a grouped
    # convolution with a group for each channel computes the same.
    return MakeConv(
        name,
        policy.layer,
        LayerKind.CONV,
        axes=tuple(windows),
        channels_last=call.channels_last,
        filters=depth * features,
        groups=depth,
        use_bias=False,
        activation=activation,
        fixed=kernel,
        frozen=True,
    )


def fixed_conv(
    call: Call,
    name: str,
    windows: Sequence[Window],
    kernel: KernelMaker,
    filters: int,
    *,
    groups: int = 1,
    activation: str = "linear",
    frozen: bool = True,
) -> MakeConv:
    """Return a convolution across the channels of each group, in the place of a call.

    Args:
        call: The call that gives data format and dtype policy.
        name: Wanted name.
        windows: Its windows, one per axis, of one padding.
        kernel: Computes its kernel from the kernel's shape (*taps, channels in / groups, filters).
        filters: Output channels.
        groups: Its groups.
        activation: Its activation.
        frozen: Whether the layer does not train.
    """
    return MakeConv(
        name,
        call.layer,
        LayerKind.CONV,
        axes=tuple(windows),
        channels_last=call.channels_last,
        filters=filters,
        groups=groups,
        use_bias=False,
        activation=activation,
        fixed=kernel,
        frozen=frozen,
    )
