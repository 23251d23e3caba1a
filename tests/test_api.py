"""The public functions: every target on every model of the zoo, there and back, and refusals."""

import json
import subprocess
import sys
from binascii import crc32
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support import laws
from support.model_zoo import SEVERAL_SIZES, ZOO, chain
from support.shared_models import shared_model

from keras_downswap import (
    BadRequest,
    Report,
    SomethingLost,
    UnreadableModel,
    plan_swaps,
    swap_downsampling,
)
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.limits import profiles
from keras_downswap.planning.targets import names_of_targets
from keras_downswap.rules import average_pool_into_kernel

pytestmark = pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")
TARGETS = ("strided_conv", "max_pool", "average_pool", "subsample")
TARGETS = TARGETS if laws.BACKEND == "tensorflow" else TARGETS[::3]
FURTHER = sorted({*names_of_targets(), *(f"profile:{name}" for name in profiles())} - {*TARGETS})
HALF = ("half", "half_then_float", "mixed_float16", "a_dtype_per_layer", "pool_of_another_dtype")
RTOL = {"double": 1e-12, "mixed_bfloat16": 6e-2, **dict.fromkeys(HALF, 1e-2)}
GEOMETRY = ("kernel_size", "pool_size", "strides", "dilation_rate", "padding", "activation")


def swap(model: Any, to: str, **options: Any) -> tuple[Any, Report]:
    return swap_downsampling(model, to=to, return_report=True, **options)


def architecture(model: Any) -> list[Any]:
    """Return classes and geometry of all layers, in order."""
    facts = []
    for _, layer in laws.parts(model):
        config = layer.get_config()
        facts.append((type(layer).__name__, *(str(config.get(key)) for key in GEOMETRY)))
    return facts


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("name", ZOO)
def test_every_target_keeps_every_law(K: Any, name: str, to: str, tmp_path: Path) -> None:
    assert_holds(K, name, to, tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ZOO)
def test_further_targets_keep_every_law(K: Any, name: str, seed: int, tmp_path: Path) -> None:
    """Each model meets two of them, so that each target meets dozens of models."""
    assert_holds(K, name, FURTHER[crc32(f"{name}{seed}".encode()) % len(FURTHER)], tmp_path)


@pytest.mark.parametrize(
    ("name", "to", "rule"),
    [
        ("transition_of_densenet", "cheapest", "average_pool_before_pointwise"),
        ("shortcut_that_keeps_its_channels", "identity_shortcut", "shortcut_into_pool"),
        ("volume", "conv_relu", "max_pool_into_relus"),
        ("pool_after_pool", "cheapest", "pools_into_one"),
        ("conv_norm_relu_max", "cheapest", "pool_before_elementwise"),
        ("stem_of_resnet", "small_pool", "pool_into_smaller"),
    ],
)
def test_what_a_target_is_for_it_does(
    K: Any, name: str, to: str, rule: str, tmp_path: Path
) -> None:
    assert_holds(K, name, to, tmp_path)
    plan = plan_swaps(shared_model(K, name).model, to=to)
    assert rule in " ".join(str(site.rule) for site in plan.sites)


@pytest.mark.parametrize("name", ZOO)
def test_larger_kernels_keep_every_law(K: Any, name: str, tmp_path: Path) -> None:
    options = ({"form": "cover"}, {"form": "wide"})[crc32(name.encode()) % 2]
    assert_holds(K, name, "strided_conv", tmp_path, **options)


def assert_holds(K: Any, name: str, to: str, tmp_path: Path, **options: Any) -> None:
    shared = shared_model(K, name)
    old, x = shared.model, shared.sample
    with pytest.warns(SomethingLost) if ZOO[name].loses else nullcontext():
        new, report = swap(old, to, **options)
    laws.assert_untouched(shared.before, old)
    laws.assert_same_boundary(old, new)
    laws.assert_nothing_shared(old, new)
    laws.assert_accounted(old, report)
    laws.assert_weights_kept(old, new, laws.composed(old, new, report))
    promises = {site.promise for site in report.sites if site.status == "swapped"}
    if promises <= {"exact"}:
        laws.assert_same_values(old, new, x, rtol=RTOL.get(name, 1e-5) if promises else 0)
    elif "exact" in promises:
        laws.assert_same_values(old, swap(old, to, method="exact")[0], x, rtol=RTOL.get(name, 1e-5))
    laws.assert_idempotent(new, to, **options)
    rules = {rule for site in report.sites if site.rule for rule in site.rule.split(" + ")}
    if promises and shared.owes_saving(rules):
        laws.assert_survives_as_the_original_does(old, new, tmp_path)


