"""Small models as data: where a rule applies, and where it refuses and with which words.

They name layers and arguments, and no framework. The page of rules, the laws and the tests build
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Size = int | tuple[int, ...]

MAP = (16, 16, 4)
"""Height, width and channels of an even map."""
ODD = (17, 15, 4)
"""Height, width and channels of a map with odd lengths."""


@dataclass(frozen=True)
class LayerSketch:
    """One layer of an example.

    Attributes:
        class_name: Its class in `keras.layers`; `Add` adds a max pool of the model's input.
        arguments: The arguments of its constructor.
    """

    class_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Example:
    """A chain of layers that a rule swaps.

    Attributes:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        to: The target that is asked for; None for `strided_conv`, or the first that the rule serves.
    """

    def __init__(
        self, shape: tuple[int | None, ...], *layers: LayerSketch, to: str | None = None
    ) -> None:
        self.shape = shape
        self.layers = layers
        self.to = to


class Refusal(Example):
    """A chain of layers that a rule does not swap.

    Attributes:
        reason: Words of the sentence with which the rule refuses.
    """

    def __init__(
        self,
        shape: tuple[int | None, ...],
        *layers: LayerSketch,
        reason: str,
        to: str | None = None,
    ) -> None:
        super().__init__(shape, *layers, to=to)
        self.reason = reason


Function = TypeVar("Function", bound=Callable[..., object])


def swaps(
    shape: tuple[int | None, ...], *layers: LayerSketch, to: str | None = None
) -> Callable[[Function], Function]:
    """Note, under the decorator `rule`, a chain of layers that the rule swaps.

    Args:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        to: The target that is asked for; None for `strided_conv`, or the first that the rule
            serves.
    """
    return _noting("examples", Example(shape, *layers, to=to))


def refuses(
    shape: tuple[int | None, ...], *layers: LayerSketch, reason: str, to: str | None = None
) -> Callable[[Function], Function]:
    """Note, under the decorator `rule`, a chain of layers that the rule refuses, and in which words.

    Args:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        reason: Words of the sentence with which the rule refuses.
        to: The target that is asked for.
    """
    return _noting("refusals", Refusal(shape, *layers, reason=reason, to=to))


def _noting(kind: str, example: Example) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        # Decorators are applied from the last line up: each comes before those below it.
        later = getattr(function, kind, ())
        setattr(function, kind, (example, *later))
        return function

    return decorate


def conv(filters: int = 4, size: Size = 3, **arguments: Any) -> LayerSketch:
    """Return a Conv2D named `conv`, of padding `same` and a random bias unless told otherwise."""
    settings = {
        "filters": filters,
        "kernel_size": size,
        "padding": "same",
        "name": "conv",
        "bias_initializer": "random_normal",
    }
    return LayerSketch("Conv2D", {**settings, **arguments})


def separable_conv(filters: int = 4, size: Size = 3, **arguments: Any) -> LayerSketch:
    """Return a SeparableConv2D named `conv`, of padding `same`."""
    sketch = conv(filters, size, **arguments)
    return LayerSketch("SeparableConv2D", sketch.arguments)


def conv_lstm(filters: int = 4, size: Size = 3, **arguments: Any) -> LayerSketch:
    """Return a ConvLSTM2D named `conv`, which needs an input with a time axis first."""
    settings = {"filters": filters, "kernel_size": size, "padding": "same", "name": "conv"}
    return LayerSketch("ConvLSTM2D", {**settings, **arguments})


def max_pool(size: Size = 2, strides: Size | None = None, **arguments: Any) -> LayerSketch:
    """Return a MaxPooling2D named `pool`."""
    return _pool("MaxPooling2D", size, strides, arguments)


def average_pool(size: Size = 2, strides: Size | None = None, **arguments: Any) -> LayerSketch:
    """Return an AveragePooling2D named `pool`."""
    return _pool("AveragePooling2D", size, strides, arguments)


def _pool(
    class_name: str, size: Size, strides: Size | None, arguments: Mapping[str, Any]
) -> LayerSketch:
    settings = {"pool_size": size, "strides": strides, "name": "pool"}
    return LayerSketch(class_name, {**settings, **arguments})


def global_average_pool() -> LayerSketch:
    """Return a GlobalAveragePooling2D named `pool`."""
    return LayerSketch("GlobalAveragePooling2D", {"name": "pool"})


def batch_norm() -> LayerSketch:
    """Return a BatchNormalization named `bn`, with random statistics and scales."""
    random = {"moving_mean_initializer": "random_normal", "gamma_initializer": "random_normal"}
    return LayerSketch("BatchNormalization", {"name": "bn", **random})


def relu() -> LayerSketch:
    """Return a ReLU."""
    return LayerSketch("ReLU")


def add() -> LayerSketch:
    """Return the sum of the map so far and a max pool of the model's input."""
    return LayerSketch("Add", {"name": "add"})
