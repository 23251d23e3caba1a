"""Finds every downsampling call and asks the rules what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from keras_downswap.compose import Draft
from keras_downswap.cost import effort
from keras_downswap.errors import BadRequest
from keras_downswap.graph import Call, Graph, Role
from keras_downswap.rule import KEEP, Elsewhere, Promise, Refused, Replacement, Rule
from keras_downswap.settle import settle
from keras_downswap.site import Selector, Site, selector_of

Method = Literal["auto", "exact", "copy"]
METHODS: tuple[Method, ...] = ("auto", "exact", "copy")
CHEAPEST = "cheapest"


def find_sites(
    graph: Graph,
    rules: Sequence[Rule],
    to: str,
    method: Method = "auto",
    include: Selector = None,
    exclude: Selector = None,
) -> tuple[Site, ...]:
    """Decide on every downsampling call of a model, nested models included.

    Args:
        graph: The model.
        rules: The rules in the order in which they are tried.
        to: What downsamples afterwards.
        method: `auto`, `exact` (exact rules only) or `copy` (rules that move all weights verbatim only).
        include: Sites to swap: a regular expression or a list of layer names, or a callable on the site; None for all.
        exclude: Sites to keep, likewise.

    Returns:
        One site per swap and one per kept call, in graph order.

    Raises:
        BadRequest: If `to` or `method` is unknown, or a listed layer name is not in the model.
    """
    targets = sorted({target for rule in rules for target in rule.targets})
    if to not in targets:
        raise BadRequest(f"unknown target to={to!r}: expected one of {', '.join(targets)}")
    if method not in METHODS:
        raise BadRequest(f"unknown method={method!r}: expected one of {', '.join(METHODS)}")
    serving = [r for r in rules if to in r.targets]
    choice = _Choice(
        to,
        serving,
        [r for r in serving if _admits(method, r)],
        selector_of("include", include, graph),
        selector_of("exclude", exclude, graph),
    )
    sites = [site for prefix, scope in graph.scopes() for site in _Scope(scope, prefix, choice).sites()]
    return _in_order(settle(graph, sites))


@dataclass(frozen=True)
class _Choice:
    """What was asked for.

    Attributes:
        to: What downsamples afterwards.
        serving: The rules that serve it.
        open_to: Those of them that the method admits.
        wanted: Whether a caller included a site.
        unwanted: Whether a caller excluded it.
    """

    to: str
    serving: Sequence[Rule]
    open_to: Sequence[Rule]
    wanted: Callable[[Site], bool]
    unwanted: Callable[[Site], bool]

    def anchors(self, call: Call) -> bool:
        """Tell whether some rule may start at a call."""
        return any(rule.anchors(call) for rule in self.serving)

    def levels(self) -> list[Sequence[Rule]]:
        """Return the rules to ask until nothing changes, then those to ask besides: where savings add up, by rank."""
        ranks = sorted({rule.rank for rule in self.open_to})
        if self.to != CHEAPEST:
            return [self.open_to]
        return [[rule for rule in self.open_to if rule.rank <= most] for most in ranks] or [[]]


class _Scope:
    """One scope being decided on, until no swap makes another possible."""

    def __init__(self, scope: Graph, prefix: str, choice: _Choice) -> None:
        self.old, self.prefix, self.choice = scope, prefix, choice
        self.draft = Draft.of(scope)
        self.swaps: list[Site] = []
        self.kept: dict[int, Site] = {}
        self.done: set[int] = set()

    def sites(self) -> list[Site]:
        """Return one site per swap and one per kept call."""
        levels = self.choice.levels()
        at = 0
        while at < len(levels):
            seen = self.draft
            for tensor in [c.outputs[0] for c in seen.graph.calls if self.choice.anchors(c)]:
                call = self.draft.graph.calls[self.draft.graph.tensors[tensor].producer]
                if self.choice.anchors(call) and tensor not in self.done:
                    self._ask(tensor, call, levels[at])
            at = at + 1 if seen is self.draft else 0
        swapped = {index for site in self.swaps for index in site.calls}
        made = [self._with_steps(site) for site in self.swaps]
        kept = [site for site in self.kept.values() if site.calls]
        anchored = {c.index for c in self.old.calls if self.choice.anchors(c)}
        others = [c for c in self.old.calls if c.downsamples and c.index not in swapped | anchored]
        hidden = [_hidden(self.old, self.prefix, c, inside) for c in self.old.calls for inside in c.hidden]
        return [*made, *kept, *(_already(self.old, self.prefix, c, self.choice.to) for c in others), *hidden]

    def _ask(self, tensor: int, call: Call, rules: Sequence[Rule]) -> None:
        """Decide on one call as it stands now."""
        self.kept.pop(tensor, None)
        rule, answer, refusals = _best(self.draft.graph, call, rules, self.choice.to)
        steps = self.draft.homes[call.index][1]
        if rule is None or answer is None:
            if steps == (KEEP,):
                spans = next(rule.spans for rule in self.choice.serving if rule.anchors(call))
                why = f"no rule for to='{self.choice.to}' that this method admits starts at {call.label}"
                self.kept[tensor] = self._site(c.index for c in spans(self.draft.graph, call)).kept(
                    _reason(refusals) or why
                )
            return
        exact = rule.promise is Promise.EXACT
        site = replace(
            self._site(answer.chain),
            status="swapped",
            promise=rule.promise.value,
            rule=rule.name,
            reason="" if exact else _reason(refusals),
            replacement=answer,
        )
        if not self.choice.wanted(site) or self.choice.unwanted(site):
            self.kept[tensor] = site.kept("left out by include or exclude")
            return
        self.draft = self.draft.applied(answer)
        if self.choice.to != CHEAPEST:
            self.done.add(tensor)
        self.swaps = _joined(site, self.swaps)

    def _site(self, calls: Iterable[int]) -> Site:
        """Return the site of some calls of the draft, in terms of the old ones in whose place they stand."""
        return _site(
            self.old, self.prefix, [self.old.calls[i] for i in sorted({self.draft.homes[i][0] for i in calls})]
        )

    def _with_steps(self, site: Site) -> Site:
        signed = site.replacement is None or site.replacement.signed
        return replace(site, replacement=Replacement(site.calls, self.draft.steps(site.calls), signed))


def _joined(site: Site, swaps: Sequence[Site]) -> list[Site]:
    """Return the swaps with one more, which takes into itself those that it shares calls with."""
    apart: list[Site] = []
    for earlier in swaps:
        if earlier.replacement is None or site.replacement is None or set(earlier.calls).isdisjoint(site.calls):
            apart.append(earlier)
            continue
        calls = sorted({*zip(earlier.calls, earlier.layers, strict=True), *zip(site.calls, site.layers, strict=True)})
        site = replace(
            site,
            layers=tuple(name for _, name in calls),
            promise="exact" if earlier.promise == site.promise == "exact" else "approximate",
            rule=f"{earlier.rule} + {site.rule}",
            reason="; ".join(filter(None, (earlier.reason, site.reason))),
            calls=tuple(index for index, _ in calls),
            replacement=replace(site.replacement, signed=earlier.replacement.signed and site.replacement.signed),
        )
    return [*apart, site]


def _admits(method: Method, rule: Rule) -> bool:
    return method == "auto" or (rule.promise is Promise.EXACT if method == "exact" else rule.verbatim)


def _best(
    graph: Graph, call: Call, rules: Sequence[Rule], to: str
) -> tuple[Rule | None, Replacement | None, list[Refused]]:
    """Return the first rule that takes a call, or the one that saves most where that is asked for; and the refusals."""
    refusals: list[Refused] = []
    found: list[tuple[tuple[int, int], Rule, Replacement]] = []
    for rule in rules:
        if not rule.anchors(call):
            continue
        try:
            answer = rule.apply(graph, call, to)
        except Refused as refusal:
            refusals.append(refusal)
            continue
        if to != CHEAPEST:
            return rule, answer, refusals
        before, after = effort(graph, Replacement(answer.chain, {})), effort(graph, answer)
        found.append(((before[0] - after[0], before[1] - after[1]), rule, answer))
    if found:
        saving, rule, answer = max(found, key=lambda one: one[0])
        if saving > (0, 0):
            return rule, answer, refusals
        refusals.append(
            Refused(f"no exact form of {call.label} costs fewer multiplications, or as many and writes less")
        )
    return None, None, refusals


def _reason(refusals: Sequence[Refused]) -> str:
    """Return the last reason of a rule that is for such calls; failing that, the last of any."""
    ours = [refusal for refusal in refusals if not isinstance(refusal, Elsewhere)]
    return str((ours or refusals)[-1]) if refusals else ""


def _site(graph: Graph, prefix: str, calls: Sequence[Call]) -> Site:
    names = tuple(prefix + call.path for call in calls)
    return Site(names, "kept", None, None, "", graph.scope, tuple(call.index for call in calls))


def _already(graph: Graph, prefix: str, call: Call, to: str) -> Site:
    what = "strided convolutions" if call.strided and call.role in (Role.CONV, Role.OTHER_CONV) else "pools"
    reason = {
        "strided_conv": f"{call.label} already is a strided convolution",
        "subsample": f"to='subsample' concerns strided convolutions only, and {call.label} is a pool",
    }.get(to, f"to='{to}' does not concern {what} such as {call.label}")
    return _site(graph, prefix, [call]).kept(reason)


def _hidden(graph: Graph, prefix: str, call: Call, hidden: tuple[str, str]) -> Site:
    name, class_name = hidden
    site = _site(graph, f"{prefix}{call.name}/", [replace(call, name=name)])
    return site.kept(f"{class_name} '{name}' is inside {call.label}, which has no graph that could be rewritten")


def _in_order(sites: list[Site]) -> tuple[Site, ...]:
    scopes = list(dict.fromkeys(site.scope for site in sites))
    return tuple(sorted(sites, key=lambda s: (scopes.index(s.scope), min(s.calls))))
