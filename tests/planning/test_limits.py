"""Profiles: what exceeds them is swapped for the cheapest exact form within, or kept with the limit
as the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import laws
from support.graphs import Sketch, close, convolved, emitted, made, pair

from keras_downswap import BadRequest, plan_swaps, swap_downsampling
from keras_downswap.dialects import read_model
from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import MakeConv
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.limits import Limits, limits, profiles
from keras_downswap.planning.sites import Site
from keras_downswap.rules import all_rules

GENERIC = {"no_max_pool", "no_pool", "no_stride", "odd_kernels", "pools_of_two", "stride_with_3x3"}
DEVICES = {"akida", "encrypted", "ethos_n", "hls4ml_stream", "max78000", "verified"}


def profile(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text, "utf-8")
    return f"profile:{folder / 'own.toml'}"


def plan(graph: Graph, to: str, **options: Any) -> tuple[Site, ...]:
    return find_sites(graph, all_rules(), to, **options)


def test_profiles_ship_with_their_source() -> None:
    assert set(profiles()) == GENERIC | DEVICES
    for name in profiles():
        assert bool(limits(name).source) == (name in DEVICES), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_pools = false", "unknown key 'max_pools'; expected some of source, max_pool"),
        ("max_pool = 1", "max_pool must be true or false, received 1"),
        ("pool_sizes = [2, 0]", "pool_sizes must be a list of sizes, received [2, 0]"),
        ("pool_sizes = []", "pool_sizes must be a list of sizes, received []"),
        ("source = 3", "source must be a text, received 3"),
        ("max_pool = ", "cannot be read"),
        (
            "max_pool = false\naverage_pool = false\nstrided_conv = false",
            "nothing could downsample",
        ),
        ("strided_conv = false\npool_strides = [1]", "nothing could downsample"),
        (
            "max_pool = false\naverage_pool = false\npool_sizes = [2]",
            "accepts no pools and lists their sizes",
        ),
        (
            "strided_conv = false\nstrided_kernel_sizes = [3]",
            "accepts no strided convolutions and lists",
        ),
        (
            "kernel_sizes = [1, 5]\nstrided_kernel_sizes = [3]",
            "no kernel size of strided convolutions is among",
        ),
        ("strided_conv = false\nconv_strides = [2]", "a stride of 1 is not among the strides"),
        ("conv_strides = [1]\nstrided_kernel_sizes = [3]", "only 1 is among the strides"),
        (
            "pool_overlap = false\npool_sizes = [1]\nstrided_conv = false",
            "nothing could downsample",
        ),
        (
            "pool_overlap = false\npool_sizes = [3]\npool_strides = [2]",
            "no stride is among the sizes",
        ),
    ],
)
def test_a_profile_that_is_none_gets_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        plan(pair(32), profile(tmp_path, text))
    assert words in str(caught.value)
    assert "profile own" in str(caught.value) or "own.toml" in str(caught.value)


def test_an_unknown_profile_is_named_with_those_there_are(tmp_path: Path) -> None:
    for wanted in ("nope", str(tmp_path / "gone.toml")):
        with pytest.raises(BadRequest, match="profile"):
            limits(wanted)
    with pytest.raises(BadRequest, match="expected one of akida, encrypted"):
        plan(pair(32), "profile:nope")


@pytest.mark.parametrize(
    ("text", "conv", "pool", "rule"),
    [
        ("max_pool = false", {}, {}, "max_pool_into_relus"),
        ("max_pool = false", {}, {"kind": "Average"}, None),
        ("average_pool = false", {}, {"kind": "Average"}, "average_pool_into_kernel"),
        (
            "average_pool = false",
            {"activation": "relu"},
            {"kind": "Average"},
            "average_pool_into_depthwise",
        ),
        (
            "average_pool = false\ngrouped_conv = false",
            {"activation": "relu"},
            {"kind": "Average"},
            "average_pool_into_depthwise",
        ),
        (
            "average_pool = false\ngrouped_conv = false\ndepthwise_conv = false",
            {"activation": "relu"},
            {"kind": "Average"},
            "average_pool_into_extra_conv",
        ),
        ("strided_conv = false", {"stride": 2}, {}, "stride_into_depth"),
        ("strided_conv = false\nreshape = false", {"stride": 2}, {}, "stride_into_subsample"),
        (
            "strided_conv = false\nmax_pool = false\nreshape = false",
            {"stride": 2},
            {"kind": "Average"},
            "stride_into_subsample",
        ),
        ("strided_conv = false\npool_sizes = [2]", {"stride": 2}, {}, "stride_into_depth"),
        (
            "strided_kernel_sizes = [5]\npool_sizes = [2]\nreshape = false",
            {"stride": 2},
            {},
            "kernel_into_larger",
        ),
        ("kernel_sizes = [1, 3, 5]", {"kernel": 4}, {}, "kernel_into_larger"),
        ("pool_sizes = [2]", {}, {"size": 3, "stride": 2}, "pool_into_smaller"),
        (
            "pool_sizes = [2]\npool_strides = [2]",
            {},
            {"size": 3, "stride": 2},
            "max_pool_into_relus",
        ),
        (
            "pool_sizes = [2]\npool_strides = [2]\ndepth_multipliers = [1]",
            {},
            {"size": 3, "stride": 2},
            None,
        ),
        (
            "pool_sizes = [2]\npool_strides = [2]\ngrouped_conv = false",
            {},
            {"size": 3, "stride": 2},
            None,
        ),
        ("pool_padding = false", {}, {"padding": "same"}, None),
    ],
)
def test_each_limit_finds_its_form(
    tmp_path: Path, text: str, conv: Any, pool: Any, rule: str | None
) -> None:
    sites = plan(
        pair(33 if "padding" not in text else 34, conv=conv, pool=pool), profile(tmp_path, text)
    )
    swapped = [site.rule for site in sites if site.status == "swapped"]
    assert all(site.promise == "exact" for site in sites if site.status == "swapped")
    assert (swapped[0] if swapped else None) == rule, sites
    bounds = limits(str(tmp_path / "own.toml"))
    for site in sites:
        for layer in made(site) if site.status == "swapped" else ():
            assert bounds.breach_by(
                layer, (None,), layer.facts(None) if isinstance(layer, MakeConv) else None
            ) in (
                None,
                "it accepts no pools that pad",
            )


def test_a_small_kernel_is_embedded_where_only_larger_ones_may_stride(tmp_path: Path) -> None:
    rng = laws.np.random.default_rng(0)
    for n in (12, 13):
        for kernel in (1, 2, 3):
            for padding in ("valid", "same"):
                sketch = Sketch()
                sketch.conv(sketch.input(n), kernel, 2, padding)
                (site,) = plan(
                    sketch.graph(),
                    profile(
                        tmp_path, "strided_kernel_sizes = [4]\nmax_pool = false\nreshape = false"
                    ),
                )
                assert site.status == "swapped", site.reason
                w, x = rng.standard_normal((kernel, 2, 4)), rng.standard_normal((n, 2))
                new = emitted(x, made(site), w)
                assert close(new, convolved(x, w, [(2, 1, padding)])), (n, kernel, padding)


def test_what_has_no_form_within_is_kept_with_the_limit_as_reason(tmp_path: Path) -> None:
    (site,) = plan(pair(32), "profile:encrypted")
    assert site.status == "kept"
    assert "exceeds profile:encrypted: it accepts no max pools" in site.reason
    assert "it accepts no ReLU layers besides those of the model" in site.reason
    (site,) = plan(pair(32, conv={"kernel": 4}), profile(tmp_path, "kernel_sizes = [1, 3]"))[:1]
    assert "no accepted size is as large" in site.reason


def test_verbatim_weights_are_not_embedded(tmp_path: Path) -> None:
    to = profile(tmp_path, "strided_kernel_sizes = [5]\npool_sizes = [2]\nreshape = false")
    graph = pair(32, conv={"stride": 2})
    assert plan(graph, to)[0].status == "swapped"
    assert plan(graph, to, method="copy")[0].status == "kept"


def test_a_larger_limit_allows_what_a_smaller_does() -> None:
    free = Limits("free")
    for call in pair(32, conv={"stride": 2}).calls:
        assert free.breach_of(call, (32,)) is None


@pytest.mark.parametrize("name", sorted(GENERIC | DEVICES))
def test_a_network_comes_out_within_its_profile(K: Any, name: str) -> None:
    L = K.layers
    image = x = K.Input((32, 32, 3))
    x = L.Conv2D(8, 4, activation="relu", name="even")(x)
    x = L.MaxPooling2D(3, 2, name="overlap")(x)
    x = L.Conv2D(8, 3, 2, padding="same", name="strided")(x)
    x = L.AveragePooling2D(2, name="mean")(L.ReLU()(x))
    old = K.Model(image, L.Conv2D(4, 1, name="last")(x))
    to = f"profile:{name}"
    with laws.warnings.catch_warnings():
        laws.warnings.simplefilter("ignore")
        new, report = swap_downsampling(old, to=to, return_report=True)
        again = plan_swaps(new, to=to)
    assert {site.promise for site in report.sites if site.status == "swapped"} <= {"exact"}
    laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)
    assert not again.swaps
    kept = {site.layers[-1] for site in report.sites if f"exceeds {to}" in site.reason}
    bounds, graph = limits(name), read_model(new).graph
    sliding = [call for call in graph.calls if call.windows]
    assert len(sliding) >= 4
    for call in sliding:
        assert (bounds.breach_of(call, graph.sizes(call)) is not None) == (call.name in kept), (
            call.label
        )
    for site in report.sites:
        assert (
            site.status == "swapped" or site.layers[-1] in kept or f"is within {to}" in site.reason
        ), site