@pytest.mark.parametrize("name", ZOO)
def test_the_expected_rules_apply(K: Any, name: str) -> None:
    plan, wanted = plan_swaps(shared_model(K, name).model), ZOO[name].rules
    assert wanted is None or sorted(str(site.rule) for site in plan.swaps) == sorted(wanted), str(
        plan
    )


def test_no_exact_promise_is_given_where_keras_itself_adds_the_bias_along_the_width(K: Any) -> None:
    bias, astray = np.array([1.0, 2.0], "float32").reshape(1, 2, 1, 1), False
    if K.__name__ == "keras":
        astray = laws.array(K.ops.add(np.zeros((1, 2, 1, 2), "float32"), bias))[0, 0, 0, 1] != 1
    old = ZOO["channels_first_as_wide_as_deep"](K)
    site = swap(old, "strided_conv")[1].sites[0]
    assert site.rule == ("average_pool_into_depthwise" if astray else "average_pool_into_kernel")
    alone = find_sites(
        plan_swaps(old).graph_of(site),
        [average_pool_into_kernel.average_pool_into_kernel],
        "strided_conv",
    )[0]
    assert ("adds the bias along the width" in alone.reason) == astray
    assert [site.rule for site in swap(old, "subsample")[1].sites if "pool" in site.layers[-1]] == [
        None
    ]


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("name", SEVERAL_SIZES)
def test_unknown_sizes_hold_at_every_size(K: Any, name: str, to: str) -> None:
    old = ZOO[name](K)
    new = swap(old, to)[0]
    for length in (20, 21, 22, 23, 31):
        x = laws.sample_for(old, length=length)
        assert [y.shape for y in laws.values(new, x)] == [y.shape for y in laws.values(old, x)]


@pytest.mark.parametrize("name", ["article_pair", "sequential_article_pair"])
def test_the_articles_pair_becomes_one_strided_convolution(K: Any, name: str) -> None:
    old = ZOO[name](K)
    new, report = swap(old, "strided_conv")
    conv = new.layers[-1]
    assert [type(lay).__name__ for lay in new.layers if type(lay).__name__ != "InputLayer"] == [
        "Conv2D"
    ]
    assert (conv.strides, conv.kernel_size, conv.padding, conv.name) == (
        (2, 2),
        (3, 3),
        "valid",
        "conv2d",
    )
    assert (new.count_params(), new.output_shape) == (896, (None, 15, 15, 32))
    assert laws.array(conv.kernel).tobytes() == laws.array(old.layers[-2].kernel).tobytes()
    assert report.sites[0].layers == ("conv2d", "max_pooling2d")


EXTRA = {
    "row": chain((22, 3), lambda L: [L.Conv1D(4, 3), L.MaxPooling1D(2)], False),
    "same": chain(
        (16, 18, 3),
        lambda L: [L.Conv2D(4, 5, padding="same"), L.ELU(), L.MaxPooling2D((2, 3))],
        True,
    ),
    "cube": chain(
        (8, 8, 8, 2), lambda L: [L.Conv3D(2, 3), L.BatchNormalization(), L.MaxPooling3D(2)], False
    ),
}
THERE_AND_BACK = [
    *EXTRA,
    "article_pair",
    "sequential_article_pair",
    "conv_norm_relu_max",
    "own_activation",
    "fixed_batch",
    "seeds",
    "shared_conv",
    "own_settings",
]


