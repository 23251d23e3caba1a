"""Names that a swap would like to use, and names that are hard to handle."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import COPIED, SQUARE, pair, trap


@trap(COPIED)
def taken_names(K: Any, L: Any) -> Any:
    i = K.Input((33, 33, 3))
    x = L.MaxPooling2D(2, name="a_pool")(
        L.Conv2D(4, 3, padding="same", name="a")(L.Dense(3, name="A_pad")(i))
    )
    return i, L.Conv2D(4, 3, 2, name="b")(L.Dense(3, name="b_pool")(L.Dense(3, name="a_crop")(x)))


@trap(COPIED, only="tf_keras")
def names_with_slashes(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = pair(L, i, names=("stage/conv", "stage/pool"))
    return i, L.Conv2D(4, 3, 2, name="stage/conv_pool")(x)


@trap(COPIED, COPIED)
def names_that_differ_in_case(K: Any, L: Any) -> Any:
    i = K.Input((33, 33, 3))
    x = pair(L, i, names=("conv", "pool"))
    return i, L.Dense(3, name="CONV_PAD")(pair(L, x, names=("Conv", "Pool")))


@trap(COPIED)
def names_that_a_file_would_trip_over(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE, name="in")
    return i, L.Dense(3, name="weights.1")(pair(L, i, names=("kernel.0", "0")))


@trap(COPIED)
def names_like_the_next_automatic_ones(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = pair(L, i, names=("conv2d_1", "max_pooling2d_1"))
    return i, L.Conv2D(4, 3, 2)(L.Dense(3, name="conv2d_2")(x))
