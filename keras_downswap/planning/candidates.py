"""What rules answer when they are asked about a call, and what the others say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.rulekit.rule import NotApplicable, Refused, Rule


class Answer(NamedTuple):
    """What a rule answered."""

    rule: Rule
    replacement: Replacement


class Refusal(NamedTuple):
    """What a rule said no with."""

    rule: Rule
    reason: Refused


def asked(
    graph: Graph, call: Call, rules: Sequence[Rule], to: str, refusals: list[Refusal]
) -> Iterator[Answer]:
    """Yield the rules that take a call, with their answers, and note what the others say."""
    for rule in rules:
        if rule.anchors(call):
            try:
                answer = rule.apply(graph, call, to)
            except Refused as reason:
                refusals.append(Refusal(rule, reason))
            else:
                _check_verbatim(rule, call, answer)
                yield Answer(rule, answer)


def _check_verbatim(rule: Rule, call: Call, answer: Replacement) -> None:
    """Refuse a rule that answers otherwise than it says.

    Raises:
        BadRequest: If all weights were to move unchanged, and its answer has a function for a
            kernel or a bias.
    """
    makes = [step for steps in answer.steps.values() for step in steps if isinstance(step, Make)]
    if rule.verbatim and any(make.kernel or make.bias for make in makes):
        raise BadRequest(
            f"the rule {rule.name} says that all weights move verbatim, and answers with another kernel or bias at "
            f"{call.label}: make it verbatim=False"
        )


def reason_of(refusals: Sequence[Refusal]) -> str:
    """Return the last reason of a rule that is for such calls; failing that, the last of any."""
    ours = [refusal for refusal in refusals if not isinstance(refusal.reason, NotApplicable)]
    return str((ours or refusals)[-1].reason) if refusals else ""
