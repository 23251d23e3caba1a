"""Pools without a convolution before them, and those that only another target can take."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import FIRST as CF
from support.zoo.trap import SQUARE, trap

NEXT, MEAN, NEAR = (
    "average_pool_into_next_kernel",
    "average_pool_into_depthwise",
    "pool_into_next_stride",
)


@trap(NEXT)
def average_before_a_convolution(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(2)(i := K.Input(SQUARE))
    return i, L.Conv2D(4, 3, padding="same", activation="gelu")(x)


@trap(NEXT)
def average_that_leaves_cells_before_padding(K: Any, L: Any) -> Any:
    """17 cells are 8 means and one cell over, which the zeros of the convolution must replace."""
    x = L.AveragePooling2D(2)(i := K.Input((17, 17, 3)))
    return i, L.Conv2D(4, 3, padding="same")(x)


@trap(NEXT)
def average_of_any_length_before_a_convolution(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(3, 2)(i := K.Input((None, None, 3)))
    return i, L.Conv2D(4, 3, 2)(L.BatchNormalization()(x))


@trap(NEXT)
def average_before_a_dilated_convolution(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(2)(i := K.Input((20, 18, 3)))
    return i, L.Conv2D(4, 2, dilation_rate=2, padding="same")(x)


@trap(NEXT)
def average_before_a_depthwise_convolution(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(2)(i := K.Input(SQUARE))
    return i, L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)


@trap(NEXT)
def average_before_a_convolution_in_time(K: Any, L: Any) -> Any:
    x = L.TimeDistributed(L.AveragePooling2D(2), name="pools")(i := K.Input((2, 8, 8, 3)))
    return i, L.TimeDistributed(L.Conv2D(4, 3, padding="same"), name="convs")(x)


@trap(MEAN)
def overlapping_average_before_padding(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(3, 2)(i := K.Input(SQUARE))
    return i, L.Conv2D(4, 3, padding="same")(x)


@trap(MEAN)
def average_before_two_convolutions(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D(2)(i := K.Input(SQUARE))
    return i, [L.Conv2D(4, 3)(x), L.Conv2D(4, 1)(x)]


@trap(MEAN)
def average_between_activations(K: Any, L: Any) -> Any:
    x = L.AveragePooling2D((2, 3), (1, 2))(L.Conv2D(4, 3, activation="relu")(i := K.Input(SQUARE)))
    return i, L.ReLU()(x)


@trap(MEAN, MEAN)
def average_of_two_depths(K: Any, L: Any) -> Any:
    """One layer without weights serves maps of 3 and of 5 channels; convolutions of each channel
    cannot be one.
    """
    a, b, pool = K.Input(SQUARE), K.Input((16, 16, 5)), L.AveragePooling2D(2, name="pool")
    return [a, b], [L.ReLU(name="a")(pool(a)), L.ReLU(name="b")(pool(b))]


@trap(MEAN)
def average_of_a_volume(K: Any, L: Any) -> Any:
    return (i := K.Input((8, 9, 7, 3))), L.AveragePooling3D((2, 3, 2))(i)


@trap(MEAN)
def average_of_rows_first(K: Any, L: Any) -> Any:
    return (i := K.Input((3, 18))), L.AveragePooling1D(3, 2, **CF)(i)


@trap(NEAR)
def maximum_before_a_convolution(K: Any, L: Any) -> Any:
    x = L.ReLU()(L.MaxPooling2D(3, 2, "same")(i := K.Input((17, 16, 3))))
    return i, L.Conv2D(4, 3, padding="same")(x)


@trap(f"{NEAR} + {NEAR}")
def two_maxima_before_a_convolution(K: Any, L: Any) -> Any:
    """The first is taken only once the second is: a second run must not find it."""
    x = L.MaxPooling2D(2)(L.MaxPooling2D(2)(i := K.Input((33, 32, 3))))
    return i, L.Conv2D(4, 3)(x)


@trap("average_pool_into_depthwise + pool_into_stride")
def maximum_after_a_mean(K: Any, L: Any) -> Any:
    """The maximum finds no convolution until the mean has become one."""
    x = L.AveragePooling2D(2)(L.ReLU()(i := K.Input((33, 32, 3))))
    return i, L.MaxPooling2D(2)(x)


@trap()
def maximum_of_integers(K: Any, L: Any) -> Any:
    return (i := K.Input((8, 8, 3), dtype="int32")), L.MaxPooling2D(2, dtype="int32")(i)


@trap("average_pool_into_kernel")
def transition_of_densenet(K: Any, L: Any) -> Any:
    x = L.ReLU()(L.BatchNormalization()(i := K.Input((14, 14, 8))))
    return i, L.AveragePooling2D(2)(L.Conv2D(4, 1, use_bias=False)(x))


@trap("pool_into_stride")
def shortcut_that_keeps_its_channels(K: Any, L: Any) -> Any:
    x = L.Conv2D(4, 3, padding="same")(i := K.Input(SQUARE))
    a = L.BatchNormalization()(L.Conv2D(4, 1, 2)(x))
    b = L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same", activation="relu")(x))
    return i, L.Add()([a, b])
