"""Which rule takes a call: the first of a target, the one that saves most, or the cheapest within limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Literal

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import POOLS, Call, Graph, Role
from keras_downswap.ir.replacement import Replacement
from keras_downswap.planning.candidates import Answer, Refusal, asked, reason_of
from keras_downswap.planning.cost import effort
from keras_downswap.planning.limits import PREFIX, Limits, limits
from keras_downswap.planning.within_limits import legal
from keras_downswap.rulekit.rule import LAST_RESORT, Promise, Refused, Rule

Method = Literal["auto", "exact", "copy", "wide"]
METHODS: tuple[Method, ...] = ("auto", "exact", "copy", "wide")
KernelForm = Literal["same", "cover"]
KERNELS: tuple[KernelForm, ...] = ("same", "cover")
CHEAPEST = "cheapest"
KEPT = "kept"
"""The form of a call that no approximate swap may take."""


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        to: What downsamples afterwards.
        serving: The rules that serve it.
        open_to: Those of them that the method admits.
        bounds: The limits of a profile; None for any other target.
        verbatim: Whether all weights must move unchanged.
        form: What approximate swaps put in place, where a call asks for nothing else.
    """

    to: str
    serving: Sequence[Rule]
    open_to: Sequence[Rule]
    bounds: Limits | None = None
    verbatim: bool = False
    form: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, rules: Sequence[Rule], to: str, method: Method, kernel: KernelForm = "same"
    ) -> Choice:
        """Return the choice that a target, a method and a form of kernels stand for.

        Raises:
            BadRequest: If one of them is unknown, or a profile is none.
        """
        if kernel not in KERNELS:
            raise BadRequest(f"unknown kernel={kernel!r}: expected one of {', '.join(KERNELS)}")
        targets = sorted({target for rule in rules for target in rule.targets})
        if method not in METHODS:
            raise BadRequest(f"unknown method={method!r}: expected one of {', '.join(METHODS)}")
        if to.startswith(PREFIX):
            exact = [rule for rule in rules if rule.promise is Promise.EXACT]
            bounds = limits(to.removeprefix(PREFIX))
            return cls(
                to,
                exact,
                [r for r in exact if _admits(method, r)],
                bounds,
                method == "copy",
                (kernel, method),
            )
        if to not in targets:
            expected = f"expected one of {', '.join(targets)}, or {PREFIX}NAME"
            raise BadRequest(f"unknown target to={to!r}: {expected}")
        serving = [rule for rule in rules if to in rule.targets]
        return cls(to, serving, [r for r in serving if _admits(method, r)], form=(kernel, method))

    def in_form(self, rules: Sequence[Rule], form: str | None) -> Sequence[Rule]:
        """Return the rules that put a form in place; without one, that which was asked for; KEPT is served by none."""
        if form == KEPT:
            return [rule for rule in rules if rule.promise is Promise.EXACT]
        forms = ("", *(self.form if form is None else (form,)))
        return [rule for rule in rules if rule.form in forms]

    @property
    def adds_up(self) -> bool:
        """Whether a call that was swapped may be asked about again."""
        return self.to == CHEAPEST

    def anchors(self, graph: Graph, call: Call) -> bool:
        """Tell whether a call is what the target is about: some rule may start at it, or it breaks the limits."""
        if self.bounds is not None:
            return bool(call.windows) and self.bounds.breach_of(call, graph.sizes(call)) is not None
        return any(starts(call) for starts in self._starts)

    @cached_property
    def _starts(self) -> frozenset[Callable[[Call], bool]]:
        return frozenset(rule.anchors for rule in self.serving)

    def why_not(self, call: Call) -> str:
        """Say why a downsampling call is none that the target is about."""
        kind = (
            "strided convolutions"
            if call.strided and call.role in (Role.CONV, Role.OTHER_CONV)
            else "pools"
        )
        if self.bounds is not None:
            judged = call.windows and call.role in POOLS | {Role.CONV}
            stays = call.obstacle or "is of a kind that profiles set no limits on"
            return f"{call.label} is within {self.to}" if judged else f"{call.label} {stays}"
        return {
            "strided_conv": f"{call.label} already is a strided convolution",
            "subsample": f"to='subsample' concerns strided convolutions only, and {call.label} is a pool",
        }.get(
            self.to,
            f"to='{self.to}' does not concern {kind} such as {call.label}",
        )

    def levels(self) -> list[Sequence[Rule]]:
        """Return the rules to ask until nothing changes, then those to ask besides.

        Where savings add up, by rank; else those that come before an exact last resort, then all.
        """
        if self.bounds is not None:
            return [self.open_to]
        if not self.adds_up:
            early = list(
                takewhile(
                    lambda r: r.promise is not Promise.EXACT or r.rank < LAST_RESORT, self.open_to
                )
            )
            return [early, self.open_to] if len(early) < len(self.open_to) else [self.open_to]
        ranks = sorted({rule.rank for rule in self.open_to})
        return [[rule for rule in self.open_to if rule.rank <= most] for most in ranks] or [[]]

    def spans(self, graph: Graph, call: Call) -> tuple[Call, ...]:
        """Return the calls that a refused call is reported with."""
        return next(
            (rule.spans(graph, call) for rule in self.serving if rule.anchors(call)), (call,)
        )

    def best(
        self,
        graph: Graph,
        call: Call,
        rules: Sequence[Rule],
        bar: Callable[[Replacement], str | None] = lambda replacement: None,
    ) -> tuple[Answer | None, str]:
        """Return the answer that a call is swapped by, if any, and why there is none or no exact one.

        Args:
            graph: The graph.
            call: One of its calls that the target is about.
            rules: The rules to ask.
            bar: Says of an answer within limits why it may not be taken; None where it may.
        """
        if self.bounds is not None:
            return self._within(self.bounds, graph, call, rules, bar)
        return (
            self._cheapest(graph, call, rules) if self.adds_up else self._first(graph, call, rules)
        )

    def _first(self, graph: Graph, call: Call, rules: Sequence[Rule]) -> tuple[Answer | None, str]:
        refusals: list[Refusal] = []
        answer = next(asked(graph, call, rules, self.to, refusals), None)
        if answer is not None:
            return answer, reason_of([one for one in refusals if one.rule.promise is Promise.EXACT])
        none = f"no rule for to='{self.to}' that this method admits starts at {call.label}"
        return None, reason_of(refusals) or none

    def _cheapest(
        self, graph: Graph, call: Call, rules: Sequence[Rule]
    ) -> tuple[Answer | None, str]:
        refusals: list[Refusal] = []
        found = list(asked(graph, call, rules, self.to, refusals))
        if found:
            saving, best = max(
                ((_saving(graph, one.replacement), one) for one in found), key=lambda pair: pair[0]
            )
            if saving > (0, 0):
                return best, ""
            dear = Refused(
                f"no exact form of {call.label} costs fewer multiplications, or writes less"
            )
            refusals.append(Refusal(found[-1].rule, dear))
        return None, reason_of(refusals)

    def _within(
        self,
        bounds: Limits,
        graph: Graph,
        call: Call,
        rules: Sequence[Rule],
        bar: Callable[[Replacement], str | None],
    ) -> tuple[Answer | None, str]:
        refusals: list[Refusal] = []
        found = []
        for one in legal(bounds, graph, call, rules, self.verbatim, refusals):
            barred = bar(one.replacement)
            if barred is None:
                found.append(one)
            else:
                refusals.append(Refusal(one.rule, Refused(barred)))
        breach = bounds.breach_of(call, graph.sizes(call))
        why = f"{call.label} is beyond {self.to}: {breach}; {reason_of(refusals)}"
        return max(found, key=lambda one: _saving(graph, one.replacement), default=None), why


def _admits(method: Method, rule: Rule) -> bool:
    return method in ("auto", "wide") or (
        rule.promise is Promise.EXACT if method == "exact" else rule.verbatim
    )


def _saving(graph: Graph, answer: Replacement) -> tuple[int, int]:
    before, after = effort(graph, Replacement(answer.chain, {})), effort(graph, answer)
    return before[0] - after[0], before[1] - after[1]
