"""Convolutions with fixed kernels, which stand for a layer without weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import Make
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.layers import conv_settings, data_format
from keras_downswap.rulekit.rule import Refused

Fixed = Callable[[tuple[int, ...]], Array]


def depth_of(graph: Graph, call: Call) -> int:
    """Return how many channels go into a call.

    Raises:
        Refused: If that is unknown, as no convolution can be built then.
    """
    depth = channels(graph.input_shape(call), call.channels_last)
    if depth is None:
        raise Refused(
            f"{call.label} has an unknown number of channels, for which no convolution can be built"
        )
    return depth


def fixed_depthwise(
    graph: Graph,
    call: Call,
    name: str,
    windows: Sequence[Window],
    kernel: Fixed,
    features: int = 1,
    activation: str = "linear",
    depth: int | None = None,
    beside: Call | None = None,
) -> Make:
    """Return a frozen convolution of each channel by itself, in the place of a call.

    Args:
        graph: The graph.
        call: The call that gives data format, dtype policy and channels.
        name: Wanted name.
        windows: Its windows, one per axis, of one padding.
        kernel: Makes its kernel from its shape: (*taps, channels, features) of a depthwise one, and
            of a grouped one, where Keras has no depthwise one (three axes, unequal strides),
            (*taps, 1, channels * features).
        features: Channels out per channel in.
        activation: Its activation.
        depth: Channels that go in; by default those that go into the call.
        beside: The call that gives the dtype policy instead.

    Raises:
        Refused: If the number of channels is unknown.
    """
    depth = depth or depth_of(graph, call)
    depthwise = len(windows) < 3 and len({w.stride for w in windows}) == 1
    settings: dict[str, Any] = {"depth_multiplier": features}
    if not depthwise:
        settings = {"filters": depth * features, "groups": depth}
    settings |= conv_settings(windows, windows[0].padding)
    settings |= {"use_bias": False, "activation": activation, **data_format(call)}
    kind = "DepthwiseConv" if depthwise else "Conv"
    return Make(
        kind, len(windows), name, settings, (beside or call).layer, fixed=kernel, frozen=True
    )


def fixed_conv(
    call: Call,
    name: str,
    windows: Sequence[Window],
    kernel: Fixed,
    filters: int,
    groups: int = 1,
    activation: str = "linear",
    frozen: bool = True,
) -> Make:
    """Return a convolution across the channels of each group, in the place of a call.

    Args:
        call: The call that gives data format and dtype policy.
        name: Wanted name.
        windows: Its windows, one per axis, of one padding.
        kernel: Makes its kernel from the kernel's shape (*taps, channels in / groups, filters).
        filters: Channels out.
        groups: Its groups.
        activation: Its activation.
        frozen: Whether it is made not to train.
    """
    settings = {"filters": filters, "groups": groups, **conv_settings(windows, windows[0].padding)}
    settings |= {"use_bias": False, "activation": activation, **data_format(call)}
    return Make("Conv", len(windows), name, settings, call.layer, fixed=kernel, frozen=frozen)
