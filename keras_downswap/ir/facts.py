"""Typed facts about layers, as far as rules, planning and checks need them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LayerKind(str, Enum):
    """A stock Keras layer class, named without its rank: `CONV` is Conv1D, Conv2D or Conv3D."""

    CONV = "Conv"
    DEPTHWISE_CONV = "DepthwiseConv"
    SEPARABLE_CONV = "SeparableConv"
    MAX_POOLING = "MaxPooling"
    AVERAGE_POOLING = "AveragePooling"
    GLOBAL_MAX_POOLING = "GlobalMaxPooling"
    GLOBAL_AVERAGE_POOLING = "GlobalAveragePooling"
    ZERO_PADDING = "ZeroPadding"
    CROPPING = "Cropping"
    RESHAPE = "Reshape"
    PERMUTE = "Permute"
    FLATTEN = "Flatten"
    DENSE = "Dense"
    BATCH_NORMALIZATION = "BatchNormalization"

    def __str__(self) -> str:
        """Return the class name, in every version of Python."""
        return self.value

    ACTIVATION = "Activation"


CONV_KINDS = frozenset({LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.SEPARABLE_CONV})
POOL_KINDS = frozenset({LayerKind.MAX_POOLING, LayerKind.AVERAGE_POOLING})
FLATTENING_KINDS = frozenset({LayerKind.FLATTEN, LayerKind.RESHAPE})
RESIZE_KINDS = frozenset({LayerKind.ZERO_PADDING, LayerKind.CROPPING})


@dataclass(frozen=True)
class ConvFacts:
    """What is known of an ordinary, depthwise or separable convolution.

    Attributes:
        kind: Which of the three it is.
        filters: Output channels; None for a depthwise one, which has no such argument.
        groups: Groups of channels that do not see each other.
        depth_multiplier: Output channels per input channel of a depthwise kernel.
        use_bias: Whether it adds a bias.
        activation: Name of its activation; `linear` for none.
        padding_layers: Which of ZeroPadding and Cropping this Keras has for its rank and data
            format.
        misplaces_channels_first_bias: Whether this Keras adds the bias along the width where that
            is as long as there are filters.
        is_binomial_blur: Whether it filters each channel with fixed binomial coefficients.
        has_fixed_kernel: Whether another swap made it, with a kernel that does not train.
    """

    kind: LayerKind = LayerKind.CONV
    filters: int | None = None
    groups: int = 1
    depth_multiplier: int = 1
    use_bias: bool = True
    activation: str = "linear"
    padding_layers: frozenset[LayerKind] = frozenset()
    misplaces_channels_first_bias: bool = False
    is_binomial_blur: bool = False
    has_fixed_kernel: bool = False

    def output_channels(self, input_channels: int | None) -> int | None:
        """Return how many channels the convolution produces, None where that is unknown."""
        if self.kind is not LayerKind.DEPTHWISE_CONV:
            return self.filters
        return None if input_channels is None else input_channels * self.depth_multiplier


@dataclass(frozen=True)
class PoolFacts:
    """What is known of a pool besides its windows.

    Attributes:
        padding_layers: Which of ZeroPadding and Cropping this Keras has for its rank and data
            format.
    """

    padding_layers: frozenset[LayerKind] = frozenset()


@dataclass(frozen=True)
class ResizeFacts:
    """What is known of a padding or cropping layer.

    Attributes:
        cells: Cells added (before, after) along each spatial axis; negative ones are cut off.
    """

    cells: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class JoinFacts:
    """What is known of a join of several tensors.

    Attributes:
        is_linear: Whether it is a linear map of its inputs together.
        keeps_sign: Whether it has no negative output where no input is negative.
        axis: The axis along which it concatenates; None where it works position by position.
    """

    is_linear: bool = False
    keeps_sign: bool = False
    axis: int | None = None


@dataclass(frozen=True)
class ElementwiseFacts:
    """What is known of a layer that treats every position alike.

    Attributes:
        activation: Name of its activation; None for a layer that is not an activation.
        axis: The axis along which it mixes values or differs; None where it does neither.
        mixes: Whether it mixes values along that axis, as a softmax does.
        is_identity: Whether it does nothing at inference, as a Dropout.
        is_monotone: Whether it is known to be non-decreasing.
        is_never_negative: Whether no output of it can be below zero.
        keeps_sign: Whether it has no negative output where no input is negative.
    """

    activation: str | None = None
    axis: int | None = None
    mixes: bool = False
    is_identity: bool = False
    is_monotone: bool = False
    is_never_negative: bool = False
    keeps_sign: bool = False


Facts = ConvFacts | PoolFacts | ResizeFacts | JoinFacts | ElementwiseFacts
