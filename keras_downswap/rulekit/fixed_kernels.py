"""Convolutions with fixed kernels, which replace a layer without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import KernelMaker, MakeConv
from keras_downswap.rulekit.rule import Refused


@dataclass(frozen=True)
class FixedKernel:
    """What a convolution without weights of an old layer is built from.

    Attributes:
        name: Wanted name of the layer.
        windows: Its windows, one per axis, of one padding.
        values: Computes the kernel from its shape: (*taps, channels, features) of a depthwise
            convolution, (*taps, channels in / groups, channels out) of any other.
        activation: Its activation.
        frozen: Whether the layer does not train.
    """

    name: str
    windows: Sequence[Window]
    values: KernelMaker
    activation: str = "linear"
    frozen: bool = True


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


def fixed_depthwise(call: Call, kernel: FixedKernel, depth: int, features: int = 1) -> MakeConv:
    """Return a convolution of each channel by itself, in the place of a call.

    Args:
        call: The call that gives data format and dtype policy.
        kernel: Its kernel, name and windows.
        depth: Input channels.
        features: Output channels per input channel.
    """
    strides = {window.stride for window in kernel.windows}
    if len(kernel.windows) < 3 and len(strides) == 1:
        depthwise = _conv_without_bias(call, LayerKind.DEPTHWISE_CONV, kernel)
        return replace(depthwise, depth_multiplier=features)
    # Keras has no depthwise convolution over three axes, or with unequal strides: a grouped
    # convolution with a group for each channel computes the same.
    return fixed_conv(call, kernel, depth * features, groups=depth)


def fixed_conv(call: Call, kernel: FixedKernel, filters: int, groups: int = 1) -> MakeConv:
    """Return a convolution across the channels of each group, in the place of a call.

    Args:
        call: The call that gives data format and dtype policy.
        kernel: Its kernel, name and windows.
        filters: Output channels.
        groups: Its groups.
    """
    conv = _conv_without_bias(call, LayerKind.CONV, kernel)
    return replace(conv, filters=filters, groups=groups)


def _conv_without_bias(call: Call, kind: LayerKind, kernel: FixedKernel) -> MakeConv:
    return MakeConv(
        kernel.name,
        call.layer,
        kind,
        axes=tuple(kernel.windows),
        channels_last=call.channels_last,
        use_bias=False,
        activation=kernel.activation,
        fixed=kernel.values,
        frozen=kernel.frozen,
    )
