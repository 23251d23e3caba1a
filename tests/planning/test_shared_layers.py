"""What several places hold at once: nodes of two scopes, layers inside opaque layers, pools of
several outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import laws
from support.model_zoo import ZOO, nesting

from keras_downswap import BrokenPromise, Report, SomethingLost, plan_swaps, swap_downsampling


def swap(model: Any, **options: Any) -> tuple[Any, Report]:
    return swap_downsampling(model, return_report=True, **options)


def pair(K: Any, **conv: Any) -> tuple[Any, Any]:
    inputs = K.Input((16, 16, 3))
    return inputs, K.layers.MaxPooling2D(2, name="pool")(
        K.layers.Conv2D(4, 3, name="conv", **conv)(inputs)
    )


def test_a_nested_model_may_stand_on_the_same_input_as_the_model(K: Any, tmp_path: Any) -> None:
    inputs, features = pair(K)
    encoder = K.Model(inputs, features, name="encoder")
    old = K.Model(inputs, K.layers.Flatten()(encoder(inputs)))
    for to in ("strided_conv", "average_pool"):
        new, report = swap(old, to=to)
        assert [site.status for site in report.sites] == ["swapped"]
        laws.assert_same_boundary(old, new)
        laws.assert_nothing_shared(old, new)
        new.get_config()


def test_two_nested_models_may_share_nodes(K: Any) -> None:
    inputs, features = pair(K)
    one, two = (
        K.Model(inputs, features, name="one"),
        K.Model(inputs, K.layers.Flatten()(features), name="two"),
    )
    image = K.Input((16, 16, 3))
    old = K.Model(image, [one(image), two(image)])
    for to in ("strided_conv", "average_pool", "max_pool"):
        if to == "max_pool":
            with pytest.warns(UserWarning, match="nothing was swapped"):
                new, report = swap(old, to=to)
            laws.assert_same_values(old, new, laws.sample_for(old), rtol=0)
        else:
            new, report = swap(old, to=to)
            assert {site.status for site in report.sites} == {"swapped"}
        assert len(new.weights) == len(old.weights)
        new.get_config()


def test_a_convolution_that_an_opaque_layer_calls_too_stays(K: Any) -> None:
    L = K.layers
    conv = L.Conv2D(4, 3, strides=2, name="conv")
    image, video = K.Input((16, 16, 3)), K.Input((3, 16, 16, 3))
    old = K.Model([image, video], [L.Flatten()(conv(image)), L.TimeDistributed(conv)(video)])
    with pytest.warns(UserWarning, match="nothing was swapped"):
        new, report = swap(old, to="max_pool")
    assert len(new.weights) == len(old.weights) == 2
    assert "used in 2 places" in report.sites[0].reason
    assert report.sites[1].layers[0].endswith("/conv")


def test_a_kernel_that_another_layer_holds_is_not_untied_in_silence(K: Any) -> None:
    class Holder(K.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.kernel = conv.kernel
            self.built = True

        def call(self, x: Any) -> Any:
            return (
                x * K.backend.sum(self.kernel)
                if hasattr(K.backend, "sum")
                else x * K.ops.sum(self.kernel)
            )

    inputs = K.Input((16, 16, 3))
    conv = K.layers.Conv2D(4, 3, strides=2, name="conv")
    old = K.Model(inputs, Holder(name="holder")(K.layers.Flatten()(conv(inputs))))
    for to in ("max_pool", "strided_conv"):
        with pytest.warns(UserWarning, match="nothing was swapped"):
            new, report = swap(old, to=to)
        assert len(new.weights) == len(old.weights) == 2
        assert (
            to != "max_pool"
            or "holds a weight that another layer or call holds too" in report.sites[0].reason
        )


def test_a_function_that_closes_over_a_swapped_weight_follows_the_new_one_or_stops_the_swap(
    K: Any,
) -> None:
    L, inputs = K.layers, K.Input((16, 16, 3))
    conv = L.Conv2D(4, 3, name="conv")
    features = conv(inputs)
    bias, kernel, total = (
        conv.bias,
        conv.kernel,
        K.ops.sum if K.__name__ == "keras" else K.backend.sum,
    )

    class Shift(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, by: Any) -> None:
            super().__init__()
            self.by = by

        def call(self, x: Any) -> Any:
            return x + self.by()

    for pool, by in (
        (L.MaxPooling2D, lambda: total(kernel)),
        (L.AveragePooling2D, lambda: total(bias)),
    ):
        old = K.Model(inputs, Shift(by)(pool(2)(features)))
        new = swap(old)[0]
        made = new.get_layer("conv")
        made.set_weights([w + 1 for w in made.get_weights()])
        held = made.kernel if pool is L.MaxPooling2D else made.bias
        value = laws.values(new, np.zeros((1, 16, 16, 3), "float32"))[0]
        np.testing.assert_allclose(value, 1 + laws.array(held).sum(), rtol=1e-5)
    nested = K.Sequential([K.Input((7, 7, 4)), L.Dense(4)], name="nested")
    for by in (lambda: total(kernel), lambda: total(conv.kernel)):
        for behind in (L.ReLU(), nested):
            with pytest.raises(
                BrokenPromise, match="something besides layer 'conv' refers to its weights"
            ):
                swap(K.Model(inputs, Shift(by)(behind(L.AveragePooling2D(2)(features)))))


def test_a_model_that_shares_layers_with_the_original_stays_as_it_was(K: Any) -> None:
    old = ZOO["layers_of_a_living_model"](K)
    living = nesting.LIVING[K.__name__]
    before, x = laws.snapshot_of(living), laws.sample_for(living)
    y = laws.values(living, x)
    new, _ = swap(old)
    new.set_weights([w + 1 for w in new.get_weights()])
    laws.assert_nothing_shared(living, new)
    laws.assert_untouched(before, living)
    assert [v.tolist() for v in laws.values(living, x)] == [v.tolist() for v in y]


def test_a_compiled_model_comes_back_compiled_alike(K: Any) -> None:
    old = ZOO["compiled"](K)
    x, y = laws.sample_for(old, batch=4), np.ones((4, 2), "float32")
    old.fit(x, y, epochs=1, verbose=0)
    new, report = swap(old)
    assert (
        "the new model is compiled like the original, with a fresh optimizer state" in report.notes
    )
    assert type(new.optimizer) is type(old.optimizer)
    assert new.optimizer is not old.optimizer
    assert str(new.optimizer.get_config()) == str(old.optimizer.get_config())
    assert (
        int(laws.array(new.optimizer.iterations)) == 0 < int(laws.array(old.optimizer.iterations))
    )
    assert new.get_compile_config() == old.get_compile_config()
    before = laws.snapshot_of(old)
    losses = new.fit(x, y, epochs=3, verbose=0).history
    assert {"loss", "mae"} <= set(losses)
    laws.assert_untouched(before, old)


def test_a_pool_that_makes_two_outputs_is_swapped_in_both_or_in_none(K: Any) -> None:
    L = K.layers
    pool, inputs = L.AveragePooling2D(2, name="pool"), K.Input((16, 16, 3))
    old = K.Model(inputs, [pool(L.Conv2D(4, 3)(inputs)), pool(inputs)])
    with pytest.warns(UserWarning, match="nothing was swapped"):
        new, report = swap(old)
    assert {site.status for site in report.sites} == {"kept"}
    laws.assert_same_boundary(old, new)


def test_tensors_may_come_by_keyword(K: Any) -> None:
    L = K.layers
    inputs = K.Input((16, 16, 3))
    old = K.Model(inputs, L.Flatten()(L.MaxPooling2D(2)(inputs=L.Conv2D(4, 3)(inputs=inputs))))
    new, report = swap(old)
    assert [site.status for site in report.sites] == ["swapped"]
    assert new.output_shape == old.output_shape


def test_the_checks_leave_no_losses(K: Any) -> None:
    L = K.layers
    inputs = K.Input((16, 16, 3))
    old = K.Model(inputs, L.AveragePooling2D(2)(L.Conv2D(4, 3, activity_regularizer="l2")(inputs)))
    before = len(old.losses)
    new, _ = swap(old)
    assert len(old.losses) == len(new.losses) == before


def test_an_exact_site_is_judged_by_its_coarsest_dtype_and_largest_stage(K: Any) -> None:
    L = K.layers
    inputs = K.Input((16, 16, 3))
    x = L.Activation("linear", dtype="float16")(L.Conv2D(4, 3)(inputs))
    coarse = K.Model(inputs, L.AveragePooling2D(2, dtype="float16")(x))
    x = L.Rescaling(1, 1000.0)(L.Rescaling(1, -1000.0)(L.Conv2D(4, 3)(inputs)))
    large = K.Model(inputs, L.AveragePooling2D(2)(x))
    norm = L.BatchNormalization(moving_mean_initializer=K.initializers.Constant(1000.0),
                                beta_initializer=K.initializers.Constant(1000.0))  # fmt: skip
    shifted = K.Model(inputs, L.AveragePooling2D(2)(norm(L.Conv2D(4, 3)(inputs))))
    for old in (coarse, large, shifted):
        if (
            "upstream is Cast" in plan_swaps(old).sites[0].reason
        ):  # an older Keras puts the cast into the graph
            continue
        assert swap(old)[1].sites[0].promise == "exact"


def test_dropout_of_a_fixed_spatial_shape_is_not_passed(K: Any) -> None:
    L = K.layers
    inputs = K.Input((16, 16, 3))
    x = L.Dropout(0.5, noise_shape=(None, 16, 16, 1))(L.Conv2D(4, 3, padding="same")(inputs))
    old = K.Model(inputs, L.MaxPooling2D(2)(x))
    with pytest.warns(UserWarning, match="nothing was swapped"):
        _, report = swap(old)
    assert "upstream is Dropout" in report.sites[0].reason


def test_a_sequential_model_that_takes_other_sizes_is_noted(K: Any) -> None:
    L = K.layers
    old = K.Sequential([K.Input((16, 16, 3)), L.Conv2D(4, 3, padding="same"), L.MaxPooling2D(2)])
    assert any("Sequential model be called with other sizes" in note for note in swap(old)[1].notes)
    free = K.Sequential(
        [K.Input((None, None, 3)), L.Conv2D(4, 3, padding="same"), L.MaxPooling2D(2)]
    )
    new, report = swap(free)
    assert not any("Sequential" in note for note in report.notes)
    for n in (16, 17):
        x = np.zeros((1, n, n, 3), "float32")
        assert tuple(free(x).shape) == tuple(new(x).shape)


def test_compile_arguments_that_do_not_rebuild_are_not_lost_in_silence(K: Any) -> None:
    inputs, features = pair(K)
    old = K.Model(inputs, features)
    old.compile("sgd", loss=lambda a, b: (a - b) ** 2)
    with pytest.warns(SomethingLost, match="not compiled"):
        swap(old)


def test_reasons_come_from_the_rule_that_is_for_the_call(K: Any) -> None:
    L = K.layers
    inputs = K.Input((None, None, 3))
    conv = L.Conv2D(4, 3, strides=2, padding="same")(inputs)
    (site,) = swap(
        K.Model(inputs, L.AveragePooling2D(3, strides=2, padding="same", name="mean")(conv))
    )[1].sites
    assert site.promise == "approximate"
    assert (
        "'mean' pads (padding='same' over an unknown length), so its divisor changes at the border"
        in site.reason
    )


def test_a_dilated_convolution_subsampled_is_exact_through_its_dense_kernel(K: Any) -> None:
    L = K.layers
    inputs = K.Input((16, 16, 3))
    old = K.Model(
        inputs, L.MaxPooling2D(1, strides=2)(L.Conv2D(4, 3, dilation_rate=2, name="conv")(inputs))
    )
    new, report = swap(old)
    assert report.sites[0].promise == "exact"
    assert new.get_layer("conv").kernel_size == (5, 5)
    laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)
