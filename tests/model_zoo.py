"""Small models, each named after the trap it lays, for either Keras: `ZOO[name](K)` builds one."""

# ruff: noqa: N805 (the functions of `Graphs` are never bound)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Build = Callable[[Any], Any]
SQUARE = (16, 16, 3)
CF = {"data_format": "channels_first"}
HALF = {"dtype": "mixed_float16"}


CHAINS: dict[str, tuple[tuple[Any, ...], Callable[[Any], list[Any]]]] = {
    "article_pair": ((32, 32, 3), lambda L: [L.Conv2D(32, (3, 3), activation="relu"), L.MaxPooling2D((2, 2))]),
    "conv_norm_relu_max": (SQUARE, lambda L: [L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(2)]),
    "conv_average": (SQUARE, lambda L: [L.Conv2D(4, 3, padding="same"), L.AveragePooling2D(2)]),
    "conv_norm_average": (SQUARE, lambda L: [L.Conv2D(4, 3), L.BatchNormalization(), L.AveragePooling2D(2)]),
    "conv_average_same_padded": ((15, 15, 3), lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(2, padding="same")]),
    "odd_sizes": ((33, 33, 3), lambda L: [L.Conv2D(4, 3, padding="same"), L.MaxPooling2D(2)]),
    "odd_sizes_average": ((33, 31, 3), lambda L: [L.Conv2D(4, (2, 5), padding="same"), L.AveragePooling2D((3, 2))]),
    "unknown_sizes": (
        (None, None, 3),
        lambda L: [L.Conv2D(4, 3, padding="same"), L.MaxPooling2D(2), L.Conv2D(4, 3), L.AveragePooling2D(2)],
    ),
    "unknown_sizes_strided": (
        (None, None, 3),
        lambda L: [L.Conv2D(4, 3, 2, padding="same"), L.ReLU(), L.Conv2D(4, 2, 2), L.MaxPooling2D(3, 2)],
    ),
    "channels_first_average": ((3, 17, 16), lambda L: [L.Conv2D(4, 3, **CF), L.AveragePooling2D(2, **CF)]),
    "channels_first_max": (
        (3, 33, 33),
        lambda L: [L.Conv2D(4, 3, padding="same", **CF), L.BatchNormalization(axis=1), L.MaxPooling2D(2, **CF)],
    ),
    "channels_first_row": ((4, 17), lambda L: [L.Conv1D(4, 3, padding="same", **CF), L.MaxPooling1D(2, **CF)]),
    "groups": ((16, 16, 4), lambda L: [L.Conv2D(8, 3, groups=2), L.AveragePooling2D(2)]),
    "strided_conv_then_pool": ((17, 17, 3), lambda L: [L.Conv2D(4, 5, 2, padding="same"), L.MaxPooling2D(2)]),
    "strided_conv_then_average": ((19, 19, 3), lambda L: [L.Conv2D(4, 3, 2), L.AveragePooling2D(2)]),
    "causal_row": ((21, 4), lambda L: [L.Conv1D(4, 3, padding="causal"), L.ReLU(), L.MaxPooling1D(2)]),
    "causal_average": ((21, 4), lambda L: [L.Conv1D(4, 3, 2, padding="causal"), L.AveragePooling1D(2)]),
    "volume": (
        (9, 8, 10, 2),
        lambda L: [L.Conv3D(2, 3, padding="same"), L.AveragePooling3D(2), L.Conv3D(2, 2), L.MaxPooling3D((1, 2, 2))],
    ),
    "anisotropic_pool": ((20, 21, 3), lambda L: [L.Conv2D(4, (3, 5)), L.MaxPooling2D((2, 3), (3, 2))]),
    "overlapping_pool": (SQUARE, lambda L: [L.Conv2D(4, 3), L.MaxPooling2D(3, 2, "same"), L.AveragePooling2D(3, 2)]),
    "pool_strides_far": (SQUARE, lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(2, 3)]),
    "pool_without_stride": (SQUARE, lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(4, 1)]),
    "subsampling_pool": (SQUARE, lambda L: [L.Conv2D(4, 3, padding="same"), L.ELU(), L.MaxPooling2D(1, 2)]),
    "dilated": ((20, 20, 3), lambda L: [L.Conv2D(4, 3, dilation_rate=2), L.MaxPooling2D(2)]),
    "dilated_average": ((20, 20, 3), lambda L: [L.Conv2D(4, 3, dilation_rate=(2, 3)), L.AveragePooling2D(2)]),
    "pool_behind_pool": ((32, 32, 3), lambda L: [L.Conv2D(4, 3), L.MaxPooling2D(2), L.MaxPooling2D(2)]),
    "strided_only": ((17, 18, 3), lambda L: [L.Conv2D(4, 3, (2, 3), "same", activation="relu"), L.Conv2D(4, 1, 2)]),
    "other_convolutions": (
        (17, 17, 4),
        lambda L: [L.DepthwiseConv2D(3, 2), L.SeparableConv2D(4, 3, 2), L.Conv2DTranspose(4, 3, 2), L.MaxPooling2D(2)],
    ),
    "global_pools": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, 2), L.ReLU(), L.AveragePooling2D(7), L.GlobalMaxPooling2D()],
    ),
    "frozen": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, trainable=False), L.BatchNormalization(trainable=False), L.AveragePooling2D(2)],
    ),
    "half": (SQUARE, lambda L: [L.Conv2D(4, 3, **HALF), L.AveragePooling2D(2, **HALF), L.Conv2D(4, 3, 2, **HALF)]),
    "half_then_float": (SQUARE, lambda L: [L.Conv2D(4, 3, 2, **HALF), L.ReLU(dtype="float32"), L.Conv2D(4, 3)]),
    "lambda_activation": (SQUARE, lambda L: [L.Conv2D(4, 3, activation=lambda x: x * x), L.MaxPooling2D(1, 2)]),
    "own_activation": (SQUARE, lambda L: [L.Conv2D(4, 3), L.Activation(lambda x: x * 0.5), L.MaxPooling2D(2)]),
    "seeds": (
        SQUARE,
        lambda L: [L.RandomFlip(seed=3), L.Conv2D(4, 3), L.Dropout(0.5), L.GaussianNoise(1.0), L.MaxPooling2D(2)],
    ),
    "repeated_layer": (SQUARE, lambda L: [(twice := L.Conv2D(3, 3, padding="same")), twice, L.MaxPooling2D(2)]),
}


