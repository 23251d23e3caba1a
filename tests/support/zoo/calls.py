"""Layers called more than once, and what else consumes the output of a convolution."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import AVERAGED, COMPOSED, COPIED, SQUARE, pair, trap


@trap(AVERAGED)
def two_consumers(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3)(i)
    return i, L.Concatenate()([L.MaxPooling2D(2)(c), L.AveragePooling2D(2)(c)])


@trap()
def conv_is_output(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3, strides=2, name="c")(i)
    return i, [c, L.MaxPooling2D(2, name="p")(c)]


@trap(COPIED)
def conv_feeds_a_skip(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3, padding="same")(i)
    down = pair(L, L.ReLU()(c))
    return i, L.Add()([down, L.MaxPooling2D(2)(c)])


@trap()
def a_relu_between_feeds_a_skip(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    r = L.ReLU()(L.Conv2D(4, 3, padding="same")(i))
    return i, L.Concatenate()([L.UpSampling2D(2)(L.MaxPooling2D(2)(r)), r])


@trap(COPIED)
def twin_outputs(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    p = L.MaxPooling2D(2, name="p")(L.Conv2D(4, 3, activation="relu")(i))
    return i, [p, p]


@trap()
def residual(K: Any, L: Any) -> Any:
    i = K.Input((17, 17, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, 2, "same", use_bias=False)(i)))
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x))
    return i, L.ReLU()(L.Add()([x, L.BatchNormalization()(L.Conv2D(4, 1, 2, "same")(i))]))


@trap(COPIED, COPIED)
def shared_conv(K: Any, L: Any) -> Any:
    i, j, conv = K.Input(SQUARE), K.Input(SQUARE), L.Conv2D(4, 3)
    return [i, j], L.Add()([L.MaxPooling2D(2)(conv(i)), L.MaxPooling2D(2)(conv(j))])


@trap()
def shared_conv_half_pooled(K: Any, L: Any) -> Any:
    i, conv = K.Input((16, 16, 4)), L.Conv2D(4, 3, padding="same")
    return i, conv(L.MaxPooling2D(2)(conv(i)))


@trap()
def shared_conv_with_one_plain_call(K: Any, L: Any) -> Any:
    i, j, conv = K.Input(SQUARE), K.Input((8, 8, 3)), L.Conv2D(4, 3, padding="same")
    return [i, j], L.Add()([L.MaxPooling2D(2)(conv(i)), conv(j)])


@trap()
def shared_conv_under_two_kinds_of_pool(K: Any, L: Any) -> Any:
    i, j, conv = K.Input(SQUARE), K.Input(SQUARE), L.Conv2D(4, 3, padding="same")
    return [i, j], L.Add()([L.MaxPooling2D(2)(conv(i)), L.AveragePooling2D(2)(conv(j))])


@trap(COPIED, COPIED)
def shared_pool(K: Any, L: Any) -> Any:
    i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
    return i, pool(L.Conv2D(4, 3)(pool(L.Conv2D(4, 3)(i))))


@trap(COPIED, COPIED)
def shared_pool_outputs(K: Any, L: Any) -> Any:
    i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
    return i, [pool(L.Conv2D(4, 3)(i)), pool(L.Conv2D(4, 3)(i))]


@trap("pool_of_one_into_stride", "pool_of_one_into_stride", COPIED)
def shared_pool_that_makes_one_of_several_outputs(K: Any, L: Any) -> Any:
    i, pool = K.Input(SQUARE), L.MaxPooling2D(1, 2, name="pool")
    x = pool(L.Conv2D(4, 3)(i))
    return i, [pool(L.Conv2D(4, 3)(x)), pair(L, x)]


@trap()
def shared_pool_that_makes_two_outputs(K: Any, L: Any) -> Any:
    i, pool = K.Input((16, 4)), L.MaxPooling1D(4)
    x = pool(i)
    return i, [x, pool(x)]


@trap(COPIED)
def shared_pool_with_one_bare_call(K: Any, L: Any) -> Any:
    i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
    return i, L.Concatenate()([pool(i), pool(L.Conv2D(4, 3, padding="same")(i))])


@trap("average_pool_into_next_kernel")
def pool_in_front_of_a_pair_that_stays(K: Any, L: Any) -> Any:
    i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
    x = L.Conv2D(4, 3)(i)
    y = L.Conv2D(4, 3, padding="same")(L.MaxPooling2D(1, 2)(x))
    return i, [pool(y), pool(x), L.MaxPooling2D(2, 1)(x)]


@trap(COMPOSED, COMPOSED)
def a_pair_in_series_with_itself(K: Any, L: Any) -> Any:
    i, conv, pool = K.Input(SQUARE), L.Conv2D(3, 3, padding="same"), L.AveragePooling2D(2)
    return i, pool(conv(pool(conv(i))))


@trap(COPIED, COPIED)
def the_same_tensor_convolved_twice_by_one_layer(K: Any, L: Any) -> Any:
    i, conv = K.Input(SQUARE), L.Conv2D(4, 3)
    return i, L.Add()([L.MaxPooling2D(2)(conv(i)), L.MaxPooling2D(2)(conv(i))])


@trap(COPIED, COMPOSED)
def the_same_tensor_convolved_by_two_layers(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.Add()([pair(L, i), pair(L, i, "Average")])


@trap(COPIED)
def the_same_tensor_twice_in_one_call(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = pair(L, i)
    return i, L.Multiply()([x, x])


@trap()
def conv_twice_in_one_call(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3)(i)
    return i, L.MaxPooling2D(2)(L.Add()([c, c]))
