"""A rewrite with an empty plan is a faithful copy that owns all its state, of every model in the
zoo.
"""

import functools
import gc
import sys
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.model_zoo import ZOO
from support.shared_models import shared_model

from keras_downswap import NothingSwapped, SomethingLost, swap_downsampling
from keras_downswap.dialects import read_model
from keras_downswap.rebuilding.rewrite import rewrite

UNTRAINABLE = {
    ("tf_keras", "channels_first_max"): "the CPU has no gradient of channels_first max pooling",
    ("tf_keras", "channels_first_row"): "the CPU has no gradient of channels_first max pooling",
    ("keras", "vocabulary"): "Keras 3 does not fit on strings",
}


def copied(model: Any) -> Any:
    """Return the copy that a rewrite without any swap makes."""
    return rewrite(read_model(model), []).model


def swapped(model: Any) -> Any:
    """Return the model with its pools swapped for strided convolutions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingSwapped)
        warnings.simplefilter("ignore", SomethingLost)
        return swap_downsampling(model)


def losses(model: Any) -> list[float]:
    return sorted(float(loss) for loss in model.losses)


@pytest.mark.parametrize("name", ZOO)
def test_an_empty_plan_gives_a_bit_equal_copy(K: Any, name: str) -> None:
    shared = shared_model(K, name)
    old, x, before = shared.model, shared.sample, shared.before
    new = copied(old)
    laws.assert_untouched(before, old)
    laws.assert_same_boundary(old, new)
    laws.assert_weights_kept(old, new, ())
    laws.assert_nothing_shared(old, new)
    laws.assert_same_values(old, new, x, rtol=0)
    assert losses(new) == losses(old)
    assert laws.snapshot_of(new).flags == before.flags
    assert bits(new) == [value for _, value in before.weights]
    assert (new.name, new.trainable) == (old.name, old.trainable)
    facts = [[(p, type(lay), policy(lay)) for p, lay in laws.parts(m)] for m in (old, new)]
    assert facts[0] == facts[1]


def bits(model: Any) -> list[Any]:
    return [laws.bits(w) for w in model.weights]


def policy(layer: Any) -> str:
    return str(getattr(layer, "dtype_policy", layer.dtype))


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_of_the_copy_can_be_an_output(K: Any, name: str) -> None:
    shared = shared_model(K, name)
    old, x = shared.model, shared.sample
    new = copied(old)
    for layer in old.layers:
        try:
            whole = K.Model(old.inputs, layer.output)
            laws.values(whole, x)
        except (
            AttributeError,
            ValueError,
            KeyError,
        ):  # called several times, or inside a nested model
            continue
        part = K.Model(new.inputs, new.get_layer(layer.name).output)
        laws.assert_same_values(whole, part, tf.nest.flatten(x), rtol=0)


def uncut(K: Any, model: Any, x: Any) -> set[str]:
    """Return the layers at which a model cannot be cut off: called several times, or fed from
    another input.
    """
    names = set()
    for layer in model.layers:
        try:
            laws.values(K.Model(model.inputs, layer.output), tf.nest.flatten(x))
        except (AttributeError, KeyError, ValueError):
            names.add(layer.name)
    return names


@pytest.mark.parametrize("name", ZOO)
def test_a_swapped_model_can_be_cut_off_at_every_layer(K: Any, name: str) -> None:
    shared = shared_model(K, name)
    old, x = shared.model, shared.sample
    new = swapped(old)
    assert uncut(K, new, x) <= uncut(K, old, x)


@pytest.mark.parametrize("name", ZOO)
def test_training_the_new_model_leaves_the_original_alone(K: Any, name: str) -> None:
    shared = shared_model(K, name)
    old, x = shared.model, shared.sample
    y = laws.values(old, x)
    new = swapped(old)
    start = bits(new)
    if (K.__name__, name) not in UNTRAINABLE:
        wanted = tf.nest.map_structure(
            lambda t: np.random.default_rng(1).uniform(size=t.shape), structured(old, y)
        )
        new.compile(K.optimizers.SGD(0.01), loss="mse", run_eagerly=True)
        new.fit(x, wanted, batch_size=2, epochs=1, verbose=0)
        assert bits(new) != start or not new.trainable_weights
    laws.assert_untouched(shared.before, old)
    assert [a.tolist() for a in laws.values(old, x)] == [a.tolist() for a in y]


def structured(model: Any, values: list[Any]) -> Any:
    """Return a model's values in the structure of its outputs."""
    made = model.outputs if laws.is_sequential(model) else model.output
    return tf.nest.pack_sequence_as(
        made[0] if isinstance(made, list) and len(made) == 1 else made, values
    )