@pytest.mark.parametrize("name", THERE_AND_BACK)
def test_there_and_back_is_the_original(K: Any, name: str) -> None:
    old = {**ZOO, **EXTRA}[name](K)
    there = swap(old, "strided_conv")[0]
    assert architecture(there) != architecture(old)
    back = swap(there, "max_pool")[0]
    assert architecture(back) == architecture(old)
    laws.assert_weights_kept(old, back, ())
    laws.assert_same_values(old, back, laws.sample_for(old), rtol=0)


@pytest.mark.parametrize(
    "select", ["^conv2d_1$", ["average_pooling2d"], lambda site: site.promise == "exact"]
)
def test_include_and_exclude_choose_sites(K: Any, select: Any) -> None:
    old = ZOO["unknown_sizes"](K)
    for options, statuses in (
        ({"include": select}, ["kept", "swapped"]),
        ({"exclude": select}, ["swapped", "kept"]),
    ):
        sites = swap(old, "strided_conv", **options)[1].sites
        assert [site.status for site in sites] == statuses
        assert "left out by include or exclude" in [site.reason for site in sites]
    inner = swap(
        ZOO["nested"](K), "strided_conv", exclude=lambda site: site.layers[0].startswith("deep/")
    )[1]
    assert all(site.status == "kept" for site in inner.sites)


def test_method_chooses_promises(K: Any) -> None:
    old = ZOO["unknown_sizes"](K)
    for method, promises in (
        ("auto", ["approximate", "exact"]),
        ("exact", [None, "exact"]),
        ("copy", ["approximate"] * 2),
    ):
        new, report = swap(old, "strided_conv", method=method)
        assert [site.promise for site in report.sites] == promises
        laws.assert_weights_kept(old, new, [] if method == "copy" else ["conv2d_1"])


def test_a_report_can_be_read_by_people_and_programs(K: Any) -> None:
    report = swap(ZOO["unknown_sizes"](K), "strided_conv")[1]
    facts = report.to_dict()
    assert json.loads(report.to_json()) == facts
    assert facts["to"] == "strided_conv"
    assert facts["sites"][1] == {
        "layers": ["conv2d_1", "average_pooling2d"],
        "status": "swapped",
        "promise": "exact",
        "rule": "average_pool_into_kernel",
        "reason": "",
    }
    first, *lines, last = str(report).splitlines()
    assert first == "to='strided_conv', method='auto': 2 swapped, 0 kept"
    assert lines[1] == "  conv2d_1 + average_pooling2d -> exact (average_pool_into_kernel)"
    assert last == f"{len(facts['checks'])} checks passed"


