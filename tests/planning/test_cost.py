"""Costs of sites against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Sketch, pair

from keras_downswap.ir.graph import Graph
from keras_downswap.planning.cost import Cost, SiteCost, site_cost
from keras_downswap.planning.find import Method, find_sites
from keras_downswap.rules import all_rules


def cost(graph: Graph, to: str = "strided_conv", method: Method = "auto", at: int = 0) -> SiteCost:
    return site_cost(graph, find_sites(graph, all_rules(), to, method)[at])


def article(kind: str, n: int | None = 32) -> Graph:
    """Draws Conv2D(32, 3) on colour images, and a pool of 2."""
    sketch = Sketch()
    sketch.pool(sketch.conv(sketch.input(n, n, channels=3), filters=32), kind=kind)
    return sketch.graph()


def test_the_articles_pair_copied() -> None:
    found = cost(article("Max"))
    assert found.input_shape == (None, 32, 32, 3)
    assert found.output_shape == (None, 15, 15, 32)
    assert found.before == Cost(896, 777_600)  # 30 * 30 positions * 27 taps * 32 filters
    assert found.after == Cost(896, 194_400)  # 15 * 15 * 27 * 32


def test_the_articles_pair_composed() -> None:
    found = cost(article("Average"))
    assert found.before == Cost(896, 777_600)
    assert found.after == Cost(1_568, 345_600)  # 15 * 15 * (4 * 4 * 3) * 32


def test_unknown_lengths_have_no_macs() -> None:
    found = cost(article("Average", None))
    assert (found.before, found.after) == (Cost(896, None), Cost(1_568, None))


def test_a_convolution_inside_a_network() -> None:
    """3x3 over 30x30x32, padded: 9 * 32 * 32 weights at 900 positions, then at 225."""
    sketch = Sketch()
    sketch.pool(
        sketch.relu(sketch.conv(sketch.input(30, 30, channels=32), padding="same", filters=32))
    )
    found = cost(sketch.graph())
    assert found.before == Cost(9_248, 8_294_400)
    assert found.after == Cost(9_248, 2_073_600)


def test_earlier_layers_lengthen_the_way() -> None:
    """A pair of 33 -> 33 -> 16 needs one pad; 16 positions * 4 taps * 2 * 4."""
    found = cost(pair(33, conv={"padding": "same"}, pool={"kind": "Average"}))
    assert found.before == Cost(28, 792)
    assert found.after == Cost(36, 512)


def test_a_dilated_convolution_is_counted_as_written_out() -> None:
    """Three taps two cells apart span five, with the pool six: 14 positions * 6 taps * 2 * 4."""
    found = cost(pair(32, conv={"dilation": 2}, pool={"kind": "Average"}))
    assert found.before == Cost(28, 672)
    assert found.after == Cost(52, 672)


def test_cropped_axes_are_followed() -> None:
    """7 -> 5 -> 2, while the plain strided convolution would give 3."""
    found = cost(pair(7, conv={"filters": 1}))
    assert found.before == Cost(7, 30)
    assert found.after == Cost(7, 12)


@pytest.mark.parametrize(
    ("facts", "before", "after"),
    [
        ({"use_bias": False}, Cost(24, 24 * 30), Cost(24, 24 * 15)),
        ({"groups": 2}, Cost(16, 12 * 30), Cost(16, 12 * 15)),
        ({"kernel": 1}, Cost(12, 8 * 32), Cost(12, 8 * 16)),
        ({"kernel": 5, "filters": 6}, Cost(66, 60 * 28), Cost(66, 60 * 14)),
    ],
)
def test_settings_count(facts: dict[str, Any], before: Cost, after: Cost) -> None:
    found = cost(pair(32, conv=facts))
    assert (found.before, found.after) == (before, after)


def test_channels_first_means_the_same() -> None:
    first, last = (cost(pair(32, 20, last=last)) for last in (False, True))
    assert (first.before, first.after) == (last.before, last.after)
    assert first.output_shape == (None, 4, 15, 9)


def test_going_back_costs_the_stride_squared() -> None:
    sketch = Sketch()
    sketch.conv(sketch.input(32, 32), 2, 2, filters=8)
    found = cost(sketch.graph(), "subsample")
    assert found.before == Cost(72, 16 * 16 * 64)
    assert found.after == Cost(72, 31 * 31 * 64)
    assert cost(sketch.graph(), "max_pool").after == found.after


def test_going_back_before_a_1x1_convolution_costs_nothing() -> None:
    sketch = Sketch()
    sketch.conv(sketch.input(32, 32), 1, 2, filters=8)
    for to in ("subsample", "max_pool", "average_pool"):
        found = cost(sketch.graph(), to)
        assert found.before == found.after == Cost(24, 16 * 16 * 16)


def test_fixed_kernels_count() -> None:
    """A mean of 2x2 over 4 channels at 15x15 places; as a dense convolution four times as much."""
    sketch = Sketch()
    sketch.pool(sketch.relu(sketch.input(30, 30, channels=4)), kind="Average")
    assert cost(sketch.graph()).after == Cost(16, 15 * 15 * 16)
    assert cost(sketch.graph(), "extra_conv").after == Cost(64, 15 * 15 * 64)
    sketch = Sketch()
    sketch.pool(sketch.relu(sketch.input(30, 30, channels=4)))
    rounds = 2 * 2 * 4 * 6 + 6 * 4 * 3 + 3 * 4
    assert cost(sketch.graph(), "conv_relu").after == Cost(rounds, 15 * 15 * rounds)


def test_more_channels_between_are_counted() -> None:
    """Polyphase: 4x4x2x(4*4) values at 15x15 places, then the mean of 4 for each of 4 channels."""
    sketch = Sketch()
    sketch.pool(sketch.relu(sketch.conv(sketch.input(32, 32))), kind="Average")
    found = cost(sketch.graph(), "conv_relu")
    assert found.after == Cost(16 * 2 * 16 + 16 + 16, 15 * 15 * (16 * 2 * 16 + 16))


def test_a_kept_site_costs_what_it_did() -> None:
    found = cost(article("Max"), method="exact")
    assert found.before == found.after == Cost(896, 777_600)
    sketch = Sketch()
    sketch.pool(sketch.input(32))
    found = cost(sketch.graph())
    assert found.before == found.after == Cost(0, 0)


def test_pools_cost_nothing() -> None:
    found = cost(pair(32, pool={"kind": "Average"}), "max_pool")
    assert found == SiteCost((None, 30, 4), (None, 15, 4), Cost(0, 0), Cost(0, 0))
