"""Each rule swaps the examples in its file, and refuses the others there in the words that stand
there.
"""

from __future__ import annotations

import pytest
from support.examples import built

from keras_downswap.dialects import read_model
from keras_downswap.planning.find import find_sites
from keras_downswap.rulekit import Example, Refusal, Refused, Rule
from keras_downswap.rules import own_rules

EXAMPLES = [(rule, example) for rule in own_rules() for example in rule.examples]
REFUSALS = [(rule, refusal) for rule in own_rules() for refusal in rule.refusals]


def target_of(rule: Rule, example: Example) -> str:
    usual = "strided_conv" if "strided_conv" in rule.targets else min(rule.targets)
    return example.to or usual


def assert_swaps(rule: Rule, example: Example) -> None:
    """A rule swaps a model, under one of its targets, with all others beside it."""
    graph = read_model(built(example)).graph
    form = rule.form or "same"
    sites = find_sites(graph, own_rules(), target_of(rule, example), form=form)  # type: ignore[arg-type]
    names = [name for site in sites for name in str(site.rule).split(" + ")]
    assert rule.name in names


def assert_refuses(rule: Rule, refusal: Refusal) -> None:
    """A rule refuses each call of a model that it may start at, one of them in the given words."""
    graph = read_model(built(refusal)).graph
    reasons = []
    for call in filter(rule.anchors, graph.calls):
        with pytest.raises(Refused) as caught:
            rule.ask(graph, call, target_of(rule, refusal))
        reasons.append(str(caught.value))
    assert any(refusal.reason in reason for reason in reasons), reasons


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=lambda v: getattr(v, "name", ""))
def test_a_rule_swaps_its_examples(rule: Rule, example: Example) -> None:
    assert_swaps(rule, example)


@pytest.mark.parametrize(("rule", "refusal"), REFUSALS, ids=lambda v: getattr(v, "name", ""))
def test_a_rule_refuses_the_others(rule: Rule, refusal: Refusal) -> None:
    assert_refuses(rule, refusal)


def test_every_rule_has_an_example_and_a_refusal() -> None:
    for rule in own_rules():
        assert rule.examples, rule.name
        assert rule.refusals, rule.name


def test_an_example_that_is_not_swapped_and_one_that_is_not_refused_are_seen() -> None:
    rule, refusal = REFUSALS[0]
    with pytest.raises(AssertionError):
        assert_swaps(rule, refusal)
    swapped = EXAMPLES[0][1]
    as_refusal = Refusal(swapped.shape, swapped.layers, swapped.to)
    with pytest.raises(pytest.fail.Exception):
        assert_refuses(EXAMPLES[0][0], as_refusal)