def test_a_plan_builds_nothing_until_applied(K: Any) -> None:
    old = ZOO["article_pair"](K)
    before = laws.snapshot_of(old)
    plan = plan_swaps(old)
    assert str(plan).splitlines()[0] == "to='strided_conv', method='auto': 1 swapped, 0 kept"
    assert (len(plan.swaps), len(plan.refusals)) == (1, 0)
    laws.assert_untouched(before, old)
    (one, report), two = plan.apply(return_report=True), plan.apply()
    assert report.sites == plan.sites
    laws.assert_nothing_shared(one, two)
    laws.assert_same_values(one, two, laws.sample_for(old), rtol=0)
    laws.assert_untouched(before, old)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "stride"}, r"unknown target to='stride': expected one of .*max_pool.*strided_conv"),
        ({"method": "fast"}, "unknown method='fast': expected one of auto, exact, copy"),
        ({"include": ["conv2d", "convv"]}, "include names no layer of the model: convv"),
        ({"exclude": "conv("}, r"exclude='conv\(' is not a regular expression: "),
        ({"include": 5}, "include"),
        ({"exclude": [5]}, "exclude"),
    ],
)
def test_a_wrong_request_is_refused_in_clear_words(
    K: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        swap_downsampling(ZOO["article_pair"](K), **options)


def test_what_has_no_graph_is_refused_in_clear_words(K: Any) -> None:
    class Own(K.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    for model in (Own(), K.Sequential([K.layers.Conv2D(2, 3)]), K.layers.Conv2D(2, 3)):
        with pytest.raises(UnreadableModel, match=f"'{model.name}' has no graph of layers to read"):
            swap_downsampling(model)
    with pytest.raises(
        UnreadableModel, match=r"expected a model of tf_keras or of keras; received builtins\.int"
    ):
        swap_downsampling(5)


def test_a_model_with_a_call_of_its_own_is_refused(K: Any) -> None:
    class Twice(K.Model):  # type: ignore[misc]
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs, training=training) * 2

    plain = ZOO["article_pair"](K)
    with pytest.raises(UnreadableModel, match="no graph of layers to read"):
        swap_downsampling(Twice(plain.inputs, plain.outputs))


def test_a_class_that_cannot_be_kept_is_not_lost_in_silence(K: Any) -> None:
    old = ZOO["subclass_with_a_constructor_of_its_own"](K)
    with pytest.warns(
        SomethingLost, match="Network 'network.*' comes back as a plain functional model"
    ):
        new, report = swap(old, "strided_conv")
    assert type(new) is type(K.Model(old.input, old.output))
    assert any("Network" in note for note in report.notes)


def test_convolutions_and_pools_that_are_functions_are_reported(K: Any) -> None:
    sites = swap(ZOO["pools_and_convolutions_as_functions"](K), "strided_conv")[1].sites
    assert len(sites) == 3
    assert {site.status for site in sites} == {"kept"}
    assert all(
        "operation" in site.reason or "already is a strided" in site.reason for site in sites
    )


@pytest.mark.parametrize("kind", ["subclass", "operation"])
def test_a_pool_that_no_rule_can_touch_is_reported(K: Any, kind: str) -> None:
    class OwnPool(K.layers.MaxPooling2D):  # type: ignore[misc]
        pass

    inputs = K.Input((16, 16, 3))
    x = K.layers.Conv2D(4, 3)(inputs)
    pooled = K.ops.max_pool(x, 2) if K.__name__ == "keras" else tf.nn.max_pool2d(x, 2, 2, "VALID")
    report = swap(K.Model(inputs, OwnPool(2)(x) if kind == "subclass" else pooled), "strided_conv")[
        1
    ]
    assert [site.status for site in report.sites] == ["kept"]


@pytest.mark.parametrize("name", ["article_pair", "dict_boundary", "pools_are_outputs"])
def test_output_names_survive_the_removal_of_an_output_pool(
    K: Any, name: str, tmp_path: Path
) -> None:
    old = ZOO[name](K)
    new, report = swap(old, "strided_conv")
    assert list(new.output_names) == list(old.output_names)
    new.save(tmp_path / "new.keras")
    again = K.models.load_model(tmp_path / "new.keras", compile=False)
    if len(old.output_names) > 1:
        assert list(again.output_names) == list(old.output_names)
    else:
        words = f"names the output '{again.output_names[0]}', after the layer that now produces it"
        assert any(words in note for note in report.notes)


@pytest.mark.parametrize(
    "name",
    [
        "subclass_with_the_stock_constructor",
        "attributes_of_the_users_own",
        "sequential_stays_sequential",
        "subclass_with_a_constructor_like_the_stock_one",
        "subclass_of_sequential",
    ],
)
def test_a_class_that_a_graph_can_build_is_kept(K: Any, name: str) -> None:
    old = ZOO[name](K)
    new = swap_downsampling(old)
    assert type(new) is type(old)
    if name == "attributes_of_the_users_own":
        assert (new.factor, new.labels) == (0.25, {"cat": 0, "dog": [1]})
        assert new.labels["dog"] is not old.labels["dog"]
        assert new.tracker is not old.tracker
        assert [m.name for m in new.metrics] == [m.name for m in old.metrics] == ["tracked"]


@pytest.mark.parametrize(
    "to", ["conv_relu", "extra_conv", "blur_pool", "space_to_depth", "cheapest"]
)
@pytest.mark.parametrize("name", ["model_in_time", "model_without_an_input_in_time", "nested"])
def test_layers_are_added_inside_models_that_others_hold(
    K: Any, name: str, to: str, tmp_path: Path
) -> None:
    assert_holds(K, name, to, tmp_path)


@pytest.mark.parametrize(
    "to", ["conv_relu", "extra_conv", "blur_pool", "space_to_depth", "cheapest", "profile:no_pool"]
)
@pytest.mark.parametrize(
    "name", ["channels_first_strided", "channels_first_average", "channels_first_max"]
)
def test_layers_are_added_in_the_format_of_the_convolution(
    K: Any, name: str, to: str, tmp_path: Path
) -> None:
    assert_holds(K, name, to, tmp_path)


def test_a_relu_with_a_slope_below_zero_may_be_negative(K: Any) -> None:
    slope = {"negative_slope": 0.5} if K.__name__ == "keras" else {"alpha": 0.5}
    inputs = K.Input((8, 8, 3))
    for act in (lambda x: K.activations.relu(x, **slope), K.layers.ReLU(negative_slope=0.5)):
        old = K.Model(inputs, K.layers.MaxPooling2D(2)(act(K.layers.Conv2D(4, 3)(inputs))))
        new, report = swap(old, "conv_relu")
        assert report.sites[-1].rule == "max_pool_into_relus"
        laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)


