"""A reading is complete when it is made: what layers hold is in it, and nothing is added later."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from keras_downswap import swap_downsampling
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.rebuilding.rewrite import rewrite


def inner_model(K: Any, name: str) -> Any:
    x = K.Input((8, 8, 2))
    return K.Model(x, K.layers.Conv2D(2, 3, padding="same", name=f"{name}_conv")(x), name=name)


def models_held(reading: Reading) -> set[str]:
    return {scope.graph.name for number, scope in reading.scopes.items() if number}


def holding_in_attribute(K: Any, inner: Any) -> Any:
    class Holder(K.layers.Layer):
        def __init__(self, held: Any) -> None:
            super().__init__()
            self.held = held

        def call(self, x: Any) -> Any:
            return self.held(x)

    return Holder(inner)


def holding_in_untracked_object(K: Any, inner: Any) -> Any:
    class Box:
        def __init__(self, content: Any) -> None:
            self.content = content

    class Holder(K.layers.Layer):
        def __init__(self, held: Any) -> None:
            super().__init__()
            self.box = Box(held)

        def call(self, x: Any) -> Any:
            return self.box.content(x)

    return Holder(inner)


def holding_in_closure(K: Any, inner: Any) -> Any:
    return K.layers.Lambda(lambda x: inner(x), output_shape=(8, 8, 2))


HOLDERS = [holding_in_attribute, holding_in_untracked_object, holding_in_closure]


def model_with(K: Any, holder: Any) -> tuple[Any, Any]:
    inner = inner_model(K, "held")
    x = K.Input((8, 8, 2))
    y = K.layers.MaxPooling2D(name="pool")(holder(K, inner)(x))
    return K.Model(x, y, name="outer"), inner


@pytest.mark.parametrize("holder", HOLDERS)
def test_models_that_only_a_layer_holds_are_read(K: Any, holder: Any) -> None:
    model, inner = model_with(K, holder)
    reading = read_model(model)
    assert models_held(reading) == {"held"}
    (layer,) = [layer for layer in inner.layers if layer.name == "held_conv"]
    assert reading.layers[reading.number(layer)] is layer


@pytest.mark.parametrize("holder", HOLDERS)
def test_rewriting_adds_nothing_to_a_reading(K: Any, holder: Any) -> None:
    reading = read_model(model_with(K, holder)[0])
    before = dict(reading.scopes), reading.layers, dict(reading.scope_of), dict(reading.number_of)
    new = rewrite(reading, [])
    after = dict(reading.scopes), reading.layers, dict(reading.scope_of), dict(reading.number_of)
    assert before == after
    assert not new.notes


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_copy_holds_a_copy_of_the_model(K: Any, holder: Any) -> None:
    model, inner = model_with(K, holder)
    with pytest.warns(UserWarning, match="nothing was swapped"):
        new = swap_downsampling(model)
    copies = [
        scope.model for scope in read_model(new).scopes.values() if scope.graph.name == "held"
    ]
    assert len(copies) == 1
    assert copies[0] is not inner


def test_a_sequential_model_is_read_once(K: Any) -> None:
    model = K.Sequential([K.Input((8, 8, 2)), K.layers.Conv2D(2, 3), K.layers.MaxPooling2D()])
    assert len(read_model(model).scopes) == 1


def test_a_nested_model_that_is_held_besides_is_read_once(K: Any) -> None:
    inner = inner_model(K, "held")
    x = K.Input((8, 8, 2))
    model = K.Model(x, inner(x))
    model.held_too = inner
    assert models_held(read_model(model)) == {"held"}
    assert len(read_model(model).scopes) == 2


def test_a_reading_is_frozen(K: Any) -> None:
    reading = read_model(model_with(K, holding_in_attribute)[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        reading.layers = ()  # type: ignore[misc]
    assert isinstance(reading.layers, tuple)
