"""Writes docs/rules.md: every rule with its law, an example, a refusal, its promise and its error.

    python docs/rules.py > docs/rules.md

Examples and refusals stand in the rules' files. Each example is swapped and run, in float32 and
float64, and the first is drawn; each refusal is asked for, and its words are shown.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from support.examples import built

from keras_downswap import NothingSwapped, plan_swaps
from keras_downswap.dialects import read_model
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.cost import site_cost
from keras_downswap.rulekit import Example, Refusal, Refused, Rule
from keras_downswap.rules import own_rules

DTYPES = ("float32", "float64")
HEAD = """# Every rule

Written by `python docs/rules.py > docs/rules.md` from the rules themselves and from the models in
their files, which it swaps and runs; a test holds it to the code. Rules of a target are asked in
this order, and the first that does not refuse swaps the call; `cheapest` and profiles ask all and
use the one that saves most multiplications. Pools are counted as costing none.
"""


def target_of(rule: Rule, example: Example) -> str:
    usual = "strided_conv" if "strided_conv" in rule.targets else min(rule.targets)
    return example.to or usual


def options_of(rule: Rule) -> dict[str, Any]:
    return {"form": rule.form} if rule.form else {}


def drawn(graph: Graph) -> str:
    lines = [line for line in str(graph).splitlines() if "InputLayer" not in line]
    return "\n".join(f"    {line}" for line in lines)


def graph_of(model: Any) -> Graph:
    return read_model(model).graph


def largest_difference(old: Any, new: Any, dtype: str) -> float:
    shape = (2, *old.input_shape[1:])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(dtype)
    a, b = (np.asarray(model(x, training=False)) for model in (old, new))
    return float(np.abs(a - b).max() / np.abs(a).max())


def bound(value: float) -> str:
    """Return a difference as the next power of ten above it."""
    return "0" if value == 0 else f"< 1e{int(np.ceil(np.log10(value)))}"


def site_of(rule: Rule, example: Example, plan: Any) -> Any:
    """Return the site that a rule swaps in its own example."""
    for site in plan.swaps:
        if rule.name in str(site.rule).split(" + "):
            return site
    raise AssertionError(f"{rule.name} does not swap its example:\n{plan}")


def refusal_of(rule: Rule, refusal: Refusal) -> str:
    """Return the words with which a rule refuses a model."""
    graph = graph_of(built(refusal))
    reasons = []
    for call in graph.calls:
        if not rule.anchors(call):
            continue
        try:
            rule.ask(graph, call, target_of(rule, refusal))
        except Refused as reason:
            reasons.append(str(reason))
        else:
            raise AssertionError(f"{rule.name} does not refuse {call.label}")
    for reason in reasons:
        if refusal.reason in reason:
            return reason
    raise AssertionError(f"{rule.name}: expected {refusal.reason!r}, received {reasons}")


def section(rule: Rule) -> str:
    worst = dict.fromkeys(DTYPES, 0.0)
    first: Any = None
    for example, dtype in product(rule.examples, DTYPES):
        old = built(example, dtype)
        plan = plan_swaps(old, to=target_of(rule, example), **options_of(rule))
        site = site_of(rule, example, plan)
        graph, new = plan.graph_of(site), plan.apply()
        worst[dtype] = max(worst[dtype], largest_difference(old, new, dtype))
        first = first or (drawn(graph), drawn(graph_of(new)), site_cost(graph, site))
    before, after, cost = first
    law = str(import_module(f"keras_downswap.rules.{rule.name}").__doc__).strip()
    facts = [
        f"serves: {', '.join(f'`{target}`' for target in sorted(rule.targets))}",
        *(f'asked for with `{key}="{value}"`' for key, value in options_of(rule).items()),
        f"promise: {rule.promise.value}" + ("; weights move verbatim" if rule.verbatim else ""),
        f"MACs of the example: {_ratio(cost.before.macs, cost.after.macs)}",
    ]
    if rule.promise.value == "exact":
        errors = ", ".join(f"{bound(error)} in {dtype}" for dtype, error in worst.items())
        count = len(rule.examples)
        models = f"{count} models" if count > 1 else "1 model"
        facts.append(f"largest difference over {models}, relative to the largest output: {errors}")
    listed = "\n".join(f"* {fact}" for fact in facts)
    refused = "\n".join(f"* {refusal_of(rule, refusal)}" for refusal in rule.refusals)
    return (
        f"## {rule.name}\n\n{rule.summary}\n\n{listed}\n\n{law}\n\nBefore:\n\n{before}\n\n"
        f"After:\n\n{after}\n\nIt refuses, for example:\n\n{refused}\n"
    )


def _ratio(before: int | None, after: int | None) -> str:
    if not before or after is None:
        return f"{before or 0:,} -> {after or 0:,}"
    return f"{before:,} -> {after:,} ({after / before:.2f})"


def page() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingSwapped)
        sections = [section(rule) for rule in own_rules()]
    rows = [
        f"| [{rule.name}](#{rule.name}) | {rule.promise.value} | {rule.summary} |"
        for rule in own_rules()
    ]
    head = "| rule | promise | what it does |\n| --- | --- | --- |"
    index = "\n".join([head, *rows])
    return "\n".join([HEAD, f"{index}\n", *sections])


if __name__ == "__main__":
    print(page(), end="")
