"""A new rule is one file: laid into the folder, it changes no word about sites that it does not
concern.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.model_zoo import ZOO

from keras_downswap.dialects import read_model
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.targets import names_of_targets
from keras_downswap.rulekit import Rule
from keras_downswap.rules import all_rules, in_order

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-rule.md"
TARGETS = ("strided_conv", "max_pool", "cheapest", "conv_relu", "profile:akida")


def rule_of_the_guide() -> Rule:
    """Return the rule that docs/adding-a-rule.md shows, made by the code that stands there."""
    page = GUIDE.read_text("utf-8")
    code = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert code is not None
    space: dict[str, Any] = {"__name__": "guide"}
    exec(compile(code[1], GUIDE.name, "exec"), space)
    (found,) = [value for value in space.values() if isinstance(value, Rule)]
    return found


def told(graph: Graph, rules: tuple[Rule, ...], to: str, method: Any) -> list[tuple[Any, ...]]:
    """Return all words about the sites of a model."""
    sites = find_sites(graph, rules, to, method)
    return [(s.layers, s.status, s.promise, s.rule, s.reason) for s in sites]


@pytest.mark.parametrize("name", ZOO)
def test_a_rule_laid_into_the_folder_changes_no_word_about_other_sites(K: Any, name: str) -> None:
    graph = read_model(ZOO[name](K)).graph
    new = rule_of_the_guide()
    others = tuple(rule for rule in all_rules() if rule.name != new.name)
    for to in TARGETS:
        everywhere = "strided_conv" if to.startswith("profile:") else to
        laid_in = Rule(
            **{**vars(new), "targets": frozenset({everywhere})},
        )
        for method in ("auto", "exact"):
            before = told(graph, others, to, method)
            after = told(graph, in_order((*others, laid_in)), to, method)
            idle = {site[0] for site in after if new.name in str(site[3])}
            assert [site for site in after if site[0] not in idle] == [
                site for site in before if site[0] not in idle
            ]


def test_every_target_is_served_by_some_rule() -> None:
    served = {target for rule in all_rules() for target in rule.targets}
    assert set(names_of_targets()) <= served
