"""Every law holds where it should, and fails on a model that was broken on purpose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.looking import owed
from support.model_zoo import ZOO

from keras_downswap import NothingSwapped, plan_swaps, swap_downsampling
from keras_downswap.dialects import read_model
from keras_downswap.rebuilding.rewrite import rewrite


def pair(K: Any, name: str = "article_pair") -> tuple[Any, Any]:
    """Return a model and its faithful copy."""
    old = ZOO[name](K)
    return old, rewrite(read_model(old), []).model


def head(K: Any, shape: Any = (4,), units: int = 3, dtype: str = "float32", name: str = "d") -> Any:
    i = K.Input(shape, name="i")
    return K.Model(i, K.layers.Dense(units, name=name, dtype=dtype)(i), name="m")


@pytest.mark.parametrize(
    "change", [{"shape": (5,)}, {"units": 4}, {"dtype": "float64"}, {"name": "e"}]
)
def test_same_boundary_fails_on(K: Any, change: dict[str, Any]) -> None:
    laws.assert_same_boundary(head(K), head(K))
    with pytest.raises(AssertionError):
        laws.assert_same_boundary(head(K), head(K, **change))


def test_same_boundary_fails_on_another_structure(K: Any) -> None:
    model = head(K)
    as_dict = K.Model(model.inputs, {"d": model.outputs[0]}, name="m")
    laws.assert_same_boundary(as_dict, as_dict)
    with pytest.raises(AssertionError):
        laws.assert_same_boundary(as_dict, model)


def test_weights_kept_fails_on_one_changed_bit(K: Any) -> None:
    old, new = pair(K, "nested")
    laws.assert_weights_kept(old, new, ())
    inner = new.get_layer("block").layers[1]
    inner.bias.assign_add([0.0, 0.0, 1e-7])
    with pytest.raises(AssertionError, match=f"block/{inner.name}: .*bias.* changed"):
        laws.assert_weights_kept(old, new, ())
    laws.assert_weights_kept(old, new, (f"block/{inner.name}", f"deep/block/{inner.name}"))


def test_weights_kept_fails_on_a_missing_layer(K: Any) -> None:
    old = ZOO["unknown_sizes"](K)
    shorter = K.Model(old.inputs, old.layers[2].output)
    with pytest.raises(AssertionError):
        laws.assert_weights_kept(old, shorter, ())
    with pytest.raises(AssertionError):
        laws.assert_weights_kept(shorter, old, ())


def test_nothing_shared_fails_on_a_shared_layer(K: Any) -> None:
    old, new = pair(K)
    laws.assert_nothing_shared(old, new)
    i = K.Input((32, 32, 3))
    with pytest.raises(AssertionError, match="kernel"):
        laws.assert_nothing_shared(old, K.Model(i, old.layers[1](i)))


def test_nothing_shared_fails_on_a_variable_in_a_closure(K: Any) -> None:
    old, new = pair(K)
    held = [old.layers[1].bias]
    new.layers[1].activation = lambda x: x + held[0]
    with pytest.raises(AssertionError, match="bias"):
        laws.assert_nothing_shared(old, new)


def test_nothing_shared_fails_on_a_variable_in_a_call(K: Any) -> None:
    old = head(K)
    function = K.ops.multiply if K.__name__ == "keras" else tf.multiply
    i = K.Input((3,))
    with pytest.raises(AssertionError, match="bias"):
        laws.assert_nothing_shared(old, K.Model(i, function(i, old.layers[1].bias)))


def test_untouched_fails_on_any_touch(K: Any) -> None:
    touches = (
        lambda m: m.layers[1].bias.assign_add([1e-7] * 32),
        lambda m: m.layers[1](K.Input((32, 32, 3))),
        lambda m: setattr(m.layers[1], "trainable", False),
        lambda m: setattr(m.layers[1], "padding", "same"),
    )
    for touch in touches:
        model = ZOO["article_pair"](K)
        before = laws.snapshot_of(model)
        laws.assert_untouched(before, model)
        touch(model)
        with pytest.raises(AssertionError):
            laws.assert_untouched(before, model)


def test_same_values_fails_beyond_its_tolerance(K: Any) -> None:
    old, new = pair(K)
    x = laws.sample_for(old)
    laws.assert_same_values(old, new, x, rtol=0)
    new.set_weights([w * 1.001 for w in new.get_weights()])
    laws.assert_same_values(old, new, x, rtol=2e-3)
    for rtol in (0, 1e-5):
        with pytest.raises(AssertionError):
            laws.assert_same_values(old, new, x, rtol=rtol)


def test_same_values_fails_on_another_shape_or_number_of_outputs(K: Any) -> None:
    old, x = head(K), tf.ones((2, 4))
    for other in (head(K, units=4), K.Model(old.inputs, [old.outputs[0], old.outputs[0]])):
        with pytest.raises(AssertionError):
            laws.assert_same_values(old, other, x, rtol=9)


def test_close_fails_beyond_its_tolerance_of_the_largest_output() -> None:
    one, ten = np.ones(3, "float32"), np.full(3, 10, "float32")
    laws.assert_close([one, ten], [one + 0.009, ten], 1e-3)
    for news, tolerance in (
        ([one + 0.011, ten], 1e-3),
        ([one + 1e-6, ten], 0),
        ([one[:2], ten], 9),
        ([one], 9),
    ):
        with pytest.raises((AssertionError, ValueError)):
            laws.assert_close([one, ten], news, tolerance)


def test_survives_as_the_original_does_fails_where_the_original_survives(
    K: Any, tmp_path: Path
) -> None:
    old, new = ZOO["article_pair"](K), ZOO["article_pair"](K)
    new.layers[-1].call = lambda x: x[:, :30:2, :30:2]
    with pytest.raises(AssertionError):
        laws.assert_survives_as_the_original_does(old, new, tmp_path)
    laws.assert_survives_as_the_original_does(new, new, tmp_path)


def test_accounted_fails_on_each_missing_entry(K: Any) -> None:
    old = ZOO["other_convolutions"](K)
    with pytest.warns(NothingSwapped):
        _, report = swap_downsampling(old, return_report=True)
    laws.assert_accounted(old, report)
    assert len(report.sites) == 3
    for gone in report.sites:
        with pytest.raises(AssertionError, match="is missing"):
            laws.assert_accounted(
                old, replace(report, sites=tuple(s for s in report.sites if s is not gone))
            )


def test_accounted_fails_where_a_pool_lacks_its_convolution_or_a_reason(K: Any) -> None:
    old = ZOO["article_pair"](K)
    _, report = swap_downsampling(old, return_report=True)
    (site,) = report.sites
    for wrong in (
        replace(site.kept("it stays"), layers=site.layers[1:]),
        replace(site, layers=()),
        site.kept(""),
    ):
        with pytest.raises(AssertionError):
            laws.assert_accounted(old, replace(report, sites=(wrong,)))


def test_accounted_takes_a_pool_with_the_convolution_after_it(K: Any) -> None:
    L = K.layers
    i = K.Input((16, 3))
    x = L.Conv1D(3, 3, name="before")(i)
    old = K.Model(i, [L.Conv1D(3, 3, name="after")(L.MaxPooling1D(2, name="pool")(x)), x])
    with pytest.warns(NothingSwapped):
        _, report = swap_downsampling(old, method="exact", return_report=True)
    (site,) = report.sites
    laws.assert_accounted(old, replace(report, sites=(replace(site, layers=("pool", "after")),)))
    for wrong in (("pool",), ("after", "pool"), ("after",)):
        with pytest.raises(AssertionError, match="is missing"):
            laws.assert_accounted(old, replace(report, sites=(replace(site, layers=wrong),)))


def test_accounted_sees_into_wrappers_and_nested_models(K: Any) -> None:
    wrapped = [
        together for names in owed(ZOO["convolution_and_pool_in_time"](K)) for together in names
    ]
    assert wrapped == [("pools/pool",), ("convs/conv", "pools/pool")]
    hidden = [together for names in owed(ZOO["hidden_in_a_layer"](K)) for together in names]
    assert sorted(hidden) == [("block/conv",), ("block/pool",)]
    inside = [together for names in owed(ZOO["model_in_time"](K)) for together in names]
    assert all(
        path.startswith("time_distributed/sequential/") for together in inside for path in together
    )
    folders = [
        {together[-1].rpartition("/")[0] for together in names} for names in owed(ZOO["nested"](K))
    ]
    assert sorted(map(sorted, folders)) == [
        ["block", "deep/block"],
        ["block", "deep/block"],
        ["deep"],
    ]


def test_survives_saving_fails_on_state_that_no_config_holds(K: Any, tmp_path: Path) -> None:
    old = ZOO["article_pair"](K)
    laws.assert_survives_saving(old, tmp_path)
    old.layers[-1].call = lambda x: x[:, :30:2, :30:2]
    with pytest.raises(AssertionError):
        laws.assert_survives_saving(old, tmp_path)


def test_idempotent_fails_on_what_can_still_be_swapped(K: Any) -> None:
    old = ZOO["article_pair"](K)
    assert plan_swaps(old).swaps
    laws.assert_idempotent(swap_downsampling(old), "strided_conv")
    with pytest.raises(AssertionError):
        laws.assert_idempotent(old, "strided_conv")
