"""Estimates from a configuration alone how many parameters its model has."""

from __future__ import annotations

import math
from typing import Any

from keras_downswap.files.configuration import entries

# The settings of a layer whose product is the number of channels that it puts out.
_WIDTHS = (("units",), ("filters",), ("output_dim",), ("num_heads", "key_dim"))


def implied_parameters(config: dict[str, Any]) -> int:
    """Estimate how many parameters a configuration asks for.

    The layers are read in the order of the file, and each is taken to follow the one listed before:
    its input has as many channels as that one puts out. On branching networks this is wrong layer
    by layer, and good in the sum.
    """
    total = 0
    shape: Any = [1]
    channels = 1
    for _, layer in entries(config):
        settings = layer.get("config")
        if "class_name" not in layer or not isinstance(settings, dict):
            continue
        stated = _input_shape(layer, settings)
        if stated:
            shape = stated
            channels = _channels_of(stated, channels)
        width = _width(settings)
        total += _kernel_parameters(settings, channels, width)
        # Recurrent layers have a second kernel, from the state to the state.
        if "recurrent_initializer" in settings:
            total += width * width
        if "gamma_initializer" in settings:
            total += channels
        # A PReLU has one parameter for each position of its map.
        if "alpha_initializer" in settings:
            total += _positions(shape, channels)
        channels = width or channels
    return total


def _input_shape(layer: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Return the shape that a layer was built for, or states; None where the file says neither."""
    built = (layer.get("build_config") or {}).get("input_shape")
    return built or settings.get("batch_input_shape") or settings.get("batch_shape")


def _width(settings: dict[str, Any]) -> int:
    """Return how many channels a layer puts out; 0 where it has no such setting."""
    found = 0
    for names in _WIDTHS:
        found = max(found, _product([settings.get(name) for name in names], 0))
    return found


def _kernel_parameters(settings: dict[str, Any], channels: int, width: int) -> int:
    taps = _product(settings.get("kernel_size"), 1)
    multiplier = _product(settings.get("depth_multiplier"), 0)
    if multiplier:
        # A kernel for each channel, then, of a separable convolution, a 1x1 one over all of them.
        return channels * multiplier * (taps + width)
    in_channels = _product(settings.get("input_dim"), channels)
    groups = _product(settings.get("groups"), 1)
    return width * taps * in_channels // groups


def _channels_of(shape: Any, otherwise: int) -> int:
    sizes = _sizes(shape)
    return _product(sizes[-1:] if isinstance(sizes, list) else sizes, otherwise)


def _positions(shape: Any, otherwise: int) -> int:
    """Return the product of a shape without its batch axis."""
    sizes = _sizes(shape)
    return _product(sizes[1:] if isinstance(sizes, list) else sizes, otherwise)


def _sizes(given: Any) -> Any:
    """Return the list inside a tagged tuple; anything else as it is."""
    return given.get("items") if isinstance(given, dict) else given


def _product(given: Any, otherwise: int) -> int:
    """Return the product of one or several sizes; another number where one of them is not known."""
    given = _sizes(given)
    sizes = given if isinstance(given, list) else [given]
    # A hostile file may have anything here; `True` is an int as well.
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        return otherwise
    return math.prod(sizes)
