"""Finds every downsampling call and asks the rules what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import KEEP, Replacement
from keras_downswap.ir.walks import calls_deciding_on
from keras_downswap.planning.candidates import Answer
from keras_downswap.planning.draft import Draft
from keras_downswap.planning.shared_layers import CallRef, conflicts
from keras_downswap.planning.sites import Kept, PromiseName, Selector, Site, Swapped, selector_of
from keras_downswap.planning.targets.admitted_rules import AdmittedRules, Form, Method
from keras_downswap.planning.targets.target import Question, Target
from keras_downswap.rulekit.rule import Promise, Rule

LEFT_OUT = "left out by include or exclude"


def find_sites(
    graph: Graph,
    rules: Sequence[Rule],
    to: str | Target,
    method: Method = "auto",
    include: Selector = None,
    exclude: Selector = None,
    form: Form = "same",
    forms: Mapping[CallRef, str] = MappingProxyType({}),
) -> tuple[Site, ...]:
    """Decide on every downsampling call of a model, nested models included.

    Args:
        graph: The model.
        rules: The rules in the order in which they are tried.
        to: What downsamples afterwards; `profile:NAME` for the cheapest exact forms within a
            profile's limits.
        method: `auto`, `exact` (exact rules only), or `copy` (rules that move all weights verbatim
            only).
        include: Sites to swap: a regular expression or a list of layer names, or a callable on the
            site; None for all.
        exclude: Sites to keep, likewise.
        form: What approximate swaps into convolutions put in place: the `same` kernel, one that
            `cover`s the receptive field of the pair, or a `wide` convolution.
        forms: The form of an approximate swap for calls of which it is to be another, or `kept`.

    Returns:
        One site per swap and one per kept call, in graph order.

    Raises:
        BadRequest: If `to`, `method` or `form` is unknown, or a listed layer name is not in the
            model.
    """
    admitted = AdmittedRules.of(rules, to, method, form)
    choice = _Choice(
        admitted,
        selector_of("include", include, graph),
        selector_of("exclude", exclude, graph),
        forms,
        {},
    )
    while True:
        sites: list[Site] = []
        for prefix, scope in graph.scopes():
            sites += _ScopePlanner(scope, prefix, choice).sites()
        # A layer that is called in several places is swapped alike in all of them, or in none.
        # What cannot be is barred, and everything is decided anew: other swaps may fit now. This
        # ends: a round bars some call once more than the one before did, and a call that was
        # barred often enough is kept.
        more = conflicts(graph, sites)
        if not more:
            return _in_graph_order(sites)
        choice = choice.with_barred(more)


@dataclass(frozen=True)
class _Choice:
    """What a caller wants of a model's sites.

    Attributes:
        admitted: The rules that the target, the method and the form admit.
        wanted: Whether a site is to be swapped.
        unwanted: Whether it is to be kept.
        forms: The form that single calls are to take.
        barred: Why calls had to stay, once for each time that they were barred.
    """

    admitted: AdmittedRules
    wanted: Callable[[Site], bool]
    unwanted: Callable[[Site], bool]
    forms: Mapping[CallRef, str]
    barred: Mapping[CallRef, tuple[str, ...]]

    def admits(self, site: Site) -> bool:
        return bool(self.wanted(site)) and not self.unwanted(site)

    def with_barred(self, more: Mapping[CallRef, str]) -> _Choice:
        barred = dict(self.barred)
        for where, reason in more.items():
            earlier = barred.get(where, ())
            barred[where] = (*earlier, reason)
        return replace(self, barred=barred)


class _ScopePlanner:
    """One scope being decided on, until no swap makes another possible.

    Rules are asked about a draft, in which the swaps so far are made. Asked about the model itself,
    two rules could answer for the same call, neither knowing what the other one makes of it.
    """

    def __init__(self, scope: Graph, prefix: str, choice: _Choice) -> None:
        self.old = scope
        self.prefix = prefix
        self.choice = choice
        self.admitted = choice.admitted
        self.draft = Draft.of(scope)
        self.swaps: list[Site] = []
        # Kept sites by the tensor of their call: indices change from draft to draft.
        self.kept: dict[int, Site] = {}
        self.done: set[int] = set()
        # Swaps decided on since the draft was drawn, and the calls that they change.
        self.pending: list[Replacement] = []
        self.touched: set[int] = set()

    def sites(self) -> list[Site]:
        """Return one site per swap and one per kept call."""
        self._decide_all()
        swapped = [self._with_final_steps(site) for site in self.swaps]
        kept = [*self.kept.values(), *self._untouched(), *self._unreachable()]
        return swapped + kept

    def _decide_all(self) -> None:
        """Ask about every call, again and again, until a round of all rules changes nothing."""
        rounds = self.admitted.rounds()
        number = 0
        while number < len(rounds):
            seen = self.draft
            for tensor in self._tensors_concerned(seen.graph):
                if tensor not in self.done:
                    self._ask(tensor, rounds[number])
            self._draw()
            if self.draft is seen:
                number += 1
            else:
                # A swap may make others possible, for rules of the first round too. Those come
                # first: a rule of last resort would take calls that they could still merge.
                number = 0

    def _tensors_concerned(self, graph: Graph) -> list[int]:
        tensors: list[int] = []
        for call in graph.calls:
            if self.admitted.concerns(graph, call):
                tensors.append(call.outputs[0])
        return tensors

    def _untouched(self) -> list[Site]:
        """Return the downsampling calls that the target is not about, each with the reason."""
        swapped: set[int] = set()
        for site in self.swaps:
            swapped.update(site.calls)
        found = []
        for call in self.old.calls:
            if not call.downsamples or call.index in swapped:
                continue
            if self.admitted.concerns(self.old, call):
                continue
            reason = self.admitted.why_not(call)
            found.append(_kept_site(self.old, self.prefix, [call], reason))
        return found

    def _unreachable(self) -> list[Site]:
        """Return the downsampling layers inside opaque layers, which no rule can reach."""
        found = []
        for call in self.old.calls:
            for name, class_name in call.unreachable_sites:
                inside = f"is inside {call.label}, which has no graph that could be rewritten"
                reason = f"{class_name} '{name}' {inside}"
                prefix = f"{self.prefix}{call.name}/"
                inner = replace(call, name=name)
                found.append(_kept_site(self.old, prefix, [inner], reason))
        return found

    def _draw(self) -> None:
        """Make the pending swaps in the draft, all at once: each redraws the whole."""
        if self.pending:
            self.draft = self.draft.applied(self.pending)
            self.pending = []
            self.touched = set()

    def _call_of(self, tensor: int) -> Call:
        graph = self.draft.graph
        return graph.calls[graph.tensors[tensor].producer]

    def _ask(self, tensor: int, rules: Sequence[Rule]) -> None:
        """Decide on one call as it stands now."""
        call = self._call_of(tensor)
        deciding = calls_deciding_on(self.draft.graph, call)
        if not self.touched.isdisjoint(deciding):
            # A pending swap changes what the rules would see around this call.
            self._draw()
            call = self._call_of(tensor)
        graph = self.draft.graph
        # A swap may have changed the call itself since the list of this round was made.
        if not self.admitted.concerns(graph, call):
            return
        self.kept.pop(tensor, None)
        where = self._ref(call.index)
        form = self.choice.forms.get(where)
        in_form = self.admitted.in_form(rules, form)
        question = Question(graph, call, in_form, self.admitted.to, self._bar)
        decision = self.admitted.strategy.decide(question)
        if decision.answer is None:
            self._keep(tensor, call, decision.reason)
            return
        # The answer may span more calls than were needed to decide on it, and a pending swap
        # may have replaced one of them.
        if not self.touched.isdisjoint(decision.answer.replacement.chain):
            self._draw()
            self._ask(tensor, rules)
            return
        self._swap(tensor, decision.answer, decision.reason)

    def _keep(self, tensor: int, call: Call, reason: str) -> None:
        """Report a call as kept, unless it is one that a swap made."""
        origin = self.draft.origins[call.index]
        if origin.steps == (KEEP,):
            spanned = self.admitted.site_layers(self.draft.graph, call)
            indices = [one.index for one in spanned]
            self.kept[tensor] = self._site(indices).kept(reason)

    def _swap(self, tensor: int, answer: Answer, reason: str) -> None:
        rule, replacement = answer
        exact = rule.promise is Promise.EXACT
        why_not_exact = "" if exact else reason
        outcome = Swapped(rule.name, rule.promise.value, replacement, why_not_exact)
        site = replace(self._site(replacement.chain), outcome=outcome)
        if not self.choice.admits(site):
            self.kept[tensor] = site.kept(LEFT_OUT)
            return
        # Most strategies give one answer: where it is barred, there is no other to ask for.
        barred = self._bars(replacement)
        if barred and not self.admitted.weighs_bars:
            self.kept[tensor] = site.kept(barred[0])
            return
        self.pending.append(replacement)
        self.touched.update(replacement.chain)
        if not self.admitted.strategy.is_repeatable:
            self.done.add(tensor)
        self.swaps = _joined(site, self.swaps)

    def _ref(self, index: int) -> CallRef:
        origin = self.draft.origins[index]
        return (self.old.scope, origin.index)

    def _bars(self, replacement: Replacement) -> tuple[str, ...]:
        """Return why calls that a replacement changes had to stay, the most often barred one's."""
        most: tuple[str, ...] = ()
        for index in replacement.steps:
            where = self._ref(index)
            reasons = self.choice.barred.get(where, ())
            if len(reasons) > len(most):
                most = reasons
        return most

    def _bar(self, replacement: Replacement) -> str | None:
        """Return why an answer may not be chosen: its layer could not be swapped alike elsewhere.

        A swap of one call alone is tried once more: it may be what fits in all places.
        """
        reasons = self._bars(replacement)
        tries = 1 if len(replacement.chain) == 1 else 0
        return reasons[0] if len(reasons) > tries else None

    def _site(self, calls: Iterable[int]) -> Site:
        """Return the site of some calls of the draft, in terms of the old calls they replace."""
        origins = [self.draft.origins[index] for index in calls]
        indices = sorted({origin.index for origin in origins})
        old = [self.old.calls[index] for index in indices]
        return _kept_site(self.old, self.prefix, old, "")

    def _with_final_steps(self, site: Site) -> Site:
        """Return a swapped site with all layers that replace its calls in the end."""
        assert isinstance(site.outcome, Swapped)
        # Not those of the rule's answer: later swaps may have changed its layers.
        steps = self.draft.steps(site.calls)
        signed = site.outcome.replacement.signed
        final = Replacement(site.calls, steps, signed)
        return replace(site, outcome=replace(site.outcome, replacement=final))


