"""Pools behind pools: one site, one convolution, and nothing left for a second run."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from support import laws

from keras_downswap import NothingSwapped, Report, swap_downsampling


def stack(K: Any, n: int | None, *layers: Any) -> Any:
    inputs = x = K.Input((n, 3))
    for layer in layers:
        x = layer(x)
    return K.Model(inputs, x)


def swap(model: Any, **options: Any) -> tuple[Any, Report]:
    return swap_downsampling(model, return_report=True, **options)


def assert_second_run_changes_nothing(model: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NothingSwapped)
        with pytest.raises(NothingSwapped):
            swap_downsampling(model, **options)


@pytest.mark.parametrize("n", [33, 40, None])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("second", [(2, 2), (3, 2), (2, 3), (1, 2)])
def test_average_pools_in_a_row_are_one_exact_convolution(
    K: Any, n: int | None, padding: str, second: Any
) -> None:
    L = K.layers
    norm = L.BatchNormalization(moving_mean_initializer="ones", gamma_initializer="random_normal")
    conv = L.Conv1D(4, 3, padding=padding, name="conv")
    old = stack(
        K,
        n,
        conv,
        L.AveragePooling1D(3, 2),
        norm,
        L.AveragePooling1D(*second),
        L.AveragePooling1D(2),
    )
    new, report = swap(old, method="exact")
    (site,) = report.sites
    assert (site.status, site.promise, len(site.layers)) == ("swapped", "exact", 5)
    kinds = [type(layer).__name__ for layer in new.layers]
    assert not {"AveragePooling1D"} & set(kinds)
    assert kinds.count("ZeroPadding1D") <= 1
    for length in (33, 40) if n is None else (n,):
        laws.assert_same_values(old, new, laws.sample_for(old, length=length), rtol=1e-5)
    assert_second_run_changes_nothing(new)


def test_the_promise_of_a_chain_is_that_of_its_weakest_swap(K: Any) -> None:
    L = K.layers
    old = stack(
        K,
        41,
        L.Conv1D(4, 3, padding="same", name="conv"),
        L.AveragePooling1D(2),
        L.MaxPooling1D(2, name="max"),
    )
    new, report = swap(old)
    (site,) = report.sites
    assert (site.promise, site.rule) == (
        "approximate",
        "average_pool_into_kernel + pool_into_stride",
    )
    assert "computes maxima" in site.reason
    assert new.get_layer("conv").kernel_size == (4,)
    assert new.output_shape == old.output_shape
    assert_second_run_changes_nothing(new)


def test_a_pool_that_must_stay_ends_the_chain(K: Any) -> None:
    L = K.layers
    layers = (
        L.Conv1D(4, 3, name="conv"),
        L.AveragePooling1D(2, name="mean"),
        L.MaxPooling1D(2, name="max"),
    )
    old = stack(K, 41, *layers)
    for options in ({"method": "exact"}, {"exclude": ["max"]}):
        new, report = swap(old, **options)
        assert [site.status for site in report.sites] == ["swapped", "kept"]
        assert report.sites[0].layers == ("conv", "mean")
        laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)
    with pytest.warns(NothingSwapped):
        new, report = swap(old, exclude=["mean"])
    assert [site.status for site in report.sites] == ["kept", "kept"]
    assert "upstream is AveragePooling1D 'mean'" in report.sites[1].reason


def test_lengths_hold_at_every_size(K: Any) -> None:
    L = K.layers
    old = stack(
        K,
        None,
        L.Conv1D(4, 5, 2, padding="same"),
        L.MaxPooling1D(3, 2),
        L.ReLU(),
        L.MaxPooling1D(2, 1),
        L.MaxPooling1D(2),
    )
    new, report = swap(old)
    assert len(report.sites) == 1
    for length in range(24, 40):
        x = laws.sample_for(old, length=length)
        assert [y.shape for y in laws.values(new, x)] == [y.shape for y in laws.values(old, x)]


def test_a_shared_pool_is_made_anew_for_each_of_its_forms(K: Any) -> None:
    L = K.layers
    inputs, pool = K.Input((9, 9, 4)), L.MaxPooling2D(2, name="pool")
    signed, never_negative = L.Conv2D(4, 1)(inputs), L.Conv2D(4, 1, activation="relu")(inputs)
    old = K.Model(inputs, L.Concatenate()([pool(signed), pool(never_negative)]))
    new, report = swap(old, to="conv_relu")
    assert [site.promise for site in report.sites] == ["exact", "exact"]
    assert [new.get_layer(name).kernel.shape[2] for name in ("pool", "pool_1")] == [3, 2]
    laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)


def test_within_limits_a_shared_convolution_is_embedded_alike_in_all_its_places(K: Any) -> None:
    L = K.layers
    inputs, conv = K.Input((6, 6, 2)), L.Conv2D(2, (1, 4), name="conv")
    old = K.Model(
        inputs,
        [L.MaxPooling2D(1, name="pool")(L.Dropout(0.5)(conv(inputs))), L.ReLU()(conv(inputs))],
    )
    new, report = swap(old, to="profile:akida")
    sites = [site.layers for site in report.sites]
    assert sites == [("conv", "dropout", "pool"), ("conv",)]
    assert {site.promise for site in report.sites} == {"exact"}
    laws.assert_idempotent(new, "profile:akida")


def test_a_form_of_two_convolutions_takes_in_the_pool_before_them(K: Any) -> None:
    L = K.layers
    old = stack(
        K, 33, L.AveragePooling1D(3, 2), L.Conv1D(4, 2, name="conv"), L.MaxPooling1D(2), L.Flatten()
    )
    x = laws.sample_for(old)
    (wide, report), (cover, _) = swap(old, form="wide"), swap(old, form="cover")
    assert [site.rule for site in report.sites] == [
        "average_pool_into_next_kernel + pool_into_wide"
    ]
    laws.assert_close(laws.values(cover, x), laws.values(wide, x), 1e-5)


def test_an_activation_that_has_no_name_goes_along_to_the_second_convolution(K: Any) -> None:
    conv = K.layers.Conv1D(4, 2, activation=lambda x: x * x - x, name="conv")
    old = stack(K, 33, conv, K.layers.MaxPooling1D(2))
    wide, cover = swap(old, form="wide")[0], swap(old, form="cover")[0]
    x = laws.sample_for(old)
    laws.assert_close(laws.values(cover, x), laws.values(wide, x), 1e-5)


@pytest.mark.parametrize("last", ["MaxPooling1D", "AveragePooling1D"])
def test_a_pool_after_a_form_of_two_convolutions_goes_into_the_second(K: Any, last: str) -> None:
    L = K.layers
    conv = L.Conv1D(4, 2, name="conv")
    old = stack(K, 33, conv, L.MaxPooling1D(2), getattr(L, last)(2, name="last"), L.Flatten())
    new, report = swap(old, form="wide")
    second = {"MaxPooling1D": "pool_into_stride", "AveragePooling1D": "average_pool_into_kernel"}[
        last
    ]
    assert [site.rule for site in report.sites] == [f"pool_into_wide + {second}"]
    assert new.output_shape == old.output_shape
    assert_second_run_changes_nothing(new, form="wide")
