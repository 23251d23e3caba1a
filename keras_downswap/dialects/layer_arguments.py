"""The constructor arguments, in Keras' words, of layers that rules make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.replacement import (
    Make,
    MakeActivation,
    MakeConv,
    MakeFlatten,
    MakeGlobalPool,
    MakePermute,
    MakePool,
    MakeReshape,
    MakeResize,
)


def class_name_of(step: Make) -> str:
    """Return the name of the Keras class of a layer to be made."""
    return f"{step.kind.value}{step.rank}D" if step.rank else step.kind.value


def constructor_arguments(step: Make) -> dict[str, Any]:
    """Return the arguments of a layer to be made, without its name and dtype.

    Raises:
        TypeError: If the layer is of a kind that is not known here.
    """
    if isinstance(step, MakeConv):
        return _of_conv(step)
    if isinstance(step, MakePool):
        return {
            "pool_size": _sizes(step.axes),
            "strides": _strides(step.axes),
            "padding": step.axes[0].padding,
            "data_format": _data_format(step.channels_last),
        }
    if isinstance(step, MakeResize):
        name = "padding" if step.kind is LayerKind.ZERO_PADDING else "cropping"
        # Of one axis Keras wants a pair, of several a pair each.
        amount = step.amount if len(step.amount) > 1 else step.amount[0]
        return {name: amount, "data_format": _data_format(step.channels_last)}
    if isinstance(step, MakeGlobalPool):
        data_format = _data_format(step.channels_last)
        return {"data_format": data_format, "keepdims": step.keepdims}
    if isinstance(step, MakeFlatten):
        return {}
    if isinstance(step, MakeReshape):
        return {"target_shape": step.target_shape}
    if isinstance(step, MakePermute):
        return {"dims": step.dims}
    if isinstance(step, MakeActivation):
        return {"activation": step.activation}
    raise TypeError(f"{type(step).__name__} is no kind of layer that Keras is known to have")


def _of_conv(step: MakeConv) -> dict[str, Any]:
    """Return the arguments of a convolution, without those that it has from another layer."""
    found: dict[str, Any] = {
        "filters": step.filters,
        "groups": step.groups,
        "depth_multiplier": step.depth_multiplier,
        "use_bias": step.use_bias,
        "activation": step.activation,
    }
    arguments = {name: value for name, value in found.items() if value is not None}
    arguments["kernel_size"] = _sizes(step.axes)
    arguments["strides"] = _strides(step.axes)
    arguments["dilation_rate"] = tuple(window.dilation for window in step.axes)
    arguments["padding"] = step.axes[0].padding
    if step.like is None:
        arguments["data_format"] = _data_format(step.channels_last)
    return arguments


def _sizes(windows: Sequence[Window]) -> tuple[int, ...]:
    return tuple(window.size for window in windows)


def _strides(windows: Sequence[Window]) -> tuple[int, ...]:
    return tuple(window.stride for window in windows)


def _data_format(channels_last: bool) -> str:
    return "channels_last" if channels_last else "channels_first"