def _joined(site: Site, swaps: Sequence[Site]) -> list[Site]:
    """Return the swaps with one more, which absorbs those that it shares calls with."""
    apart: list[Site] = []
    for earlier in swaps:
        if set(earlier.calls).isdisjoint(site.calls):
            apart.append(earlier)
        else:
            site = _both(earlier, site)
    return [*apart, site]


def _both(earlier: Site, later: Site) -> Site:
    """Return two swaps that share calls as one."""
    first = earlier.outcome
    second = later.outcome
    assert isinstance(first, Swapped)
    assert isinstance(second, Swapped)
    names = dict(zip(earlier.calls, earlier.layers, strict=True))
    names |= dict(zip(later.calls, later.layers, strict=True))
    calls = tuple(sorted(names))
    # A chain is as exact as its weakest part.
    promise: PromiseName = "approximate"
    if first.promise == second.promise == "exact":
        promise = "exact"
    reasons = [reason for reason in (first.reason, second.reason) if reason]
    signed = first.replacement.signed and second.replacement.signed
    outcome = Swapped(
        rule=f"{first.rule} + {second.rule}",
        promise=promise,
        replacement=replace(second.replacement, signed=signed),
        reason="; ".join(reasons),
    )
    layers = tuple(names[index] for index in calls)
    return replace(later, layers=layers, calls=calls, outcome=outcome)


def _kept_site(graph: Graph, prefix: str, calls: Sequence[Call], reason: str) -> Site:
    names = tuple(prefix + call.path for call in calls)
    indices = tuple(call.index for call in calls)
    return Site(names, graph.scope, indices, Kept(reason))


def _in_graph_order(sites: list[Site]) -> tuple[Site, ...]:
    """Sort sites by where they start; scopes stay in the order in which they were decided on."""
    order: dict[int, int] = {}
    for site in sites:
        order.setdefault(site.scope, len(order))

    def place(site: Site) -> tuple[int, int]:
        return order[site.scope], min(site.calls)

    return tuple(sorted(sites, key=place))
