"""Models in models, models cut out of models, and layers that two models hold."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import COMPOSED, COPIED, SQUARE, pair, trap


def block(K: Any, L: Any, name: str, shape: Any = SQUARE, pool: str = "Max") -> Any:
    t = K.Input(shape)
    return K.Model(t, pair(L, t, pool, 3, ("conv", "pool")), name=name)


@trap(COPIED)
def nested(K: Any, L: Any) -> Any:
    inner = block(K, L, "block", (None, None, 3))
    deep = K.Sequential([K.Input((None, None, 3)), inner, L.Conv2D(3, 2, 2)], name="deep")
    deep.trainable = False
    i = K.Input((None, None, 3))
    return i, inner(deep(i))


@trap(COPIED, COMPOSED)
def functional_in_functional(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, pair(L, block(K, L, "block")(i), "Average")


@trap(COPIED, COMPOSED)
def sequential_in_functional(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    inner = K.Sequential(
        [K.Input(SQUARE), L.Conv2D(4, 3), L.ReLU(), L.MaxPooling2D(2)], name="inner"
    )
    return i, pair(L, inner(i), "Average")


@trap(COMPOSED, COPIED)
def functional_in_sequential(K: Any, L: Any) -> Any:
    return K.Sequential(
        [K.Input(SQUARE), block(K, L, "block", pool="Average"), L.Conv2D(4, 3), L.MaxPooling2D(2)]
    )


@trap(COPIED)
def sequential_in_sequential(K: Any, L: Any) -> Any:
    inner = K.Sequential([K.Input(SQUARE), L.Conv2D(4, 3), L.MaxPooling2D(2)], name="inner")
    return K.Sequential([K.Input(SQUARE), inner, L.Flatten(), L.Dense(3)])


@trap(COPIED)
def three_deep(K: Any, L: Any) -> Any:
    inner = block(K, L, "inner")
    for name in ("middle", "outer"):
        t = K.Input(SQUARE)
        inner = K.Model(t, inner(t), name=name)
    i = K.Input(SQUARE)
    return i, L.Flatten()(inner(i))


@trap(COPIED)
def nested_model_called_twice(K: Any, L: Any) -> Any:
    i, j, inner = K.Input(SQUARE), K.Input(SQUARE), block(K, L, "block")
    return [i, j], L.Subtract()([inner(i), inner(j)])


@trap(COPIED, COMPOSED)
def nested_models_with_the_same_names_inside(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.Add()([block(K, L, "one")(i), block(K, L, "two", pool="Average")(i)])


@trap()
def conv_inside_and_pool_outside(K: Any, L: Any) -> Any:
    i, t = K.Input(SQUARE), K.Input(SQUARE)
    inner = K.Model(t, L.Conv2D(4, 3)(L.Dense(3)(t)), name="inner")
    return i, L.MaxPooling2D(2)(inner(i))


@trap()
def conv_outside_and_pool_inside(K: Any, L: Any) -> Any:
    i, t = K.Input(SQUARE), K.Input((14, 14, 4))
    inner = K.Model(t, L.Dense(3)(L.MaxPooling2D(2)(t)), name="inner")
    return i, inner(L.Conv2D(4, 3)(i))


@trap()
def inner_layer_called_from_outside(K: Any, L: Any) -> Any:
    i, j, inner = K.Input(SQUARE), K.Input((8, 8, 3)), block(K, L, "block")
    return [i, j], L.Add()([inner(i), inner.get_layer("conv")(j)])


@trap(COPIED, COPIED)
def inner_layer_pooled_outside_too(K: Any, L: Any) -> Any:
    i, inner = K.Input(SQUARE), block(K, L, "block")
    return i, L.Add()([inner(i), L.MaxPooling2D(2)(inner.get_layer("conv")(i))])


@trap(COPIED, COMPOSED)
def nested_with_a_dict_of_outputs(K: Any, L: Any) -> Any:
    a, b = K.Input(SQUARE, name="a"), K.Input(SQUARE, name="b")
    inner = K.Model({"a": a, "b": b}, {"u": pair(L, a), "v": pair(L, b, "Average")}, name="inner")
    i, j = K.Input(SQUARE, name="i"), K.Input(SQUARE, name="j")
    made = inner({"a": i, "b": j})
    return [i, j], {
        "sum": L.Add(name="sum")([made["u"], made["v"]]),
        "u": L.ReLU(name="u")(made["u"]),
    }


@trap(COPIED)
def nested_with_a_list_of_outputs(K: Any, L: Any) -> Any:
    a, b = K.Input(SQUARE, name="a"), K.Input((8, 8, 4), name="b")
    inner = K.Model([b, a], [b, pair(L, a)], name="inner")
    i, j = K.Input(SQUARE, name="i"), K.Input((8, 8, 4), name="j")
    same, down = inner([j, i])
    return [i, j], L.Add()([same, down])


@trap(COPIED)
def head_of_another_model(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    whole = K.Model(i, L.Dense(3)(L.Flatten()(pair(L, i, names=("conv", "pool")))))
    return whole.input, whole.get_layer("pool").output


@trap(COPIED)
def tail_of_another_model(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    whole = K.Model(i, pair(L, pair(L, i, names=("conv", "pool"))))
    return whole.get_layer("pool").output, whole.output


@trap(COPIED)
def middle_input(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3)(i)
    return c, L.MaxPooling2D(2)(L.Conv2D(4, 3)(c))


@trap()
def input_between_conv_and_pool(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    c = L.Conv2D(4, 3)(i)
    return c, L.Dense(2)(L.MaxPooling2D(2)(c))


@trap(COPIED)
def layers_of_a_living_model(K: Any, L: Any) -> Any:
    i, conv, pool = K.Input(SQUARE), L.Conv2D(4, 3, name="conv"), L.MaxPooling2D(2)
    living = K.Model(i, L.Flatten()(conv(i)), name="living")
    LIVING[K.__name__] = living
    j = K.Input(SQUARE)
    return j, pool(conv(j))


LIVING: dict[str, Any] = {}


@trap(COPIED)
def nested_in_training_mode(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE), K.Input(SQUARE)
    x = L.MaxPooling2D(2)(L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(j))))
    return i, K.Model(j, x, name="inner")(i, training=True)


@trap(COPIED)
def nested_of_another_dtype(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE, dtype="uint8"), K.Input(SQUARE)
    return i, K.Model(j, pair(L, j), name="inner")(i)


@trap(COPIED, only="tf_keras")
def nested_of_another_rank(K: Any, L: Any) -> Any:
    i, j = K.Input(SQUARE[:2]), K.Input((*SQUARE[:2], 1))
    return i, K.Model(j, pair(L, j), name="inner")(i)
