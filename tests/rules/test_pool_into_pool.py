"""A pool of one kind for a pool of the other."""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Sketch, arguments, made, named, pair

from keras_downswap.ir.replacement import MakePool
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.pool_into_pool import pool_into_pool

RULE = pool_into_pool


def test_it_promises_shapes() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.APPROXIMATE,
        True,
        frozenset({"max_pool", "average_pool"}),
    )


@pytest.mark.parametrize(
    ("kind", "to", "wanted"),
    [("Max", "average_pool", "AveragePooling"), ("Average", "max_pool", "MaxPooling")],
)
@pytest.mark.parametrize("last", [True, False])
def test_the_other_kind_has_the_same_windows_and_name(
    kind: str, to: str, wanted: str, last: bool
) -> None:
    graph = pair(
        32,
        None,
        pool={"size": (3, 2), "stride": (2, 1), "padding": "same", "kind": kind},
        last=last,
    )
    pool = named(graph, "pool")
    answer = RULE.apply(graph, pool, to)
    (step,) = made(answer)
    assert answer.chain == (pool.index,)
    assert isinstance(step, MakePool)
    assert (step.kind, step.rank, step.name, step.beside) == (wanted, 2, "pool", pool.layer)
    assert arguments(step) == {
        "pool_size": (3, 2), "strides": (2, 1), "padding": "same",
        "data_format": "channels_last" if last else "channels_first",
    }  # fmt: skip


def test_it_does_not_care_what_stands_before() -> None:
    sketch = Sketch()
    sketch.pool(sketch.opaque(sketch.input(32), name="anything"))
    assert made(RULE.apply(sketch.graph(), sketch.calls[-1], "average_pool"))


@pytest.mark.parametrize(
    ("facts", "to", "words"),
    [
        ({}, "max_pool", "MaxPooling1D 'pool' already is what to='max_pool' asks for"),
        (
            {"kind": "Average"},
            "average_pool",
            "AveragePooling1D 'pool' already is what to='average_pool' asks for",
        ),
        (
            {"size": 30},
            "average_pool",
            "'pool' covers its whole 30 map: global pooling, not a downsampling site",
        ),
        ({"size": 40, "padding": "same"}, "average_pool", "'pool' covers its whole 30 map"),
        ({"obstacle": "is odd"}, "average_pool", "MaxPooling1D 'pool' is odd"),
    ],
)
def test_refusals(facts: dict[str, Any], to: str, words: str) -> None:
    graph = pair(32, pool=facts)
    with pytest.raises(Refused) as refused:
        RULE.apply(graph, named(graph, "pool"), to)
    assert words in str(refused.value)


def test_global_pooling_is_no_site() -> None:
    sketch = Sketch()
    sketch.global_pool(sketch.input(32))
    with pytest.raises(
        Refused, match="GlobalAveragePooling1D 'gap' is global pooling, not a downsampling site"
    ):
        RULE.apply(sketch.graph(), sketch.calls[-1], "max_pool")
