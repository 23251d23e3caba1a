"""The maximum and the mean of one cell."""

from __future__ import annotations

import pytest
from support.graphs import Sketch, arguments, made, named, pair

from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.pool_of_one_into_pool import pool_of_one_into_pool

RULE = pool_of_one_into_pool


def test_it_promises_values() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.EXACT,
        True,
        frozenset({"max_pool", "average_pool"}),
    )


@pytest.mark.parametrize(
    ("kind", "to", "wanted"),
    [("Max", "average_pool", "AveragePooling"), ("Average", "max_pool", "MaxPooling")],
)
def test_a_pool_of_one_changes_its_kind(kind: str, to: str, wanted: str) -> None:
    graph = pair(32, 9, pool={"size": 1, "stride": (2, 3), "kind": kind})
    (step,) = made(RULE.apply(graph, named(graph, "pool"), to))
    assert (step.kind, arguments(step)["pool_size"], arguments(step)["strides"]) == (
        wanted,
        (1, 1),
        (2, 3),
    )


def test_a_map_of_one_cell_is_no_global_pooling_here() -> None:
    graph = pair(3, pool={"size": 1})
    assert made(RULE.apply(graph, named(graph, "pool"), "average_pool"))


def test_refusals() -> None:
    graph = pair(32, 32, pool={"size": (1, 2)})
    with pytest.raises(Refused, match="MaxPooling2D 'pool' has a window above 1"):
        RULE.apply(graph, named(graph, "pool"), "average_pool")
    graph = pair(32, pool={"size": 1, "stride": 2})
    with pytest.raises(Refused, match="already is what to='max_pool' asks for"):
        RULE.apply(graph, named(graph, "pool"), "max_pool")
    sketch = Sketch()
    sketch.global_pool(sketch.input(32))
    with pytest.raises(Refused, match="is global pooling"):
        RULE.apply(sketch.graph(), sketch.calls[-1], "max_pool")