def assert_alive(old: Any, new: Any, x: Any) -> None:
    """New weights given to the copy change its values alone, and to what the original gives with
    those weights.
    """
    before = laws.values(old, x)
    moved = [w * 0.5 if w.dtype.kind == "f" else w for w in old.get_weights()]
    new.set_weights(moved)
    after, unmoved = laws.values(new, x), laws.values(old, x)
    old.set_weights(moved)
    wanted = laws.values(old, x)
    for a, b, c, d in zip(before, unmoved, after, wanted, strict=True):
        assert a.tolist() == b.tolist(), "the original follows the copy's weights"
        assert c.tolist() == d.tolist(), "the copy does not follow its own weights"
    assert not moved or any((a != c).any() for a, c in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ZOO)
def test_the_copy_computes_with_its_own_weights(K: Any, name: str) -> None:
    old = ZOO[name](K)
    assert_alive(old, copied(old), laws.sample_for(old))


def test_random_layers_draw_on_from_the_same_state(K: Any) -> None:
    if K.__name__ == "tf_keras":
        pytest.skip(
            "tf_keras seeds its random layers per object and call: there is no state to copy"
        )
    old = ZOO["seeds"](K)
    x = laws.sample_for(old)
    new = copied(old)
    laws.assert_same_values(
        lambda v, **_: old(v, training=True), lambda v, **_: new(v, training=True), x, rtol=0
    )


def test_a_sequential_copy_can_grow_and_shrink(K: Any) -> None:
    new = copied(ZOO["sequential_article_pair"](K))
    assert type(new) is K.Sequential
    new.add(K.layers.Flatten())
    assert tuple(new(tf.zeros((1, 32, 32, 3))).shape) == (1, 7200)
    new.pop()
    assert new.output_shape == (None, 15, 15, 32)


def test_the_copy_does_not_keep_the_original_in_memory(K: Any) -> None:
    old = ZOO["sequential_article_pair"](K)
    layer = weakref.ref(old.layers[-1])
    new = copied(old)
    del old
    K.backend.clear_session()
    gc.collect()
    assert layer() is None, "the copy holds on to the original's layers, and so to its weights"
    assert new.layers


def test_symbolic_losses_are_kept() -> None:
    import tf_keras

    inputs = tf_keras.Input((8, 8, 3))
    features = tf_keras.layers.Conv2D(4, 3)(inputs)
    old = tf_keras.Model(inputs, tf_keras.layers.MaxPooling2D(2)(features))
    old.add_loss(tf.reduce_mean(features**2))
    old.add_metric(tf.reduce_sum(features), name="total")
    new, x = copied(old), laws.sample_for(old)
    laws.assert_same_values(old, new, x, rtol=0)
    assert losses(new) == losses(old) != []
    assert [m.name for m in new.metrics] == [m.name for m in old.metrics]


def keras_of(layer: Any) -> Any:
    """Return the Keras of a layer."""
    return sys.modules[laws.root_of(layer)]


# Layers of the user's own, each holding its weight `w` in another way


def by_helper(layer: Any) -> Any:
    def scale(x: Any) -> Any:
        return x * layer.w

    def twice_removed(x: Any) -> Any:
        return scale(x) + 1

    return twice_removed


def by_list(layer: Any) -> Any:
    held = [layer.w]
    return lambda x: x * held[0]


def by_default(layer: Any) -> Any:
    return lambda x, w=layer.w: x * w


def by_object(layer: Any) -> Any:
    class Holder:
        def __init__(self, w: Any) -> None:
            self.w = w

    holder = Holder(layer.w)
    return lambda x: x * holder.w


def by_weak_reference(layer: Any) -> Any:
    me: Any = weakref.ref(layer)
    return lambda x: x * me().w


def by_partial(layer: Any) -> Any:
    return functools.partial(getattr(keras_of(layer), "ops", tf).multiply, layer.w)


def by_traced_function(layer: Any) -> Any:
    return tf.function(lambda x: x * layer.w)


def by_cached_function(layer: Any) -> Any:
    layer.cached = functools.lru_cache(lambda: 2.0)
    return lambda x: x * layer.w * layer.cached()


def by_dict_of_own_class(layer: Any) -> Any:
    class Settings(dict):  # type: ignore[type-arg]
        pass

    layer.extra = Settings(factor=2.0)
    return lambda x: x * layer.w * layer.extra["factor"]


@pytest.mark.parametrize("hold", [
    by_helper, by_list, by_default, by_object, by_weak_reference, by_partial, by_traced_function,
    by_cached_function,
    by_dict_of_own_class,
])  # fmt: skip
def test_a_layer_of_the_users_own_computes_with_its_own_weights(K: Any, hold: Any) -> None:
    if hold is by_traced_function and laws.BACKEND != "tensorflow":
        pytest.skip("a tf.function needs the TensorFlow backend")

    class Own(K.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.w = self.add_weight(name="w", shape=(1,), initializer="ones")
            self.function = hold(self)
            self.built = True

        def call(self, x: Any) -> Any:
            return self.function(x)

    inputs = K.Input((8, 8, 3))
    old = K.Model(inputs, K.layers.MaxPooling2D(2)(Own()(K.layers.Conv2D(4, 3)(inputs))))
    x, new = laws.sample_for(old), copied(old)
    laws.assert_same_values(old, new, x, rtol=0)
    assert_alive(old, new, x)
