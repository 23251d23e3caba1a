"""Inputs and outputs of every structure and kind."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import COMPOSED, COPIED, SQUARE, pair, trap

TENSORFLOW = {"backends": ("tensorflow",)}


@trap(COPIED)
def fixed_batch(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE, batch_size=2)
    return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(i))


@trap(COPIED)
def integers(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE, dtype="uint8")
    return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(L.Rescaling(0.1)(L.MaxPooling2D(2)(i))))


@trap(COPIED, COMPOSED)
def pools_are_outputs(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    one = L.MaxPooling2D(2, name="one")(L.Conv2D(4, 3)(i))
    return i, [one, L.AveragePooling2D(2, name="two")(L.Conv2D(4, 3)(one)), i]


@trap(COMPOSED)
def dict_boundary(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE, name="a"), K.Input((4,), name="b")
    x = L.AveragePooling2D(2, name="u")(L.Conv2D(4, 3)(i))
    return {"a": i, "b": j}, {"u": x, "v": L.Dense(3, name="v")(j)}


@trap(COPIED, only="keras")
def deep_boundary(K: Any, L: Any) -> Any:
    a, b, c = (K.Input(SQUARE, name=name) for name in ("first", "b", "c"))
    x = pair(L, L.Add()([a, b, c]))
    return {"first": a, "rest": [c, {"b": b}]}, {"x": x, "more": (L.ReLU()(x), [c])}


@trap(COPIED, only="tf_keras")
def nested_lists_boundary(K: Any, L: Any) -> Any:
    a, b, c = (K.Input(SQUARE, name=name) for name in "abc")
    x = pair(L, L.Add()([a, b, c]))
    return [a, [c, b]], [x, [L.ReLU()(x), c]]


@trap(COPIED)
def inputs_in_another_order_than_the_graph(K: Any, L: Any) -> Any:
    a, b = K.Input(SQUARE, name="b"), K.Input((8, 8, 4), name="a")
    x = pair(L, a)
    return [b, a], [L.Add(name="z")([x, b]), L.ReLU(name="y")(x)]


@trap(COPIED)
def unused_input(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE, name="used"), K.Input((3,), name="unused")
    return [i, j], pair(L, i)


@trap(COPIED)
def passed_straight_through(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input((3,))
    return [i, j], [pair(L, i), j]


@trap(COPIED, **TENSORFLOW)
def sparse_input(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input((8,), sparse=True, name="sparse")
    return [i, j], [L.Flatten(name="f")(pair(L, i)), L.Dense(3, name="d")(j)]


@trap(COPIED, **TENSORFLOW, only="tf_keras")
def ragged_input(K: Any, L: Any) -> Any:
    import tensorflow as tf

    i, j = K.Input(SQUARE), K.Input((None, 4), ragged=True, name="ragged")
    return [i, j], [
        L.Flatten(name="f")(pair(L, i)),
        L.Lambda(lambda r: tf.reduce_sum(r, 1), name="sum")(j),
    ]


@trap(COPIED, **TENSORFLOW)
def strings(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input((1,), dtype="string")
    return [i, j], [
        L.MaxPooling2D(2, name="p")(L.Conv2D(4, 3)(i)),
        L.StringLookup(vocabulary=["a", "b"])(j),
    ]


@trap(COPIED)
def scalars_beside(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input((), dtype="int32")
    return [i, j], [L.MaxPooling2D(2)(L.Conv2D(4, 3)(i)), j]


@trap(COPIED)
def several_outputs_of_one_layer(K: Any, L: Any) -> Any:
    i = K.Input((16, 3))
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    whole, last, _ = L.LSTM(3, return_sequences=True, return_state=True)(x)
    return i, [whole, last]


@trap(COPIED, COPIED, only="keras")
def optional_input(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input((8, 8, 4), optional=True, name="mask")

    class AddIfThere(L.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any, y: Any = None) -> Any:
            return x if y is None else x + y

        def compute_output_shape(self, x_shape: Any, y_shape: Any = None) -> Any:
            return x_shape

    return [i, j], pair(L, AddIfThere()(pair(L, i), j))
