"""Which swaps a plan chooses, what it says of the rest; nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Sketch, arguments, pair

from keras_downswap.errors import BadRequest
from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.replacement import KEEP, Make, MakeConv, Replacement
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.sites import Site
from keras_downswap.planning.targets import METHODS, Method, names_of_targets
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rules import all_rules


def plan(graph: Graph, to: str = "strided_conv", **options: Any) -> tuple[Site, ...]:
    return find_sites(graph, all_rules(), to, **options)


def two_pairs() -> Graph:
    """Draws an average pool and a max pool, each behind its convolution."""
    sketch = Sketch()
    x = sketch.pool(sketch.conv(sketch.input(32), name="conv1"), kind="Average", name="pool1")
    sketch.pool(sketch.conv(x, name="conv2"), name="pool2")
    return sketch.graph()


def test_rules_come_exact_first_and_verbatim_first() -> None:
    assert [rule.name for rule in all_rules() if "strided_conv" in rule.targets] == [
        "pool_of_one_into_stride",
        "average_pool_into_kernel",
        "pool_of_one_into_next_stride",
        "average_pool_into_next_kernel",
        "average_pool_into_depthwise",
        "pool_into_wide",
        "pool_into_cover",
        "pool_into_stride",
        "pool_into_next_stride",
    ]
    assert tuple(sorted(names_of_targets())) == (
        "average_pool",
        "blur_pool",
        "cheapest",
        "conv_relu",
        "extra_conv",
        "identity_shortcut",
        "max_pool",
        "odd_kernel",
        "small_pool",
        "space_to_depth",
        "strided_conv",
        "subsample",
    )
    assert all(rule.summary and rule.apply.__name__ == rule.name for rule in all_rules())


def test_average_pools_in_a_row_before_a_convolution_become_its_stride() -> None:
    sketch = Sketch()
    x = sketch.pool(sketch.relu(sketch.input(32)), kind="Average", name="a")
    sketch.conv(sketch.pool(x, kind="Average", name="b"), 3, padding="same", name="conv")
    (site,) = plan(sketch.graph())
    assert (site.layers, site.promise) == (("a", "b", "conv"), "exact")
    assert site.replacement is not None
    (new,) = [
        step
        for steps in site.replacement.steps.values()
        for step in steps
        if isinstance(step, Make)
    ]
    assert (new.kind, arguments(new)["kernel_size"], arguments(new)["strides"]) == (
        "Conv",
        (12,),
        (4,),
    )


def test_an_average_pool_whose_convolution_takes_another_one_first_is_still_swapped_by_itself() -> (
    None
):
    sketch = Sketch()
    x = sketch.pool(sketch.relu(sketch.input(32)), kind="Average", name="a")
    sketch.pool(x, kind="Average", name="b")
    assert {site.promise for site in plan(sketch.graph())} == {"exact"}


@pytest.mark.parametrize("kernel", ["same", "cover"])
def test_a_pool_after_its_zero_padding_goes_with_it(kernel: Any) -> None:
    """As in ResNet's stem: convolution of 7, stride 2, padding, pool of 3, stride 2: sampled at the
    window's middle.
    """
    sketch = Sketch()
    x = sketch.pad(
        sketch.relu(sketch.conv(sketch.input(38), 7, 2, name="conv")), (1, 1), name="pad"
    )
    sketch.pool(x, 3, 2, name="pool")
    (site,) = plan(sketch.graph(), form=kernel)
    assert (site.layers[0], site.layers[-2:], site.promise) == (
        "conv",
        ("pad", "pool"),
        "approximate",
    )
    assert site.replacement is not None
    steps = {sketch.calls[index].name: made for index, made in site.replacement.steps.items()}
    assert (steps["pad"], steps["pool"]) == ((), ())
    *front, new = steps["conv"]
    assert isinstance(new, Make)
    assert arguments(new)["strides"] == (4,)
    assert [arguments(step) for step in front if isinstance(step, Make)] == (
        [] if kernel == "same" else [{"padding": (2, 2), "data_format": "channels_last"}]
    )
    assert plan(sketch.graph(), method="exact")[0].status == "kept"


@pytest.mark.parametrize(
    ("method", "rules"),
    [
        ("auto", ("average_pool_into_kernel", "pool_into_stride")),
        ("exact", ("average_pool_into_kernel", None)),
        ("copy", ("pool_into_stride", "pool_into_stride")),
    ],
)
def test_methods(method: Any, rules: tuple[str | None, ...]) -> None:
    sites = plan(two_pairs(), method=method)
    assert tuple(site.rule for site in sites) == rules
    assert [site.layers for site in sites] == [("conv1", "pool1"), ("conv2", "pool2")]
    promises = {"average_pool_into_kernel": "exact", None: None}
    for site in sites:
        assert site.promise == promises.get(site.rule, "approximate")
        assert (site.replacement is None) == (site.status == "kept")


def test_reasons_tell_why_no_exact_swap_was_found() -> None:
    exact, approximate = plan(two_pairs())
    assert exact.reason == ""
    assert (
        approximate.reason
        == "MaxPooling1D 'pool2' computes maxima, which no single convolution does"
    )
    (kept,) = plan(pair(32), method="exact")
    assert (kept.layers, kept.reason) == (
        ("conv", "pool"),
        approximate.reason.replace("pool2", "pool"),
    )
    (kept,) = plan(
        pair(32, conv={"stride": 2, "kernel": 1}), "subsample", method="exact", include=["pool"]
    )[:1]
    assert kept.reason == "left out by include or exclude"


def test_a_method_without_a_rule_says_so() -> None:
    graph = pair(32, conv={"stride": 2})
    (conv, pool) = plan(graph, "average_pool", method="exact")
    assert (
        "no rule for to='average_pool' that this method admits starts at Conv1D 'conv'"
        in conv.reason
    )
    assert "MaxPooling1D 'pool' has a window above 1" in pool.reason


@pytest.mark.parametrize(
    ("options", "swapped"),
    [
        ({}, [1, 2]),
        ({"include": "pool1"}, [1]),
        ({"include": "1$"}, [1]),
        ({"include": "conv"}, [1, 2]),
        ({"include": "^ool"}, []),
        ({"include": ["conv2"]}, [2]),
        ({"include": ("conv1", "pool2")}, [1, 2]),
        ({"include": []}, []),
        ({"include": lambda site: site.promise == "exact"}, [1]),
        ({"exclude": "1"}, [2]),
        ({"exclude": ["pool2"]}, [1]),
        ({"exclude": lambda site: "conv1" in site.layers}, [2]),
        ({"include": "pool", "exclude": ["conv1"]}, [2]),
    ],
)
def test_include_and_exclude(options: dict[str, Any], swapped: list[int]) -> None:
    sites = plan(two_pairs(), **options)
    assert [i for i, site in enumerate(sites, 1) if site.status == "swapped"] == swapped
    for site in sites:
        if site.status == "kept":
            assert (site.promise, site.rule, site.replacement) == (None, None, None)
            assert site.reason == "left out by include or exclude"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"to": "stride"},
            f"unknown target to='stride': expected one of {', '.join(sorted(names_of_targets()))}",
        ),
        ({"method": "best"}, "unknown method='best': expected one of auto, exact, copy"),
        ({"include": ["pool1", "nope", "gone"]}, "include names no layer of the model: gone, nope"),
        ({"exclude": {"nope"}}, "exclude names no layer of the model: nope"),
        ({"include": "("}, "include='.' is not a regular expression"),
        ({"exclude": "*"}, "exclude='.' is not a regular expression"),
    ],
)
def test_bad_requests(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        plan(two_pairs(), **options)


def test_nested_layers_are_named_by_their_path_and_each_scope_is_listed_once() -> None:
    numbers = count()
    inner, middle, outer = (Sketch(scope, numbers=numbers) for scope in (2, 1, 0))
    inner.pool(inner.conv(inner.input(32), stride=2))
    x = middle.nested(middle.input(32), inner.graph(), "inner")
    middle.pool(middle.conv(middle.nested(x, inner.graph(), "inner"), kernel=1), size=1, stride=2)
    outer.pool(outer.nested(outer.input(32), middle.graph(), "outer"))
    sites = plan(outer.graph())
    assert [(site.scope, site.layers) for site in sites] == [
        (0, ("pool",)),
        (1, ("outer/conv", "outer/pool")),
        (2, ("outer/inner/conv", "outer/inner/pool")),
    ]
    assert [site.promise for site in sites] == [None, "exact", "approximate"]
    assert (
        sites[0].reason
        == "no convolution is upstream of MaxPooling1D 'pool': upstream is Functional 'outer'"
    )
    assert [site.status for site in plan(outer.graph(), include=["outer/inner/conv"])] == [
        "kept",
        "kept",
        "swapped",
    ]


def test_targets_say_what_they_do_not_concern() -> None:
    graph = pair(32, conv={"stride": 2, "kind": "ConvLSTM"})
    conv, pool = plan(graph, "subsample")
    assert conv.reason == "ConvLSTM1D 'conv' is no ordinary, depthwise or separable convolution"
    assert (
        pool.reason
        == "to='subsample' concerns strided convolutions only, and MaxPooling1D 'pool' is a pool"
    )
    sketch = Sketch()
    sketch.conv(sketch.input(32), stride=2)
    (kept,) = plan(sketch.graph())
    assert kept.reason == "Conv1D 'conv' already is a strided convolution"
    sketch.global_pool(sketch.last)
    _, kept = plan(sketch.graph(), "max_pool")
    assert kept.reason.startswith("GlobalAveragePooling1D 'gap'")


def test_what_an_opaque_layer_hides_is_named() -> None:
    sketch = Sketch()
    sketch.opaque(sketch.input(32), name="wrapper", unreachable_sites=(("inside", "MaxPooling2D"),))
    (site,) = plan(sketch.graph())
    assert site.layers == ("wrapper/inside",)
    assert "MaxPooling2D 'inside' is inside Opaque 'wrapper', which has no graph" in site.reason


def shared(second: str, **facts: Any) -> Graph:
    """Draws one convolution called twice, with a max pool behind the first call and something
    behind the second.
    """
    sketch = Sketch()
    one = sketch.conv(sketch.input(32))
    two = sketch.again(sketch.calls[-1], sketch.input(20, name="input2"))
    return sketch.graph(
        sketch.pool(one, name="pool1"), getattr(sketch, second)(two, name="pool2", **facts)
    )


def test_a_shared_convolution_is_swapped_where_all_its_calls_agree() -> None:
    sites = plan(shared("pool"))
    assert [site.status for site in sites] == ["swapped", "swapped"]
    assert [site.layers for site in sites] == [("conv", "pool1"), ("conv", "pool2")]


@pytest.mark.parametrize(
    ("second", "facts", "words"),
    [
        ("relu", {}, "is used in 2 places, and not each of them can be swapped"),
        ("pool", {"size": 30}, "is used in 2 places, and not each of them can be swapped"),
        ("pool", {"stride": 3}, "is used in 2 places, which would need different swaps"),
        ("pool", {"kind": "Average"}, "is used in 2 places, which would need different swaps"),
    ],
)
def test_a_shared_convolution_is_kept_where_they_do_not(
    second: str, facts: dict[str, Any], words: str
) -> None:
    sites = plan(shared(second, **facts))
    assert {site.status for site in sites} == {"kept"}
    assert f"Conv1D 'conv' {words}" in sites[0].reason


def test_leaving_out_one_call_keeps_the_other_calls_of_its_layer() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    ends = [sketch.pool(sketch.conv(x, name="a", layer=1000), name="p1")]
    ends.append(sketch.relu(sketch.conv(x, name="a", layer=1000)))
    ends.append(sketch.pool(sketch.conv(x, name="b", layer=1001), name="p2"))
    ends.append(sketch.pool(sketch.conv(x, name="b", layer=1001), name="p3"))
    assert [site.status for site in plan(sketch.graph(*ends))] == ["kept", "swapped", "swapped"]
    left_out = plan(sketch.graph(*ends), exclude=["p3"])
    assert [site.status for site in left_out] == ["kept"] * 3
    assert "not each of them can be swapped" in left_out[1].reason


def test_calls_of_a_shared_convolution_in_two_scopes_are_weighed_together() -> None:
    numbers = count()
    inner = Sketch(1, "inner", numbers=numbers)
    conv = inner.conv(inner.input(32))
    layer = inner.calls[-1].layer
    inner.pool(conv)
    outer = Sketch(numbers=numbers)
    x = outer.nested(outer.input(32), inner.graph(), "inner")
    alone = outer.conv(x, layer=layer)
    assert {site.status for site in plan(outer.graph(alone))} == {"kept"}
    assert {site.status for site in plan(outer.graph(outer.pool(alone)))} == {"swapped"}


def test_sites_come_in_the_order_of_their_first_layers() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    one, two = sketch.conv(x, name="one"), sketch.conv(x, name="two")
    sketch.pool(two, name="two_pool")
    sketch.pool(one, name="one_pool")
    sites = plan(sketch.graph(3, 4))
    assert [site.layers for site in sites] == [("one", "one_pool"), ("two", "two_pool")]


def pairs_of_layers(kernels: dict[int, Any]) -> Rule:
    """Makes a rule that replaces the two convolutions in front of a pool; `kernels` gives each
    call's new kernel.
    """

    def apply(graph: Graph, pool: Call, to: str) -> Replacement:
        second = graph.producer(pool)
        calls = (graph.producer(second), second)
        makes = {
            c.index: (
                MakeConv(
                    c.name,
                    c.layer,
                    LayerKind.CONV,
                    c.windows,
                    like=c.layer,
                    kernel=kernels.get(c.index),
                ),
            )
            for c in calls
        }
        return Replacement((*makes, pool.index), makes)

    return Rule(
        "pairs",
        frozenset({"pairs"}),
        Promise.EXACT,
        lambda c: c.role is Role.MAX_POOL,
        apply,
        "",
    )


def test_a_kept_swap_of_two_layers_keeps_the_swaps_that_share_either() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    layers = {name: 1000 + i for i, name in enumerate("abcde")}
    for first, second in ("ab", "bc", "de"):
        sketch.pool(
            sketch.conv(sketch.conv(x, layer=layers[first]), layer=layers[second]),
            name=first + second,
        )
    sketch.conv(x, layer=layers["a"])
    sites = find_sites(sketch.graph(), (pairs_of_layers({}),), "pairs")
    assert [site.status for site in sites] == ["kept", "kept", "swapped"]


def test_calls_of_a_layer_must_agree_on_its_kernel_too() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    for _ in range(2):
        sketch.pool(sketch.conv(sketch.conv(x), layer=1000))
    graph = sketch.graph()
    assert {site.status for site in find_sites(graph, (pairs_of_layers({}),), "pairs")} == {
        "swapped"
    }
    (one, two) = find_sites(graph, (pairs_of_layers({2: np.negative}),), "pairs")
    assert (one.status, two.status) == ("kept", "kept")
    assert "which would need different swaps" in one.reason


OPERATIONS = [
    "conv",
    "strided",
    "again",
    "Max",
    "Max",
    "Average",
    "one",
    "relu",
    "bn",
    "spatial",
    "depthwise",
    "hide",
]


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """Draws calls on the last tensor or the one before; layers may be shared, outputs anywhere."""
    sketch = Sketch()
    sketch.input(draw(st.sampled_from([None, 40, 41, 64])))
    for operation in draw(st.lists(st.sampled_from(OPERATIONS), min_size=2, max_size=9)):
        x = max(0, sketch.last - draw(st.sampled_from([0, 0, 0, 1])))
        length = sketch.sizes(x)[0]
        if length is not None and length < 4:
            continue
        kernel, stride, padding = (
            draw(st.integers(1, 3)),
            draw(st.integers(1, 3)),
            draw(st.sampled_from(PADDINGS)),
        )
        name, convs = (
            f"{operation}{sketch.last}",
            [call for call in sketch.calls if call.role is Role.CONV],
        )
        if operation in ("conv", "strided"):
            sketch.conv(x, kernel, 1 + (operation == "strided"), padding, name=name, filters=2)
        elif operation == "depthwise":
            sketch.conv(x, kernel, stride, padding, kind="DepthwiseConv", name=name, filters=2)
        elif operation == "again" and convs:
            sketch.again(draw(st.sampled_from(convs)), x)
        elif operation in ("Max", "Average"):
            sketch.pool(x, kernel, stride, padding, kind=operation, name=name)
        elif operation == "one":
            sketch.pool(x, 1, stride, padding, name=name)
        elif operation == "relu":
            sketch.relu(x, name)
        elif operation in ("bn", "spatial"):
            sketch.batch_norm(x, name, -1 if operation == "bn" else 1)
        elif operation == "hide":
            sketch.opaque(x, name=name, unreachable_sites=(("inside", "MaxPooling1D"),))
    return sketch.graph(*draw(st.sets(st.integers(0, sketch.last), max_size=2)) | {sketch.last})


PADDINGS = ("valid", "same")
TARGET, METHOD = st.sampled_from(names_of_targets()), st.sampled_from(METHODS)


@given(chains(), TARGET, METHOD)
def test_no_downsampling_call_is_passed_over_in_silence(
    graph: Graph, to: str, method: Method
) -> None:
    sites = plan(graph, to, method=method)
    listed = {index for site in sites for index in site.calls}
    assert listed >= {
        call.index for call in graph.calls if call.downsamples or call.unreachable_sites
    }
    assert [min(site.calls) for site in sites] == sorted(min(site.calls) for site in sites)
    replaced: list[int] = []
    for site in sites:
        assert (
            (site.status == "swapped") == (site.replacement is not None) == (site.rule is not None)
        )
        assert site.reason or site.status == "swapped"
        assert "/" in site.layers[0] or site.layers == tuple(
            graph.calls[i].name for i in site.calls
        )
        replaced += site.replacement.steps if site.replacement else ()
    assert len(replaced) == len(set(replaced)), "two swaps replace one call"


@given(chains(), TARGET, METHOD)
def test_shapes_survive_and_a_second_run_finds_nothing(
    graph: Graph, to: str, method: Method
) -> None:
    sites = plan(graph, to, method=method)
    new = replay(graph, sites)
    assert [new.tensors[t].shape for t in new.outputs] == [
        graph.tensors[t].shape for t in graph.outputs
    ]
    assert not [site for site in plan(new, to, method=method) if site.status == "swapped"]


def replay(graph: Graph, sites: Sequence[Site]) -> Graph:
    """Draws the graph after a plan."""
    steps = {i: s for site in sites if site.replacement for i, s in site.replacement.steps.items()}
    sketch = Sketch(numbers=count(1000))
    at: dict[int, int] = {}
    for call in graph.calls:
        x = at[call.inputs[0]] if call.inputs else sketch.input(*graph.output_shape(call)[1:-1])
        for step in steps.get(call.index, (KEEP,) if call.inputs else ()):
            x = drawn(sketch, step, x) if isinstance(step, Make) else sketch.again(call, x)
        at[call.outputs[0]] = x
    return sketch.graph(*(at[t] for t in graph.outputs))


def drawn(sketch: Sketch, step: Make, x: int) -> int:
    s = arguments(step)
    if isinstance(step, MakeConv):
        geometry = s["kernel_size"], s["strides"], s["padding"], s["dilation_rate"]
        filters = s.get("filters", (sketch.channels(x) or 0) * s.get("depth_multiplier", 1))
        facts = {} if step.like is None else {"layer": step.like}
        x = sketch.conv(x, *geometry, kind=step.kind, name=step.name, filters=filters, **facts)
        if step.fixed is binomial:
            facts = replace(sketch.calls[-1].conv, is_binomial_blur=True)
            sketch.calls[-1] = replace(sketch.calls[-1], facts=facts)
        return x
    if step.kind in ("MaxPooling", "AveragePooling"):
        return sketch.pool(
            x, s["pool_size"], s["strides"], s["padding"], kind=step.kind[:-7], name=step.name
        )
    if step.kind == "Reshape":
        return sketch.add(
            step.name, "Reshape", Role.OTHER, (x,), (None, *s["target_shape"]), "float32"
        )
    if step.kind == "Activation":
        return sketch.each(x, step.name, "Activation", Role.LINEAR)
    (n,), sign = sketch.sizes(x), 1 if step.kind == "ZeroPadding" else -1
    cells = sum(s["padding" if sign > 0 else "cropping"])
    shape = sketch.shaped([n and n + sign * cells], 2)
    return sketch.add(step.name, step.kind, Role.RESIZE, (x,), shape, "float32")
