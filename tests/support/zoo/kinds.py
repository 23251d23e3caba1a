"""Dtypes, and layers that wrap, repeat or resemble a convolution or a pool."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import COMPOSED, COPIED, SQUARE, pair, trap

STEPS = (3, 12, 12, 3)


def policy(name: str, K: Any, L: Any) -> Any:
    i, dtype = K.Input(SQUARE), {"dtype": name}
    x = L.ReLU(**dtype)(L.BatchNormalization(**dtype)(L.Conv2D(4, 3, **dtype)(i)))
    x = L.AveragePooling2D(2, **dtype)(L.Conv2D(4, 3, **dtype)(L.MaxPooling2D(2, **dtype)(x)))
    return i, L.Dense(2, dtype="float32")(x)


@trap(COPIED, COMPOSED)
def mixed_float16(K: Any, L: Any) -> Any:
    return policy("mixed_float16", K, L)


@trap(COPIED, COMPOSED)
def mixed_bfloat16(K: Any, L: Any) -> Any:
    return policy("mixed_bfloat16", K, L)


@trap(COMPOSED, backends=("tensorflow",))
def double(K: Any, L: Any) -> Any:
    i, dtype = K.Input(SQUARE, dtype="float64"), {"dtype": "float64"}
    x = L.BatchNormalization(**dtype)(L.Conv2D(4, 3, **dtype)(i))
    return i, L.Conv2D(3, 3, 2, **dtype)(L.AveragePooling2D(2, **dtype)(x))


@trap(COPIED)
def a_dtype_per_layer(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.Conv2D(4, 3, dtype="mixed_float16")(L.Dense(3)(i))
    return i, L.Dense(2, dtype="float32")(L.MaxPooling2D(2, dtype="mixed_float16")(x))


@trap()
def pool_of_another_dtype(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.Conv2D(4, 3, dtype="mixed_float16")(i)
    return i, L.MaxPooling2D(2, dtype="float32")(x)


@trap(only="keras")
def quantized(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    model = K.Model(i, L.Dense(3, name="dense")(L.Flatten()(L.Conv2D(4, 3, 2)(i))))
    model.get_layer("dense").quantize("int8")
    return model


@trap(only="keras")
def low_rank_adapted(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    model = K.Model(i, pair(L, i, names=("conv", "pool")))
    model.get_layer("conv").enable_lora(2)
    return model


@trap(COPIED)
def convolution_and_pool_in_time(K: Any, L: Any) -> Any:
    i = K.Input(STEPS)
    x = L.TimeDistributed(L.Conv2D(4, 3, name="conv"), name="convs")(i)
    return i, L.TimeDistributed(L.MaxPooling2D(2, name="pool"), name="pools")(x)


@trap(COMPOSED)
def convolution_and_average_in_time(K: Any, L: Any) -> Any:
    i = K.Input(STEPS)
    x = L.TimeDistributed(L.Conv2D(4, 3, padding="same"))(i)
    x = L.TimeDistributed(L.ReLU())(L.TimeDistributed(L.BatchNormalization())(x))
    x = L.TimeDistributed(L.AveragePooling2D(2))(
        L.TimeDistributed(L.Conv2D(4, 3, padding="same"))(x)
    )
    return i, L.TimeDistributed(L.Flatten())(x)


@trap(COPIED)
def norm_between_in_time(K: Any, L: Any) -> Any:
    i = K.Input((None, *STEPS[1:]))
    x = L.TimeDistributed(L.BatchNormalization())(L.TimeDistributed(L.Conv2D(4, 3))(i))
    return i, L.TimeDistributed(L.MaxPooling2D(2))(L.TimeDistributed(L.Dropout(0.5))(L.ReLU()(x)))


@trap(COPIED)
def model_in_time(K: Any, L: Any) -> Any:
    step = K.Sequential(
        [K.Input(STEPS[1:]), L.Conv2D(2, 3, 2), L.Conv2D(2, 3, padding="same"), L.MaxPooling2D(2)]
    )
    i = K.Input(STEPS)
    return i, L.TimeDistributed(step)(i)


@trap(COPIED)
def model_of_another_dtype_in_time(K: Any, L: Any) -> Any:
    i, j = K.Input(STEPS, dtype="uint8"), K.Input(STEPS[1:])
    return i, L.TimeDistributed(K.Model(j, pair(L, j)))(i)


@trap(COPIED, only="tf_keras")
def convolution_over_the_last_axes(K: Any, L: Any) -> Any:
    i = K.Input(STEPS)
    x = L.ReLU()(L.Conv3D(4, 3, padding="same")(i))
    return i, L.Conv2D(3, 3)(L.MaxPooling3D(2)(x))


@trap(COPIED)
def model_without_an_input_in_time(K: Any, L: Any) -> Any:
    i, step = K.Input(STEPS), K.Sequential([L.Conv2D(2, 3, 2), L.MaxPooling2D(2)])
    return i, L.TimeDistributed(step)(i)


@trap()
def hidden_in_a_layer(K: Any, L: Any) -> Any:
    class Block(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.conv, self.pool = (
                L.Conv2D(4, 3, strides=2, name="conv"),
                L.MaxPooling2D(2, name="pool"),
            )

        def call(self, x: Any) -> Any:
            return self.pool(self.conv(x))

    i = K.Input(SQUARE)
    return i, Block(name="block")(i)


@trap()
def shared_with_a_wrapper(K: Any, L: Any) -> Any:
    i, j, conv = K.Input(STEPS), K.Input(STEPS[1:]), L.Conv2D(4, 3, padding="same")
    x = L.TimeDistributed(L.MaxPooling2D(2))(L.TimeDistributed(conv)(i))
    return [i, j], [L.Flatten()(x), L.Flatten()(L.MaxPooling2D(2)(conv(j)))]


@trap()
def two_wrappers_of_one_convolution(K: Any, L: Any) -> Any:
    i, conv = K.Input(STEPS), L.Conv2D(4, 3, padding="same")
    ends = [L.TimeDistributed(L.MaxPooling2D(2))(L.TimeDistributed(conv)(i)) for _ in range(2)]
    return i, L.Add()(ends)


@trap(COPIED, COPIED)
def one_wrapper_called_twice(K: Any, L: Any) -> Any:
    i, j = K.Input(STEPS), K.Input(STEPS)
    conv, pool = (
        L.TimeDistributed(L.Conv2D(4, 3, padding="same")),
        L.TimeDistributed(L.MaxPooling2D(2)),
    )
    return [i, j], L.Add()([pool(conv(i)), pool(conv(j))])


@trap()
def wrapped_convolution_under_a_plain_pool(K: Any, L: Any) -> Any:
    i = K.Input((6, 12, 12, 3))
    return i, L.MaxPooling3D(2)(L.TimeDistributed(L.Conv2D(4, 3))(i))


@trap(COMPOSED)
def plain_layers_between_wrapped_ones(K: Any, L: Any) -> Any:
    i = K.Input(STEPS)
    x = L.ReLU()(
        L.BatchNormalization()(L.TimeDistributed(L.Conv2D(4, 3, strides=2, padding="same"))(i))
    )
    x = L.BatchNormalization()(L.TimeDistributed(L.Conv2D(4, 3))(x))
    return i, L.TimeDistributed(L.AveragePooling2D(2))(x)


@trap()
def recurrent_convolution(K: Any, L: Any) -> Any:
    i = K.Input(STEPS)
    return i, L.MaxPooling2D(2)(L.ConvLSTM2D(3, 3, strides=2)(i))


@trap(COPIED)
def both_directions(K: Any, L: Any) -> Any:
    i = K.Input((16, 3))
    return i, L.Bidirectional(L.LSTM(3))(L.MaxPooling1D(2)(L.Conv1D(4, 3)(i)))


@trap()
def transposed(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.Conv2DTranspose(4, 3, strides=2)(i))


@trap(only="tf_keras")
def locally_connected(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.LocallyConnected2D(2, 3, strides=2)(i))


@trap("pool_into_next_stride")
def subclasses_of_both(K: Any, L: Any) -> Any:
    @K.utils.register_keras_serializable("zoo")
    class OwnConv(L.Conv2D):  # type: ignore[misc, name-defined]
        pass

    @K.utils.register_keras_serializable("zoo")
    class OwnPool(L.MaxPooling2D):  # type: ignore[misc, name-defined]
        pass

    i = K.Input(SQUARE)
    return i, OwnPool(2)(L.Conv2D(4, 3)(L.MaxPooling2D(2)(OwnConv(4, 3)(i))))


@trap(COPIED)
def other_pools_beside(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = pair(L, i)
    return i, L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
