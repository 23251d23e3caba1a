"""What the rules of further targets refuse, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.graphs import Sketch, arguments, made

from keras_downswap.ir.facts import ElementwiseFacts, JoinFacts
from keras_downswap.ir.graph import Graph, Role
from keras_downswap.planning.find import find_sites
from keras_downswap.rules import all_rules

Draw = Callable[[Sketch], Any]


def drawn(draw: Draw) -> Graph:
    sketch = Sketch()
    draw(sketch)
    return sketch.graph()


def first(s: Sketch, *sizes: int | None, **facts: Any) -> int:
    return s.input(*(sizes or (32,)), **facts)


REFUSED: dict[str, tuple[str, Draw, str]] = {
    "a mean that pads": (
        "extra_conv",
        lambda s: s.pool(first(s, 33), padding="same", kind="Average"),
        "'pool' pads (padding='same'",
    ),
    "integers": ("extra_conv", lambda s: s.pool(first(s, dtype="int32")), "pools int32"),
    "unknown channels": (
        "extra_conv",
        lambda s: s.pool(first(s, channels=None)),
        "unknown number of channels",
    ),
    "a padded maximum of anything": (
        "conv_relu",
        lambda s: s.pool(first(s, 33), padding="same"),
        "a convolution pads zeros, which would win",
    ),
    "a map that tells channels apart": (
        "conv_relu",
        lambda s: s.pool(
            s.batch_norm(s.conv(first(s), activation="relu")),
            kind="Average",
            padding="same",
            size=5,
        ),
        "tells channels apart",
    ),
    "a separable convolution's phases": (
        "conv_relu",
        lambda s: s.pool(
            s.relu(s.conv(first(s), kind="SeparableConv")), kind="Average", padding="same", size=5
        ),
        "would need its pointwise kernel once for each cell",
    ),
    "a pool of stride 1": (
        "blur_pool",
        lambda s: s.pool(first(s), 3, 1),
        "has a stride of 1 and subsamples nothing",
    ),
    "channels in groups": (
        "space_to_depth",
        lambda s: s.conv(first(s), 3, 2, groups=2),
        "looks at channels in groups",
    ),
    "an unknown length": (
        "space_to_depth",
        lambda s: s.conv(s.input(None), 2, 2),
        "has an unknown length",
    ),
    "no shortcut": (
        "identity_shortcut",
        lambda s: s.conv(first(s), 1, 2, filters=2),
        "is on no shortcut to a sum",
    ),
    "other channels": (
        "identity_shortcut",
        lambda s: s.conv(first(s), 1, 2),
        "computes 4 channels of 2",
    ),
    "a kernel over several cells": (
        "identity_shortcut",
        lambda s: s.conv(first(s), 3, 2, filters=2),
        "has more than one tap",
    ),
    "no gain": (
        "cheapest",
        lambda s: s.pool(s.conv(first(s)), 2, 1, kind="Average"),
        "has a stride of 1",
    ),
    "a maximum behind a convolution": (
        "cheapest",
        lambda s: s.pool(s.conv(first(s))),
        "computes maxima",
    ),
    "pools of two dtypes": (
        "cheapest",
        lambda s: s.pool(s.pool(first(s), name="a"), dtype="float16"),
        "compute in float16 and float32",
    ),
    "a map of another dtype": (
        "cheapest",
        lambda s: s.pool(
            s.relu(first(s), dtype="float16", facts=ElementwiseFacts(is_monotone=True))
        ),
        "compute in float16 and float32",
    ),
    "maxima with gaps in a row": (
        "cheapest",
        lambda s: s.pool(s.pool(first(s), 2, 3, name="a"), 2, 1),
        "'a' leave cells out, which one window",
    ),
    "a prime pool": ("small_pool", lambda s: s.pool(first(s), 3), "is no chain of smaller pools"),
    "a pool with gaps": (
        "small_pool",
        lambda s: s.pool(first(s), 2, 4),
        "leaves cells out between its windows",
    ),
    "means that overlap": (
        "small_pool",
        lambda s: s.pool(first(s), 3, 2, kind="Average"),
        "computes means of windows that overlap",
    ),
    "a pool that pads before the map": (
        "small_pool",
        lambda s: s.pool(first(s, 33), 4, 2, padding="same"),
        "pads before the map, which no smaller pool does",
    ),
    "a pool that pads further than it overlaps": (
        "small_pool",
        lambda s: s.pool(first(s, 7), 4, padding="same"),
        "pads 1 cells after the map, and its windows overlap by 0",
    ),
    "a pool that pads an unknown length": (
        "small_pool",
        lambda s: s.pool(s.input(None), 4, 2, padding="same"),
        "over an unknown length",
    ),
    "overlapping means in a row": (
        "cheapest",
        lambda s: s.pool(s.pool(s.relu(first(s)), 3, 2, kind="Average", name="a"), kind="Average"),
        "the windows of AveragePooling1D 'a' do not tile",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_kept_and_says_why(name: str) -> None:
    to, draw, words = REFUSED[name]
    refusals = []
    for rule in (rule for rule in all_rules() if to in rule.targets):
        alone = find_sites(drawn(draw), [rule], to)
        refusals += [one.reason for one in alone if one.status == "kept"]
    assert any(words in reason for reason in refusals), refusals


def test_a_blur_is_not_blurred_again() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(32), 3, 2, kind="DepthwiseConv", filters=2)
    call = sketch.calls[-1]
    assert find_sites(sketch.graph(), all_rules(), "blur_pool")[0].status == "swapped"
    sketch.calls[-1] = type(call)(
        **{**vars(call), "facts": replace(call.conv, is_binomial_blur=True)}
    )
    site = find_sites(sketch.graph(x), all_rules(), "blur_pool")[0]
    assert (site.status, "is a fixed blur already" in site.reason) == ("kept", True)


def test_a_shortcut_is_a_way_to_a_sum() -> None:
    sketch = Sketch()
    x = sketch.input(32, channels=4)
    a, b = sketch.conv(x, 1, 2, name="short"), sketch.conv(x, 3, 2, "same", name="long")
    sketch.add(
        "sum",
        "Add",
        Role.JOIN,
        (a, b),
        sketch.tensors[a].shape,
        "float32",
        facts=JoinFacts(is_linear=True),
    )
    short = next(
        s
        for s in find_sites(sketch.graph(), all_rules(), "identity_shortcut")
        if s.layers == ("short",)
    )
    assert (short.rule, short.promise) == ("shortcut_into_pool", "approximate")
    (layer,) = made(short)
    assert (layer.kind, layer.name, arguments(layer)["pool_size"]) == ("MaxPooling", "short", (2,))