class Graphs:
    """Models that are no chain; each function is handed the Keras module and its layers."""

    def fixed_batch(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE, batch_size=2)
        return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(i))

    def double(K: Any, L: Any) -> Any:
        i, double = K.Input(SQUARE, dtype="float64"), {"dtype": "float64"}
        x = L.BatchNormalization(**double)(L.Conv2D(4, 3, **double)(i))
        return i, L.Conv2D(3, 3, 2, **double)(L.AveragePooling2D(2, **double)(x))

    def integers(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE, dtype="uint8")
        return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(L.Rescaling(0.1)(L.MaxPooling2D(2)(i))))

    def two_consumers(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        c = L.Conv2D(4, 3)(i)
        return i, L.Concatenate()([L.MaxPooling2D(2)(c), L.AveragePooling2D(2)(c)])

    def conv_is_output(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        c = L.Conv2D(4, 3, strides=2, name="c")(i)
        return i, [c, L.MaxPooling2D(2, name="p")(c)]

    def pools_are_outputs(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        one = L.MaxPooling2D(2, name="one")(L.Conv2D(4, 3)(i))
        return i, [one, L.AveragePooling2D(2, name="two")(L.Conv2D(4, 3)(one)), i]

    def dict_boundary(K: Any, L: Any) -> Any:
        i, j = K.Input(SQUARE, name="a"), K.Input((4,), name="b")
        x = L.AveragePooling2D(2, name="u")(L.Conv2D(4, 3)(i))
        return {"a": i, "b": j}, {"u": x, "v": L.Dense(3, name="v")(j)}

    def twin_outputs(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        p = L.MaxPooling2D(2, name="p")(L.Conv2D(4, 3, activation="relu")(i))
        return i, [p, p]

    def residual(K: Any, L: Any) -> Any:
        i = K.Input((17, 17, 3))
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, 2, "same", use_bias=False)(i)))
        x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x))
        return i, L.ReLU()(L.Add()([x, L.BatchNormalization()(L.Conv2D(4, 1, 2, "same")(i))]))

    def shared_conv(K: Any, L: Any) -> Any:
        i, j, conv = K.Input(SQUARE), K.Input(SQUARE), L.Conv2D(4, 3)
        return [i, j], L.Add()([L.MaxPooling2D(2)(conv(i)), L.MaxPooling2D(2)(conv(j))])

    def shared_conv_half_pooled(K: Any, L: Any) -> Any:
        i, conv = K.Input((16, 16, 4)), L.Conv2D(4, 3, padding="same")
        return i, conv(L.MaxPooling2D(2)(conv(i)))

    def shared_pool(K: Any, L: Any) -> Any:
        i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
        return i, pool(L.Conv2D(4, 3)(pool(L.Conv2D(4, 3)(i))))

    def shared_pool_outputs(K: Any, L: Any) -> Any:
        i, pool = K.Input(SQUARE), L.MaxPooling2D(2)
        return i, [pool(L.Conv2D(4, 3)(i)), pool(L.Conv2D(4, 3)(i))]

    def nested(K: Any, L: Any) -> Any:
        t = K.Input((None, None, 3))
        block = K.Model(t, L.MaxPooling2D(2)(L.Conv2D(3, 3)(t)), name="block")
        deep = K.Sequential([K.Input((None, None, 3)), block, L.Conv2D(3, 2, 2)], name="deep")
        deep.trainable = False
        i = K.Input((None, None, 3))
        return i, block(deep(i))

    def middle_input(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        c = L.Conv2D(4, 3)(i)
        return c, L.MaxPooling2D(2)(L.Conv2D(4, 3)(c))

    def taken_names(K: Any, L: Any) -> Any:
        i = K.Input((33, 33, 3))
        x = L.MaxPooling2D(2, name="a_pool")(L.Conv2D(4, 3, padding="same", name="a")(L.Dense(3, name="A_pad")(i)))
        return i, L.Conv2D(4, 3, 2, name="b")(L.Dense(3, name="b_pool")(L.Dense(3, name="a_crop")(x)))

    def operators(K: Any, L: Any) -> Any:
        i = K.Input(SQUARE)
        return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(i) * 2 + 1)[:, 1:]

    def functions(K: Any, L: Any) -> Any:
        ops, i = getattr(K, "ops", tf), K.Input(SQUARE)
        x = ops.transpose(L.AveragePooling2D(2)(L.Conv2D(4, 3)(i)), (0, 2, 1, 3))
        return i, ops.concatenate([x, x], -1) if ops is not tf else tf.concat([x, x], -1)

    def tied_by_an_operation(K: Any, L: Any) -> Any:
        i, words = K.Input((8,), dtype="int32"), L.Embedding(8, 4)
        x = L.MaxPooling1D(2)(L.Conv1D(8, 3)(words(i)))
        return i, getattr(K, "ops", tf).matmul(x, words.embeddings)

    def adapted(K: Any, L: Any) -> Any:
        norm, i = L.Normalization(), K.Input(SQUARE)
        norm.adapt(np.random.default_rng(0).uniform(2, 3, (8, *SQUARE)).astype("float32"))
        return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(norm(i)))

    def vocabulary(K: Any, L: Any) -> Any:
        lookup, i, j = L.StringLookup(vocabulary=["a", "b"]), K.Input(SQUARE), K.Input((1,), dtype="string")
        return [i, j], [L.MaxPooling2D(2, name="p")(L.Conv2D(4, 3)(i)), lookup(j)]

    def words(K: Any, L: Any) -> Any:
        i = K.Input((16,), dtype="int32")
        e = L.Embedding(8, 4, mask_zero=True)(i)
        pooled = L.MaxPooling1D(2)(L.Conv1D(4, 3, padding="same")(e))
        return i, [L.LSTM(3, name="r")(e), L.Bidirectional(L.LSTM(2), name="s")(pooled)]

    def attention(K: Any, L: Any) -> Any:
        i = K.Input((16, 4))
        x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
        return i, L.LayerNormalization()(L.MultiHeadAttention(2, 2)(query=x, value=x, use_causal_mask=True) + x)

    def hidden_in_time(K: Any, L: Any) -> Any:
        i, step = K.Input((3, 12, 12, 3)), K.Sequential([L.Conv2D(2, 3, 2), L.MaxPooling2D(2)])
        return i, L.TimeDistributed(step)(i)

    def own_settings(K: Any, L: Any) -> Any:
        factor, i = 0.25, K.Input(SQUARE)

        class ByFactor(K.regularizers.Regularizer):  # type: ignore[misc]
            def __call__(self, w: Any) -> Any:
                return K.regularizers.L2(0.5)(w) * factor

            def get_config(self) -> dict[str, Any]:
                return {}

        def constant(shape: Any, dtype: Any = None) -> Any:
            return np.full(shape, factor, "float32")

        conv = L.Conv2D(4, 3, kernel_regularizer=ByFactor(), kernel_constraint="non_neg", kernel_initializer=constant)
        return i, L.MaxPooling2D(2)(L.ActivityRegularization(0.1)(conv(i)))


