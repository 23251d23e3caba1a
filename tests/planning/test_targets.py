"""Targets are objects in one table; README's table comes from it, and callers have their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.graphs import Sketch, pair

from keras_downswap import BadRequest, plan_swaps
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.targets import TARGETS, Target
from keras_downswap.rulekit import Promise, Replacement, Rule, refuses, require, rule
from keras_downswap.rules import all_rules

README = Path(__file__).resolve().parents[2] / "README.md"


def gone(graph: Graph, pool: Call, to: str) -> Replacement:
    return Replacement((pool.index,), {pool.index: ()})


GONE = Rule("gone", frozenset({"nothing"}), Promise.APPROXIMATE, is_pool, gone, "pool -> nothing")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_readme_shows_each_target_as_the_table_has_it(target: Target) -> None:
    row = f"| `{target.name}` | {target.summary} | {target.promise} |"
    assert row in README.read_text("utf-8")


def test_every_target_says_what_it_does_and_what_it_keeps() -> None:
    assert all(target.summary and target.promise for target in TARGETS)
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_a_target_of_ones_own_has_its_own_rules() -> None:
    target = Target("mine", rules=[GONE])
    (site,) = find_sites(pair(32), all_rules(), target)
    assert (site.rule, site.promise, site.layers) == ("gone", "approximate", ("pool",))


def test_a_target_of_ones_own_is_about_what_it_says() -> None:
    def none(graph: Graph, call: Call) -> bool:
        return False

    target = Target("mine", rules=[GONE], concerns=none)
    (site,) = find_sites(pair(32), all_rules(), target)
    assert site.reason == "to='mine' does not concern pools such as MaxPooling1D 'pool'"


def test_rules_that_name_a_target_of_ones_own_serve_it() -> None:
    (site,) = find_sites(pair(32), [GONE, *all_rules()], Target("nothing"))
    assert site.rule == "gone"


def test_a_target_of_ones_own_reports_the_layers_that_it_names() -> None:
    def with_producer(graph: Graph, call: Call) -> tuple[Call, ...]:
        return (graph.producer(call), call)

    @rule(targets=["mine"], promise=Promise.EXACT, anchors=is_pool)
    @refuses((16, 16, 4), reason="never")
    def never(graph: Graph, pool: Call) -> Replacement:
        """Pool -> nothing, never."""
        require(False, f"{pool.label} never goes")
        raise AssertionError

    target = Target("mine", rules=[never], site_layers=with_producer)
    (site,) = find_sites(pair(32), all_rules(), target)
    assert (site.layers, site.reason) == (("conv", "pool"), "MaxPooling1D 'pool' never goes")


def test_an_unknown_target_is_refused_with_the_names_that_there_are(K: Any) -> None:
    image = K.Input((8, 8, 1))
    model = K.Model(image, K.layers.MaxPooling2D(2)(image))
    with pytest.raises(BadRequest, match=r"unknown target to='strides': expected one of .*, blur_"):
        plan_swaps(model, to="strides")


def test_the_refusal_that_got_furthest_is_shown_wherever_its_rule_stands() -> None:
    def early(graph: Graph, pool: Call, to: str) -> Replacement:
        require(False, "early")
        raise AssertionError

    def late(graph: Graph, pool: Call, to: str) -> Replacement:
        require(True, "")
        require(False, "late")
        raise AssertionError

    sketch = Sketch()
    sketch.pool(sketch.input(32))
    rules = [
        Rule(name, frozenset({"mine"}), Promise.EXACT, is_pool, apply, "")
        for name, apply in (("early", early), ("late", late))
    ]
    for order in (rules, rules[::-1]):
        (site,) = find_sites(sketch.graph(), order, "mine")
        assert site.reason == "late"
