"""State that is neither configuration nor a plain weight, and what belongs to training."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.zoo.trap import COMPOSED, COPIED, SQUARE, pair, trap


@trap(COPIED)
def adapted(K: Any, L: Any) -> Any:
    norm, i = L.Normalization(), K.Input(SQUARE)
    norm.adapt(np.random.default_rng(0).uniform(2, 3, (8, *SQUARE)).astype("float32"))
    return i, L.MaxPooling2D(2)(L.Conv2D(4, 3)(norm(i)))


@trap(COPIED)
def statistics_given(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, pair(L, L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(i))


@trap(COPIED, backends=("tensorflow",))
def vocabulary(K: Any, L: Any) -> Any:
    lookup, i, j = L.StringLookup(), K.Input(SQUARE), K.Input((1,), dtype="string")
    lookup.adapt(np.array(["a", "b", "b"]))
    return [i, j], [L.MaxPooling2D(2, name="p")(L.Conv2D(4, 3)(i)), lookup(j)]


@trap(COPIED)
def random_everywhere(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.RandomRotation(0.1)(L.RandomFlip("horizontal")(i))
    return i, L.SpatialDropout2D(0.5)(L.GaussianDropout(0.5, seed=1)(pair(L, x)))


@trap(COPIED)
def stateful_recurrence(K: Any, L: Any) -> Any:
    i = K.Input((16, 3), batch_size=2)
    x = L.MaxPooling1D(2)(L.Conv1D(4, 3)(i))
    return i, L.LSTM(3, stateful=True)(L.GRU(3, stateful=True, return_sequences=True)(x))


@trap(COPIED)
def weights_made_outside_build(K: Any, L: Any) -> Any:
    class Early(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.early = self.add_weight(name="early", shape=(), initializer="ones")
            self.table = {
                "late": [
                    self.add_weight(name="late", shape=(1,), initializer="zeros", trainable=False)
                ]
            }

        def call(self, x: Any) -> Any:
            return x * self.early + self.table["late"][0]

    i = K.Input(SQUARE)
    return i, Early()(pair(L, i))


@trap(COPIED)
def attributes_set_later(K: Any, L: Any) -> Any:
    class Switch(L.Layer):  # type: ignore[misc, name-defined]
        factor = 1.0

        def call(self, x: Any) -> Any:
            return x * self.factor

    i, switch = K.Input(SQUARE), Switch()
    switch.factor = 0.25
    return i, switch(pair(L, i))


@trap(COPIED)
def own_settings(K: Any, L: Any) -> Any:
    factor, i = 0.25, K.Input(SQUARE)

    class ByFactor(K.regularizers.Regularizer):  # type: ignore[misc, name-defined]
        def __call__(self, w: Any) -> Any:
            return K.regularizers.L2(0.5)(w) * factor

        def get_config(self) -> dict[str, Any]:
            return {}

    def constant(shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, factor, "float32")

    conv = L.Conv2D(
        4,
        3,
        kernel_regularizer=ByFactor(),
        kernel_constraint="non_neg",
        kernel_initializer=constant,
    )
    return i, L.MaxPooling2D(2)(L.ActivityRegularization(0.1)(conv(i)))


@trap(COPIED, COMPOSED)
def own_settings_under_an_average(K: Any, L: Any) -> Any:
    i, made = own_settings(K, L)
    return i, L.AveragePooling2D(2)(
        L.Conv2D(4, 3, padding="same", bias_regularizer=K.regularizers.L1(0.3))(made)
    )


@trap(COPIED)
def activity_is_penalised(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    conv = L.Conv2D(
        4, 3, activity_regularizer="l2", bias_regularizer="l1", bias_constraint="max_norm"
    )
    return i, L.Dense(3, kernel_regularizer="l2")(L.MaxPooling2D(2)(conv(i)))


@trap(COPIED, only="keras")
def losses_of_a_layer(K: Any, L: Any) -> Any:
    class Penalty(L.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            self.add_loss(K.ops.mean(x**2))
            return x

    i = K.Input(SQUARE)
    return i, Penalty()(pair(L, i))


@trap(COPIED, only="tf_keras")
def losses_in_the_graph(K: Any, L: Any) -> Any:
    import tensorflow as tf

    i = K.Input(SQUARE)
    x = pair(L, i)
    model = K.Model(i, L.Flatten()(x))
    model.add_loss(tf.reduce_mean(x**2))
    model.add_metric(tf.reduce_sum(x), name="total")
    return model


@trap(COPIED)
def frozen_model(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    model = K.Model(i, L.BatchNormalization()(pair(L, i)))
    model.trainable = False
    model.layers[-1].trainable = True
    return model


@trap(f"pool_into_next_stride + {COPIED}", only="keras")
def spectrally_normalised(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    x = L.SpectralNormalization(L.Conv2D(4, 3))(i)
    return i, pair(L, L.MaxPooling2D(2)(x))
