"""What rules answer when they are asked about a call, and what the others say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import MakeConv, Replacement
from keras_downswap.planning.answers import answer_of
from keras_downswap.rulekit.rule import NotApplicable, Refused, Rule


class Answer(NamedTuple):
    """What a rule answered."""

    rule: Rule
    replacement: Replacement


class Refusal(NamedTuple):
    """What a rule refused with."""

    rule: Rule
    reason: Refused


def candidate_answers(
    graph: Graph, call: Call, rules: Sequence[Rule], to: str, refusals: list[Refusal]
) -> Iterator[Answer]:
    """Yield the rules that fit a call, with their answers, and note what the others say."""
    for rule in rules:
        if not rule.anchors(call):
            continue
        try:
            answer = answer_of(rule, graph, call, to)
        except Refused as reason:
            refusals.append(Refusal(rule, reason))
            continue
        _check_verbatim(rule, call, answer)
        yield Answer(rule, answer)


def _check_verbatim(rule: Rule, call: Call, answer: Replacement) -> None:
    """Refuse a rule that answers otherwise than it says.

    Raises:
        BadRequest: If all weights were to move unchanged, and its answer has a function for a
            kernel or a bias.
    """
    if not rule.verbatim:
        return
    for steps in answer.steps.values():
        for step in steps:
            changed = isinstance(step, MakeConv) and (step.kernel or step.bias)
            if changed:
                raise BadRequest(
                    f"the rule {rule.name} says that all weights move verbatim, and answers with "
                    f"another kernel or bias at {call.label}: make it verbatim=False"
                )


def reason_of(refusals: Sequence[Refusal]) -> str:
    """Return the reason of the rule that got furthest.

    A rule that is about such calls comes before one that is not; then the one with more conditions
    that held. Of equals the last one is shown: the rules are asked from the most to the least
    demanding. So a further rule changes nothing that is said of calls that it does not concern.
    """
    best: Refusal | None = None
    # Below every rank that there is: the first refusal is better than none.
    best_rank = (False, -1)
    for refusal in refusals:
        about_it = not isinstance(refusal.reason, NotApplicable)
        # How far a rule got that is about other calls says nothing about this one.
        rank = (about_it, refusal.reason.passed if about_it else 0)
        # Of equals the last: see above.
        if rank >= best_rank:
            best = refusal
            best_rank = rank
    return "" if best is None else str(best.reason)
