"""Which rule takes a call: the first of a target, the one that saves most, or the cheapest within limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Literal, NamedTuple

from keras_downswap.cost import effort
from keras_downswap.embed import embedded
from keras_downswap.emit import conv_layer
from keras_downswap.errors import BadRequest
from keras_downswap.follow import settings_of, stages
from keras_downswap.graph import POOLS, Call, Graph, Role
from keras_downswap.limits import PREFIX, Limits, limits
from keras_downswap.rule import LAST_RESORT, Elsewhere, Make, Promise, Refused, Replacement, Rule, Step, require
from keras_downswap.rules.kernel_into_larger import RULE as LARGER

Method = Literal["auto", "exact", "copy", "wide"]
METHODS: tuple[Method, ...] = ("auto", "exact", "copy", "wide")
KernelForm = Literal["same", "cover"]
KERNELS: tuple[KernelForm, ...] = ("same", "cover")
CHEAPEST = "cheapest"
KEPT = "kept"
"""The form of a call that no approximate swap may take."""


class Answer(NamedTuple):
    """What a rule answered."""

    rule: Rule
    replacement: Replacement


class Refusal(NamedTuple):
    """What a rule said no with."""

    rule: Rule
    reason: Refused


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
    def of(cls, rules: Sequence[Rule], to: str, method: Method, kernel: KernelForm = "same") -> Choice:
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
            return cls(to, exact, [r for r in exact if _admits(method, r)], bounds, method == "copy", (kernel, method))
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
        kind = "strided convolutions" if call.strided and call.role in (Role.CONV, Role.OTHER_CONV) else "pools"
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
            early = list(takewhile(lambda r: r.promise is not Promise.EXACT or r.rank < LAST_RESORT, self.open_to))
            return [early, self.open_to] if len(early) < len(self.open_to) else [self.open_to]
        ranks = sorted({rule.rank for rule in self.open_to})
        return [[rule for rule in self.open_to if rule.rank <= most] for most in ranks] or [[]]

    def spans(self, graph: Graph, call: Call) -> tuple[Call, ...]:
        """Return the calls that a refused call is reported with."""
        return next((rule.spans(graph, call) for rule in self.serving if rule.anchors(call)), (call,))

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
        refusals: list[Refusal] = []
        if self.bounds is not None:
            found = []
            for one in self._legal(self.bounds, graph, call, rules, refusals):
                barred = bar(one.replacement)
                if barred is None:
                    found.append(one)
                else:
                    refusals.append(Refusal(one.rule, Refused(barred)))
            breach = self.bounds.breach_of(call, graph.sizes(call))
            why = f"{call.label} is beyond {self.to}: {breach}; {reason_of(refusals)}"
            return max(found, key=lambda one: _saving(graph, one.replacement), default=None), why
        answers = _asked(graph, call, rules, self.to, refusals)
        if not self.adds_up:
            answer = next(answers, None)
            if answer is not None:
                return answer, reason_of([one for one in refusals if one.rule.promise is Promise.EXACT])
            none = f"no rule for to='{self.to}' that this method admits starts at {call.label}"
            return None, reason_of(refusals) or none
        found = list(answers)
        if found:
            saving, best = max(((_saving(graph, one.replacement), one) for one in found), key=lambda pair: pair[0])
            if saving > (0, 0):
                return best, ""
            dear = Refused(f"no exact form of {call.label} costs fewer multiplications, or writes less")
            refusals.append(Refusal(found[-1].rule, dear))
        return None, reason_of(refusals)

    def _legal(
        self, bounds: Limits, graph: Graph, call: Call, rules: Sequence[Rule], refusals: list[Refusal]
    ) -> Iterator[Answer]:
        """Yield every answer whose layers are within the limits, or can be embedded in larger ones that are."""
        ways = [(rule, to) for rule in rules for to in sorted(rule.targets)]
        asked = [one for rule, to in ways for one in _asked(graph, call, [rule], to, refusals)]
        plain = call.role is Role.CONV and not any(isinstance(w.padding, tuple) for w in call.windows)
        if plain and call.obstacle is None:
            same = conv_layer(call, call.windows, call.windows[0].padding)
            asked.append(Answer(LARGER, Replacement((call.index,), {call.index: (same,)})))
        for rule, replacement in asked:
            for variant in (replacement, _with_means(replacement)):
                try:
                    within = _within(bounds, graph, variant)
                    require(not self.verbatim or within == variant, f"{call.label} needs a larger kernel")
                    yield Answer(rule, within)
                except Refused as reason:
                    refusals.append(Refusal(rule, reason))


def _admits(method: Method, rule: Rule) -> bool:
    return method in ("auto", "wide") or (rule.promise is Promise.EXACT if method == "exact" else rule.verbatim)


def _asked(graph: Graph, call: Call, rules: Sequence[Rule], to: str, refusals: list[Refusal]) -> Iterator[Answer]:
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
        BadRequest: If all weights were to move unchanged, and its answer has a function for a kernel or a bias.
    """
    makes = [step for steps in answer.steps.values() for step in steps if isinstance(step, Make)]
    if rule.verbatim and any(make.kernel or make.bias for make in makes):
        raise BadRequest(
            f"the rule {rule.name} says that all weights move verbatim, and answers with another kernel or bias at "
            f"{call.label}: make it verbatim=False"
        )


def _saving(graph: Graph, answer: Replacement) -> tuple[int, int]:
    before, after = effort(graph, Replacement(answer.chain, {})), effort(graph, answer)
    return before[0] - after[0], before[1] - after[1]


def _with_means(answer: Replacement) -> Replacement:
    """Return an answer with average pools in the place of max pools of size 1, which are the same."""

    def turned(step: Step) -> Step:
        one = isinstance(step, Make) and step.kind == "MaxPooling" and set(step.settings["pool_size"]) == {1}
        return replace(step, kind="AveragePooling") if isinstance(step, Make) and one else step

    return replace(answer, steps={index: tuple(map(turned, steps)) for index, steps in answer.steps.items()})


def _within(bounds: Limits, graph: Graph, answer: Replacement) -> Replacement:
    """Return an answer within limits, kernels that are too small embedded in larger ones.

    Raises:
        Refused: If some layer is beyond them for another reason.
    """
    steps: dict[int, tuple[Step, ...]] = dict.fromkeys(answer.steps, ())
    for stage in stages(graph, answer):
        if stage.call.index not in steps:
            continue
        layers: tuple[Step, ...] = (stage.step,)
        if isinstance(stage.step, Make) and stage.step.convolves:
            strided = any(stride > 1 for stride in stage.step.settings["strides"])
            layers = embedded(stage.call, stage.step, stage.before.lengths, bounds.sizes(strided))
        for layer in layers:
            breach = (
                bounds.breach_by(layer, stage.before.lengths, settings_of(stage.call, layer))
                if isinstance(layer, Make)
                else bounds.breach_of(stage.call, stage.before.lengths)
            )
            if breach:
                raise Refused(f"the exact form of {stage.call.label} is beyond it too: {breach}")
        steps[stage.call.index] += layers
    return replace(answer, steps=steps)


def reason_of(refusals: Sequence[Refusal]) -> str:
    """Return the last reason of a rule that is for such calls; failing that, the last of any."""
    ours = [refusal for refusal in refusals if not isinstance(refusal.reason, Elsewhere)]
    return str((ours or refusals)[-1].reason) if refusals else ""
