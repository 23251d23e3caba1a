"""The first rule that fits, exact ones before approximate ones."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.planning.candidates import Refusal, candidate_answers, reason_of
from keras_downswap.planning.targets.target import Decision, Question, Strategy
from keras_downswap.rulekit.rule import LAST_RESORT, Promise, Rule


class FirstRule(Strategy):
    """Swaps a call by the first rule that does not refuse."""

    def rounds(self, rules: Sequence[Rule]) -> list[Sequence[Rule]]:
        """Return the rules before an exact one of last resort, then all.

        What comes after a pool may still take the pool: a pool by itself is swapped only when no
        other rule finds anything more.
        """
        early: list[Rule] = []
        for rule in rules:
            if rule.promise is Promise.EXACT and rule.rank >= LAST_RESORT:
                return [early, rules]
            early.append(rule)
        return [rules]

    def decide(self, question: Question) -> Decision:
        """Choose the first answer."""
        refusals: list[Refusal] = []
        graph, call = question.graph, question.call
        found = candidate_answers(graph, call, question.rules, question.to, refusals)
        # Rules after the first that fits are not even asked: their order is the preference.
        answer = next(found, None)
        if answer is not None:
            exact = [refusal for refusal in refusals if refusal.rule.promise is Promise.EXACT]
            return Decision(answer, reason_of(exact))
        none = f"no rule for to='{question.to}' that this method admits starts at {call.label}"
        return Decision(None, reason_of(refusals) or none)