def test_a_blurred_maximum_is_the_dense_maximum_under_a_binomial_kernel(K: Any) -> None:
    """Zhang 2019: [1, 2, 1] / 4 along each axis over maxima of stride 1, zeros around them."""
    image = K.Input((12, 12, 2))
    old = K.Model(image, K.layers.MaxPooling2D(2, name="pool")(image))
    new, _ = swap(old, "blur_pool")
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 2)).astype(np.float32)
    dense = np.max([x[:, i : i + 11, j : j + 11] for i in (0, 1) for j in (0, 1)], 0)
    padded = np.pad(dense, [(0, 0), (1, 1), (1, 1), (0, 0)])
    taps = [
        a * b / 16 * padded[:, i : i + 11 : 2, j : j + 11 : 2]
        for (i, a), (j, b) in product(enumerate((1, 2, 1)), repeat=2)
    ]
    np.testing.assert_allclose(np.asarray(new(x)), sum(taps), rtol=1e-5, atol=1e-6)


ALONE = """
import sys, numpy as np, {keras} as keras
model = keras.models.load_model({file!r}, compile=False)
assert not any(name.startswith("keras_downswap") for name in sys.modules)
np.save({out!r}, np.asarray(model(np.load({data!r}))))
"""


@pytest.mark.parametrize("to", ["conv_relu", "blur_pool"])
def test_a_saved_model_needs_this_package_no_more(K: Any, to: str, tmp_path: Path) -> None:
    old = ZOO["conv_norm_relu_max"](K)
    new, _ = swap(old, to)
    x = laws.sample_for(old)
    file, data, out = (str(tmp_path / name) for name in ("new.keras", "x.npy", "y.npy"))
    new.save(file)
    np.save(data, x)
    program = ALONE.format(keras=K.__name__, file=file, data=data, out=out)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(out), np.asarray(new(x)), rtol=1e-5, atol=1e-6)


def test_a_branch_without_a_convolution_is_named(K: Any) -> None:
    L = K.layers
    image = K.Input((16, 16, 3))
    both = L.Concatenate()(
        [L.Conv2D(4, 3, padding="same")(image), L.UpSampling2D(2)(L.MaxPooling2D(2)(image))]
    )
    plan = plan_swaps(K.Model(image, L.MaxPooling2D(2, name="last")(both)))
    (reason,) = [site.reason for site in plan.sites if site.layers[-1] == "last"]
    assert "along one of 2 branches is UpSampling2D" in reason


def test_a_transposed_convolution_is_said_to_upsample(K: Any) -> None:
    L = K.layers
    image = K.Input((8, 8, 3))
    plan = plan_swaps(K.Model(image, L.MaxPooling2D(2)(L.Conv2DTranspose(4, 3, 2)(image))))
    assert "Conv2DTranspose" in plan.sites[-1].reason
    assert plan.sites[-1].reason.endswith(", which upsamples")
