"""The exact answer that saves most: multiplications first, then values that are written."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.planning.candidates import Answer, Refusal, candidate_answers, reason_of
from keras_downswap.planning.targets.target import Decision, Question, Strategy, saving
from keras_downswap.rulekit.rule import Rule


class MostSaved(Strategy):
    """Swaps a call by the answer that saves most, again and again until none saves anything."""

    is_repeatable = True

    def rounds(self, rules: Sequence[Rule]) -> list[Sequence[Rule]]:
        """Return the rules by rank: those of a rank are asked besides all of lower ranks."""
        ranks = sorted({rule.rank for rule in rules})
        found: list[Sequence[Rule]] = []
        for highest in ranks:
            found.append([rule for rule in rules if rule.rank <= highest])
        return found or [[]]

    def decide(self, question: Question) -> Decision:
        """Choose the answer that saves most, if it saves anything."""
        refusals: list[Refusal] = []
        graph, call = question.graph, question.call
        best: Answer | None = None
        most = (0, 0)
        last: Answer | None = None
        for answer in candidate_answers(graph, call, question.rules, question.to, refusals):
            last = answer
            saved = saving(graph, answer.replacement)
            # Only what saves something: otherwise two forms could replace each other for ever.
            # Of equals the first is used, as rules are in the order of preference.
            if saved > most:
                best = answer
                most = saved
        if best is not None:
            return Decision(best, "")
        if last is not None:
            cheaper = "costs fewer multiplications, or writes less"
            return Decision(None, f"no exact form of {call.label} {cheaper}")
        return Decision(None, reason_of(refusals))
