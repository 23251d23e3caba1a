"""A pool after a join of branches: it reaches the convolution of each branch, or of none."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import AVERAGED, COMPOSED, COPIED, SQUARE, pair, trap

SUBSAMPLED = "pool_of_one_into_stride"


@trap(COPIED)
def fire_module(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    squeezed = L.Conv2D(2, 1, activation="relu")(i)
    left = L.Conv2D(3, 1, activation="relu")(squeezed)
    right = L.Conv2D(4, 3, padding="same", activation="relu")(squeezed)
    return i, L.MaxPooling2D(3, 2)(L.Concatenate()([left, right]))


@trap(COMPOSED)
def inception_averaged(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    ends = [L.Conv2D(3, k, padding="same")(i) for k in (1, 3, (5, 2))]
    x = L.BatchNormalization()(L.Concatenate()([L.BatchNormalization()(ends[0]), *ends[1:]]))
    return i, L.AveragePooling2D(2)(x)


@trap(COMPOSED)
def residual_sum_averaged(K: Any, L: Any) -> Any:
    i = K.Input((17, 19, 3))
    x = L.BatchNormalization()(
        L.Conv2D(4, 3, padding="same")(L.ReLU()(L.Conv2D(4, 3, padding="same")(i)))
    )
    return i, L.AveragePooling2D(2)(L.Add()([x, L.BatchNormalization()(L.Conv2D(4, 1)(i))]))


@trap(COMPOSED)
def difference_of_two_inputs_averaged(K: Any, L: Any) -> Any:
    i, j = K.Input((18, 18, 3)), K.Input(SQUARE)
    return [i, j], L.AveragePooling2D(2)(L.Subtract()([L.Conv2D(4, 5)(i), L.Conv2D(4, 3)(j)]))


@trap(SUBSAMPLED)
def product_subsampled(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.Multiply()(
        [L.Conv2D(4, 3, padding="same", activation="tanh")(i), L.Conv2D(4, 5, padding="same")(i)]
    )
    return i, L.MaxPooling2D(1, 2)(L.ReLU()(x))


@trap(AVERAGED)
def product_averaged(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.AveragePooling2D(2)(L.Multiply()([L.Conv2D(4, 3)(i), L.Conv2D(4, 3)(i)]))


@trap(COMPOSED)
def joined_by_operators(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.AveragePooling2D(2)(L.Conv2D(4, 3)(i) + L.Conv2D(4, 3)(i))


@trap()
def one_branch_is_the_input(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.Add()([i, L.Conv2D(3, 3, padding="same")(i)]))


@trap()
def one_branch_has_another_consumer(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    left, right = L.Conv2D(3, 3)(i), L.Conv2D(4, 3)(i)
    return i, [L.MaxPooling2D(2)(L.Concatenate()([left, right])), L.Flatten()(left)]


@trap()
def joined_along_a_spatial_axis(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.Concatenate(1)([L.Conv2D(4, 3)(i), L.Conv2D(4, 3)(i)]))


@trap()
def joined_by_broadcasting(K: Any, L: Any) -> Any:
    i = K.Input((8, 8, 3))
    gate = L.Conv2D(4, 8, activation="sigmoid")(i)
    return i, L.MaxPooling2D(2)(L.Multiply()([L.Conv2D(4, 3, padding="same")(i), gate]))


@trap(f"{COPIED} + {COPIED} + {COPIED}")
def pools_on_branches_and_after_their_join(K: Any, L: Any) -> Any:
    i = K.Input((32, 32, 3))
    return i, L.MaxPooling2D(2)(L.Concatenate()([pair(L, i), pair(L, i)]))


@trap(COMPOSED)
def branches_of_unknown_sizes(K: Any, L: Any) -> Any:
    i = K.Input((None, None, 3))
    return i, L.AveragePooling2D(2)(
        L.Add()([L.Conv2D(4, 3, padding="same")(i), L.Conv2D(4, 5, padding="same")(i)])
    )


@trap(COMPOSED)
def branches_of_one_shared_convolution(K: Any, L: Any) -> Any:
    i, j, conv = K.Input(SQUARE), K.Input(SQUARE), L.Conv2D(4, 3)
    return [i, j], L.AveragePooling2D(2)(L.Average()([conv(i), conv(j)]))


@trap(COPIED)
def branches_in_time(K: Any, L: Any) -> Any:
    i = K.Input((3, 12, 12, 3))
    ends = [L.TimeDistributed(L.Conv2D(4, k, padding="same"))(i) for k in (1, 3)]
    return i, L.TimeDistributed(L.MaxPooling2D(2))(L.Concatenate()(ends))


@trap(COMPOSED)
def branches_with_channels_first(K: Any, L: Any) -> Any:
    first = {"data_format": "channels_first"}
    i = K.Input((3, 17, 16))
    ends = [L.Conv2D(f, 3, padding="same", **first)(i) for f in (2, 5)]
    return i, L.AveragePooling2D(2, **first)(L.Concatenate(1)(ends))


@trap(COPIED)
def ladder_of_branches(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    ends = [L.ELU()(L.Conv2D(4, 3)(i)) for _ in range(4)]
    return i, L.MaxPooling2D(2)(
        L.Add()([L.ReLU()(L.Add()(ends[:2])), L.ReLU()(L.Maximum()(ends[2:]))])
    )
