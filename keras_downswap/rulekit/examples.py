"""Small models as data: where a rule applies, and where it refuses and with which words.

They name layers and arguments, and no framework. The page of rules, the laws and the tests build
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

Size = int | tuple[int, ...]
Shape = tuple[int | None, ...]

MAP = (16, 16, 4)
"""Height, width and channels of an even map."""
ODD = (17, 15, 4)
"""Height, width and channels of a map with odd lengths."""
OPEN: Shape = (None, None, 4)
"""Height, width and channels of a map with unknown lengths."""
VIDEO = (3, 16, 16, 4)
"""Steps of time, and height, width and channels of each frame."""


@dataclass(frozen=True)
class LayerSketch:
    """One layer of an example.

    Attributes:
        class_name: Its class in `keras.layers`; `Add` adds a max pool of the model's input.
        arguments: The arguments of its constructor.
    """

    class_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A chain of layers that a rule swaps.

    Attributes:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        to: The target that is asked for; None for `strided_conv`, or the first that the rule
            serves.
    """

    shape: Shape
    layers: tuple[LayerSketch, ...]
    to: str | None = None


@dataclass(frozen=True)
class Refusal(Example):
    """A chain of layers that a rule does not swap.

    Attributes:
        reason: Words of the sentence with which the rule refuses.
    """

    reason: str = ""


Function = TypeVar("Function", bound=Callable[..., object])


class Decorator(Protocol):
    """Returns the function that it is given."""

    def __call__(self, function: Function) -> Function:
        """Note something on a function, and return it."""


def swaps(shape: Shape, *layers: LayerSketch, to: str | None = None) -> Decorator:
    """Note, under the decorator `rule`, a chain of layers that the rule swaps.

    Args:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        to: The target that is asked for; None for `strided_conv`, or the first that the rule
            serves.
    """
    return _noting("examples", Example(shape, layers, to))


def refuses(shape: Shape, *layers: LayerSketch, reason: str, to: str | None = None) -> Decorator:
    """Note, under the decorator `rule`, a chain of layers that the rule refuses, and why.

    Args:
        shape: (height, width, channels) of the input, None where a length is unknown.
        layers: The layers, in order.
        reason: Words of the sentence with which the rule refuses.
        to: The target that is asked for.
    """
    refusal = Refusal(shape, layers, to, reason)
    return _noting("refusals", refusal)


def _noting(kind: str, example: Example) -> Decorator:
    def decorate(function: Function) -> Function:
        # Decorators are applied from the last line up: each comes before those below it.
        later = getattr(function, kind, ())
        setattr(function, kind, (example, *later))
        return function

    return decorate


def conv(filters: int = 4, size: Size = 3, **arguments: Any) -> LayerSketch:
    """Return a Conv2D named `conv`, of padding `same` and a random bias by default."""
    settings = {
        "filters": filters,
        "kernel_size": size,
        "padding": "same",
        "name": "conv",
        "bias_initializer": "random_normal",
    }
    return LayerSketch("Conv2D", {**settings, **arguments})


def strided_conv(**arguments: Any) -> LayerSketch:
    """Return such a Conv2D with strides of 2."""
    return conv(strides=2, **arguments)


def dilated_conv() -> LayerSketch:
    """Return such a Conv2D with a dilation rate of 2."""
    return conv(dilation_rate=2)


def conv_relu() -> LayerSketch:
    """Return such a Conv2D with ReLU as its activation."""
    return conv(activation="relu")


def pointwise(filters: int = 4, **arguments: Any) -> LayerSketch:
    """Return such a Conv2D with a kernel of one tap."""
    return conv(filters, size=1, **arguments)


def separable_conv() -> LayerSketch:
    """Return a SeparableConv2D named `conv`, of padding `same`."""
    return LayerSketch("SeparableConv2D", conv().arguments)


def conv_lstm(**arguments: Any) -> LayerSketch:
    """Return a ConvLSTM2D named `conv`, which needs an input with a time axis first."""
    settings = {"filters": 4, "kernel_size": 3, "padding": "same", "name": "conv"}
    return LayerSketch("ConvLSTM2D", {**settings, **arguments})


def max_pool(size: Size = 2, strides: Size | None = None, **arguments: Any) -> LayerSketch:
    """Return a MaxPooling2D named `pool`."""
    return _pool("MaxPooling2D", pool_size=size, strides=strides, **arguments)


def subsampling(strides: int) -> LayerSketch:
    """Return a MaxPooling2D named `pool` over single cells."""
    return max_pool(1, strides)


def average_pool(size: Size = 2, strides: Size | None = None, **arguments: Any) -> LayerSketch:
    """Return an AveragePooling2D named `pool`."""
    return _pool("AveragePooling2D", pool_size=size, strides=strides, **arguments)


def padded_average_pool() -> LayerSketch:
    """Return an AveragePooling2D named `pool`, of padding `same`."""
    return average_pool(padding="same")


def _pool(class_name: str, **arguments: Any) -> LayerSketch:
    return LayerSketch(class_name, {"name": "pool", **arguments})


def global_average_pool() -> LayerSketch:
    """Return a GlobalAveragePooling2D named `pool`."""
    return LayerSketch("GlobalAveragePooling2D", {"name": "pool"})


def batch_norm() -> LayerSketch:
    """Return a BatchNormalization named `bn`, with random statistics and scales."""
    # With those of a new layer it would be the identity, and show nothing.
    random = {"moving_mean_initializer": "random_normal", "gamma_initializer": "random_normal"}
    return LayerSketch("BatchNormalization", {"name": "bn", **random})


def relu() -> LayerSketch:
    """Return a ReLU."""
    return LayerSketch("ReLU")


def add() -> LayerSketch:
    """Return the sum of the map so far and a max pool of the model's input."""
    return LayerSketch("Add", {"name": "add"})