def chain(shape: tuple[Any, ...], layers: Callable[[Any], list[Any]], sequential: bool) -> Build:
    def build(K: Any) -> Any:
        x = inputs = K.Input(shape)
        if sequential:
            return K.Sequential([inputs, *layers(K.layers)])
        for layer in layers(K.layers):
            x = layer(x)
        return K.Model(inputs, x)

    return build


def _graph(graph: Callable[[Any, Any], Any]) -> Build:
    return lambda K: K.Model(*graph(K, K.layers))


def randomised(build: Build) -> Build:
    """Move weights by up to a half: zeros and ones (biases, statistics, scales) too; variances stay positive."""

    def wrapped(K: Any) -> Any:
        model, rng = build(K), np.random.default_rng(5)
        for layer in model.layers:
            old = layer.get_weights() if type(layer).__name__ not in ("Normalization", "StringLookup") else []
            new = [w + rng.uniform(-0.5, 0.5, w.shape).astype(w.dtype) if w.dtype.kind == "f" else w for w in old]
            layer.set_weights(new or layer.get_weights())
        return model

    return wrapped


ZOO: dict[str, Build] = {
    **{name: randomised(chain(*parts, sequential=False)) for name, parts in CHAINS.items()},
    **{f"sequential_{name}": randomised(chain(*CHAINS[name], True)) for name in ("article_pair", "repeated_layer")},
    **{name: randomised(_graph(graph)) for name, graph in vars(Graphs).items() if not name.startswith("_")},
}
SEVERAL_SIZES = ("unknown_sizes", "unknown_sizes_strided", "nested")
