"""A model run call by call computes what the model itself computes, whatever its graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.model_zoo import ZOO

from keras_downswap.calibration.execution.interpreter import Interpreter
from keras_downswap.dialects import dialect_of, read_model

DRAWS = {"seeds", "random_everywhere", "training_true_frozen_between", "nested_in_training_mode"}
"""Models that draw numbers, or are in training mode, at inference too: no two runs of them agree.
"""


@pytest.mark.parametrize("name", [name for name in ZOO if name not in DRAWS])
def test_it_runs_every_model_of_the_zoo(K: Any, name: str) -> None:
    model = ZOO[name](K)
    dialect = dialect_of(model)
    reading = read_model(model)
    x = laws.sample_for(model)
    if any(not isinstance(value, tf.Tensor) for value in tf.nest.flatten(x)):
        pytest.skip("sparse and ragged inputs are no arrays")
    places = [((), tensor) for tensor in reading.graph.outputs]
    wanted = laws.values(model, x)
    with laws.at_rest(model):
        run_values = Interpreter(reading, set(places)).run(
            [tf.convert_to_tensor(v) for v in dialect.flatten(x)]
        )
    for place, value in zip(places, wanted, strict=True):
        made = run_values[place]
        array = made.numpy() if isinstance(made, tf.Tensor) else dialect.to_array(made)
        if value.dtype.kind == "f":
            np.testing.assert_allclose(
                array, value, rtol=1e-4, atol=1e-4 * np.abs(value).max(initial=0)
            )
        else:
            assert array.tolist() == value.tolist()


def test_it_waits_before_a_call_that_then_sees_new_weights(K: Any) -> None:
    L = K.layers
    model = K.Sequential([K.Input((4,)), L.Dense(3, name="one"), L.Dense(2, name="two")])
    reading = read_model(model)
    call = next(c for c in reading.graph.calls if c.name == "two")
    end = ((), reading.graph.outputs[0])
    run = Interpreter(reading, {end}, {((), call.index)}).start([tf.ones((1, 4))])
    place, value = next(run)
    assert place == ((), call.index)
    np.testing.assert_allclose(value, model.layers[0](tf.ones((1, 4))), rtol=1e-6)
    model.get_layer("two").kernel.assign(np.zeros((3, 2)))
    with pytest.raises(StopIteration) as stopped:
        next(run)
    assert not np.any(stopped.value.value[end])


def test_it_keeps_tensors_inside_nested_models(K: Any) -> None:
    model = ZOO["nested"](K)
    reading = read_model(model)
    outer = next(c for c in reading.graph.calls if c.nested_graph is not None)
    assert outer.nested_graph is not None
    places = {((outer.index,), outer.nested_graph.outputs[0]), ((), outer.outputs[0])}
    values = list(Interpreter(reading, places).run([laws.sample_for(model)]).values())
    assert len(values) == 2
    np.testing.assert_array_equal(values[0], values[1])


def test_training_mode_is_for_the_layers_that_are_named(K: Any) -> None:
    L = K.layers
    model = K.Sequential([K.Input((4,)), L.Dropout(0.5), L.BatchNormalization(momentum=0.0)])
    reading = read_model(model)
    x = tf.constant(np.random.default_rng(0).normal(3, 2, (64, 4)), tf.float32)
    end = ((), reading.graph.outputs[0])
    made = Interpreter(reading, {end}, (), lambda layer: "BatchNorm" in type(layer).__name__).run(
        [x]
    )[end]
    assert abs(float(tf.reduce_mean(made))) < 1e-3, (
        "the batch's own statistics, of inputs that no dropout thinned"
    )
    np.testing.assert_allclose(np.asarray(model.layers[-1].moving_mean), np.mean(x, 0), rtol=1e-4)
