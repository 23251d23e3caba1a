"""Each check of `verify` fails on a rewrite that was tampered with, in its own words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.model_zoo import ZOO, chain

from keras_downswap import BrokenPromise, Site, swap_downsampling
from keras_downswap.checks import Check
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.planning.find import find_sites
from keras_downswap.rebuilding.rewrite import rewrite
from keras_downswap.rebuilding.rewritten import Rewritten
from keras_downswap.rebuilding.value_check import probe_shape
from keras_downswap.rebuilding.verify import traces, verify
from keras_downswap.rules import all_rules, average_pool_into_kernel


@dataclass
class Case:
    """A rewrite that was not verified yet."""

    K: Any
    reading: Reading
    before: Any
    sites: tuple[Site, ...]
    new: Rewritten

    def made(self, kind: str) -> Any:
        """Return the first layer of a class that the swap made."""
        return next(
            lay for made in self.new.made.values() for lay in made if type(lay).__name__ == kind
        )

    def verify(self) -> tuple[Check, ...]:
        return verify(self.reading, self.before, self.sites, self.new)


def case(K: Any, name: str) -> Case:
    model = ZOO[name](K)
    reading = read_model(model)
    sites = find_sites(reading.graph, all_rules(), "strided_conv")
    return Case(K, reading, traces(reading), sites, rewrite(reading, sites))


def broken(given: Case, words: str) -> None:
    with pytest.raises(BrokenPromise, match=words):
        given.verify()


def test_an_honest_rewrite_passes_every_kind_of_check(K: Any) -> None:
    checks = case(K, "conv_norm_average").verify()
    assert [c.what for c in checks] == [
        "original",
        "boundary",
        "shape",
        "law",
        "law",
        "weights",
        "values",
        "weights",
    ]
    assert all(c.where and c.detail for c in checks)


def test_a_node_grown_on_the_original(K: Any) -> None:
    given = case(K, "article_pair")
    given.reading.model.layers[1](K.Input((32, 32, 3)))
    broken(given, "the original model's layers grew or lost nodes")


def test_a_changed_weight(K: Any) -> None:
    given = case(K, "conv_norm_relu_max")
    norm = given.new.model.get_layer(given.reading.model.layers[2].name)
    norm.beta.assign(norm.beta * 1.0001)
    broken(given, f"layer '{norm.name}': a weight that no swap concerns changed")


def test_a_shared_variable(K: Any) -> None:
    given = case(K, "conv_norm_relu_max")
    norm = given.reading.model.layers[2]
    given.new.layers[given.reading.number(norm)] = norm
    broken(given, f"layer '{norm.name}' shares a variable with the original")


def test_a_wrong_shape_after_a_site(K: Any) -> None:
    given = case(K, "article_pair")
    (site,) = given.sites
    wrong = K.Input((15, 14, 32))
    given.new.tensors[site.scope, given.reading.graph.calls[site.calls[-1]].outputs[0]] = wrong
    broken(given, r"expected \(None, 15, 15, 32\) float32, got \(None, 15, 14, 32\) float32")


def test_a_wrong_dtype_after_a_site(K: Any) -> None:
    given = case(K, "article_pair")
    (site,) = given.sites
    wrong = K.Input((15, 15, 32), dtype="float16")
    given.new.tensors[site.scope, given.reading.graph.calls[site.calls[-1]].outputs[0]] = wrong
    broken(given, r"expected \(None, 15, 15, 32\) float32, got \(None, 15, 15, 32\) float16")


@pytest.mark.parametrize(("part", "shape"), [("inputs", (31, 32, 3)), ("outputs", (32, 32, 3))])
def test_another_shape_at_the_boundary(K: Any, part: str, shape: Any) -> None:
    given = case(K, "article_pair")
    i = K.Input(shape)
    given.new.model = K.Model(i, K.layers.AveragePooling2D(3)(i))
    broken(given, f"the model's {part} changed from .* to ")


def test_a_renamed_output(K: Any) -> None:
    given = case(K, "pools_are_outputs")
    given.new.model.output_names = ["one", "zwei", *given.reading.model.output_names[2:]]
    broken(given, "names or structure of inputs and outputs changed from .*two.* to .*zwei")


def test_another_structure_of_outputs(K: Any) -> None:
    given = case(K, "dict_boundary")
    old = given.new.model
    given.new.model = K.Model(old.input, [old.output["u"], old.output["v"]])
    given.new.model.output_names = list(given.reading.model.output_names)
    broken(given, "names or structure of inputs and outputs changed")


def test_another_length_law(K: Any) -> None:
    given = case(K, "unknown_sizes")
    conv = given.made("Conv2D")
    conv.padding = "valid" if conv.padding == "same" else "same"
    broken(given, "the length law of spatial axis 0 changed from .* to .*")


@pytest.mark.parametrize("which", ["kernel", "bias"])
def test_a_weight_that_was_to_move_verbatim(K: Any, which: str) -> None:
    given = case(K, "article_pair")
    weight = getattr(given.made("Conv2D"), which)
    weight.assign(weight + 1e-6)
    broken(given, f"the {which} was to move unchanged, and differs")


def test_a_kernel_that_is_off_by_one_percent(K: Any) -> None:
    given = case(K, "conv_norm_average")
    kernel = given.made("Conv2D").kernel
    kernel.assign(kernel * 1.01)
    broken(given, "exact values differ by")


def test_a_kernel_that_is_off_in_one_tap(K: Any) -> None:
    given = case(K, "conv_average")
    kernel = given.made("Conv2D").kernel
    value = laws.array(kernel).copy()
    value[0, 0, 0, 0] += 1e-3
    kernel.assign(value)
    broken(given, "exact values differ by")


def test_a_kernel_that_is_shifted_by_one_cell(K: Any) -> None:
    given = case(K, "conv_average")
    kernel = given.made("Conv2D").kernel
    kernel.assign(np.roll(laws.array(kernel), 1, axis=0))
    broken(given, "exact values differ by")


def test_a_padding_that_is_shifted_by_one_cell(K: Any) -> None:
    given = case(K, "odd_sizes_average")
    pad = given.made("ZeroPadding2D")
    (top, bottom), columns = pad.padding
    pad.padding = ((top - 1, bottom + 1), columns) if top else ((top + 1, bottom - 1), columns)
    broken(given, "exact values differ by")


def test_a_double_precision_site_is_held_to_double_precision(K: Any) -> None:
    given = case(K, "double")
    kernel = given.made("Conv2D").kernel
    kernel.assign(kernel * (1 + 1e-9))
    broken(given, "exact values differ by")


def wrong_mean(kernel: Any, **pair: Any) -> Any:
    result: Any = pair_mean(kernel, **pair)
    return result * 1.01


def test_a_broken_rule_gives_no_model(K: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ZOO["conv_average"](K)
    before = laws.snapshot_of(model)
    swap_downsampling(model)
    monkeypatch.setattr(average_pool_into_kernel, "pair_mean", wrong_mean)
    with pytest.raises(
        BrokenPromise, match=r"conv2d.* exact values differ .* Nothing was returned"
    ):
        swap_downsampling(model)
    laws.assert_untouched(before, model)


@pytest.mark.parametrize("n", [None, 5, 33, 224, 1001])
def test_a_probe_is_small_and_congruent(n: int | None) -> None:
    conv, pool = (Window(5, 2, 1, "same"),), (Window(3, 3),)
    (batch, length, depth) = probe_shape((None, n, 7), True, [conv, (), pool])
    assert (batch, depth) == (1, 7)
    assert length <= 5 + 3 * 2 + 4 * 6
    assert n is None or (n - length) % 6 == 0


# What cannot be promised is refused or called approximate: a user must not meet a BrokenPromise


def mean_free(x: Any) -> Any:
    """Be an activation that is not elementwise: it looks at the whole map."""
    return x - tf.reduce_mean(x, (1, 2), keepdims=True)


FIRST = {"data_format": "channels_first"}
UNFIT: dict[str, Callable[[Any], Any]] = {
    "an activation of the convolution along a spatial axis": lambda L: [
        L.Conv2D(4, 3, padding="same", activation="softmax", **FIRST),
        L.MaxPooling2D(1, 2, **FIRST),
    ],
    "a strided convolution with an activation along a spatial axis": lambda L: [
        L.Conv2D(4, 3, 2, padding="same", activation="softmax", **FIRST)
    ],
    "an activation of the user's own that is not elementwise": lambda L: [
        L.Conv2D(4, 3, padding="same", activation=mean_free),
        L.MaxPooling2D(1, 2),
    ],
    "an activation layer of the user's own that is not elementwise": lambda L: [
        L.Conv2D(4, 3, padding="same"),
        L.Activation(mean_free),
        L.MaxPooling2D(1, 2),
    ],
}


@pytest.mark.parametrize("to", ["strided_conv", "subsample"])
@pytest.mark.parametrize("unfit", UNFIT)
@pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")
def test_no_exact_promise_is_given_for(K: Any, unfit: str, to: str) -> None:
    model = chain((3, 16, 16) if "along" in unfit else (16, 16, 3), UNFIT[unfit], False)(K)
    report = swap_downsampling(model, to=to, return_report=True)[1]
    assert [site for site in report.sites if site.promise == "exact" and len(site.layers) > 1] == []


def test_no_exact_promise_is_given_for_batch_statistics(K: Any) -> None:
    i = K.Input((16, 16, 3))
    x = K.layers.BatchNormalization()(K.layers.Conv2D(4, 3)(i), training=True)
    model = K.Model(i, K.layers.MaxPooling2D(1, 2)(x))
    report = swap_downsampling(model, return_report=True)[1]
    assert [site for site in report.sites if site.promise == "exact" and len(site.layers) > 1] == []


def test_a_model_with_weights_that_are_not_numbers_keeps_them(K: Any) -> None:
    model = ZOO["conv_average"](K)
    model.set_weights([w * np.nan for w in model.get_weights()])
    new = swap_downsampling(model)
    assert all(np.isnan(w).all() for w in new.get_weights())
