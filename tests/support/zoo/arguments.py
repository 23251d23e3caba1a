"""What calls carry besides one tensor, and operations and layers of the user's own that are no
stock layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from support.zoo.trap import AVERAGED, COMPOSED, COPIED, SQUARE, nn, ops, pair, trap


@trap(COPIED)
def training_frozen_in(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.Dropout(0.5)(pair(L, i), training=False)
    return i, L.BatchNormalization()(x, training=False)


@trap(AVERAGED)
def training_true_frozen_between(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(i), training=True)
    return i, L.AveragePooling2D(2)(x)


@trap(COPIED)
def conv_called_with_training(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    inner = K.Sequential(
        [K.Input(SQUARE), L.Conv2D(4, 3), L.BatchNormalization(), L.MaxPooling2D(2)], name="inner"
    )
    return i, L.ReLU()(inner(i, training=False))


@trap(COPIED)
def words(K: Any, L: Any) -> Any:
    i = K.Input((16,), dtype="int32")
    e = L.Embedding(8, 4, mask_zero=True)(i)
    pooled = L.MaxPooling1D(2)(L.Conv1D(4, 3, padding="same")(e))
    return i, [L.LSTM(3, name="r")(e), L.Bidirectional(L.LSTM(2), name="s")(pooled)]


@trap(COPIED)
def mask_given_by_hand(K: Any, L: Any) -> Any:
    i, mask = K.Input((16, 4)), K.Input((7,), dtype="bool")
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    return [i, mask], L.GRU(3)(x, mask=mask)


@trap(COPIED)
def initial_state_given(K: Any, L: Any) -> Any:
    i, j = K.Input((16, 4)), K.Input((3,))
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    return [i, j], L.LSTM(3)(x, initial_state=[j, L.Dense(3)(j)])


@trap(COPIED)
def attention(K: Any, L: Any) -> Any:
    i = K.Input((16, 4))
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    return i, L.LayerNormalization()(
        L.MultiHeadAttention(2, 2)(query=x, value=x, use_causal_mask=True) + x
    )


@trap(COPIED)
def attention_of_several_tensors(K: Any, L: Any) -> Any:
    i, j = K.Input((16, 4)), K.Input((5, 4))
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    return [i, j], [
        L.Attention()([x, j]),
        L.MultiHeadAttention(2, 2)(x, value=j, key=L.Dense(4)(j)),
    ]


@trap(COPIED)
def nested_structures_in_a_call(K: Any, L: Any) -> Any:
    @K.utils.register_keras_serializable("zoo")
    class Blend(L.Layer):  # type: ignore[misc, name-defined]
        def call(self, parts: Any, factor: float = 1.0) -> Any:
            return parts["a"] * factor + parts["more"][0] - parts["more"][1]

        def compute_output_shape(self, parts_shape: Any) -> Any:
            return parts_shape["a"]

    i = K.Input(SQUARE)
    x = pair(L, i)
    return i, Blend()({"a": x, "more": [L.ReLU()(x), L.ELU()(x)]}, factor=0.5)


@trap(COPIED)
def constants_in_a_call(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    table = np.linspace(0, 1, 4, dtype="float32")
    return i, ops(K).add(pair(L, i) * table, table)


@trap()
def tensors_by_keyword(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.Conv2D(4, 3)(inputs=i)
    y = L.MaxPooling2D(3, 1, padding="same")(inputs=x)
    return i, ops(K).add(x1=x, x2=y) if hasattr(K, "ops") else ops(K).add(x, y=y)


@trap(COPIED)
def operators(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, -(L.MaxPooling2D(2)(L.Conv2D(4, 3)(i * 2 + 1))[:, 1:, ..., :2] / 3)


@trap()
def operators_between(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(i) * 2 + 1)[:, 1:]


@trap(COMPOSED)
def functions(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = ops(K).transpose(L.AveragePooling2D(2)(L.Conv2D(4, 3)(i)), (0, 2, 1, 3))
    join = ops(K).concatenate if hasattr(K, "ops") else ops(K).concat
    return i, join([x, x], -1)


@trap(COPIED, COPIED)
def functions_between(K: Any, L: Any) -> Any:
    i, function = K.Input(SQUARE), nn(K)
    x = L.MaxPooling2D(2)(function.relu(L.Conv2D(4, 3)(i)))
    return i, L.MaxPooling2D(2)(K.activations.gelu(function.leaky_relu(L.Conv2D(4, 3)(x), 0.3)))


@trap()
def functions_after_a_strided_conv(K: Any, L: Any) -> Any:
    i, function = K.Input(SQUARE), nn(K)
    x = function.relu(L.Conv2D(4, 3, 2)(i))
    return i, function.relu(L.Conv2D(4, 3, 2, dtype="mixed_float16")(x))


@trap()
def functions_along_an_axis_between(K: Any, L: Any) -> Any:
    i, function = K.Input(SQUARE), nn(K)
    return i, L.MaxPooling2D(2)(function.softmax(L.Conv2D(4, 3)(i), 1))


@trap()
def pools_and_convolutions_as_functions(K: Any, L: Any) -> Any:
    i, kernel = K.Input(SQUARE), np.full((3, 3, 3, 4), 0.1, "float32")
    if hasattr(K, "ops"):
        x = K.ops.conv(i, kernel, strides=2, padding="valid")
        return i, K.ops.average_pool(K.ops.max_pool(x, 2, strides=2), 2, strides=2)
    x = nn(K).conv2d(i, kernel, 2, "VALID")
    return i, nn(K).avg_pool2d(nn(K).max_pool2d(x, 2, 2, "VALID"), 2, 2, "VALID")


@trap()
def tied_by_an_operation(K: Any, L: Any) -> Any:
    i, table = K.Input((8,), dtype="int32"), L.Embedding(8, 4)
    x = L.Conv1D(8, 3, 2)(table(i))
    return i, ops(K).matmul(x, table.embeddings)


@trap(COPIED)
def lambda_layers(K: Any, L: Any) -> Any:
    i, factor = K.Input(SQUARE), 0.5
    x = L.Lambda(lambda t: t * factor)(pair(L, i))
    return i, L.Lambda(lambda t, by: t + by, arguments={"by": 2.0})(x)


@trap()
def a_lambda_between(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.MaxPooling2D(2)(L.Lambda(lambda t: t * 0.5)(L.Conv2D(4, 3)(i)))


def scaling(K: Any, **body: Any) -> Any:
    """Return a class of layers that scale by a weight of their own."""

    class Scaling(K.layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.w = self.add_weight(name="w", shape=(int(shape[-1]),), initializer="ones")
            self.built = True

        def call(self, x: Any) -> Any:
            return x * self.w

    return type("Scaling", (Scaling,), body)


@trap(COPIED)
def registered_layer(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, K.utils.register_keras_serializable("zoo")(scaling(K))()(pair(L, i))


@trap(COPIED)
def unregistered_layer(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, scaling(K)()(pair(L, i))


@trap(COPIED)
def layer_without_a_config(K: Any, L: Any) -> Any:
    def refuse(self: Any) -> Any:
        raise NotImplementedError("this layer has no config")

    i = K.Input(SQUARE)
    return i, scaling(K, get_config=refuse)()(pair(L, i))


@trap(COPIED)
def layer_that_needs_arguments(K: Any, L: Any) -> Any:
    class Shift(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, by: Any) -> None:
            super().__init__()
            self.by = by

        def call(self, x: Any) -> Any:
            return x + self.by

    i = K.Input(SQUARE)
    return i, Shift(0.25)(pair(L, i))
