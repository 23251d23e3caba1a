"""Finds every downsampling call, asks the rules, and settles which swaps can stand together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from keras_downswap.compose import advanced, after, pool_follows
from keras_downswap.errors import BadRequest
from keras_downswap.graph import Call, Graph, Role
from keras_downswap.rule import Elsewhere, Make, Promise, Refused, Replacement, Rule

Method = Literal["auto", "exact", "copy"]
METHODS: tuple[Method, ...] = ("auto", "exact", "copy")


@dataclass(frozen=True)
class Site:
    """One place where the model downsamples, and what becomes of it.

    Attributes:
        layers: Names of the layers it spans, upstream first; nested ones as `outer/inner`.
        status: `swapped` or `kept`.
        promise: `exact` or `approximate`; None where kept.
        rule: Name of the rule; None where kept.
        reason: Why it is kept, or why no exact swap was found; empty for an exact swap.
        scope: Number of the graph that holds it.
        calls: Indices of the calls it spans, in that graph.
        replacement: What the rule answered; None where kept.
    """

    layers: tuple[str, ...]
    status: Literal["swapped", "kept"]
    promise: Literal["exact", "approximate"] | None
    rule: str | None
    reason: str
    scope: int
    calls: tuple[int, ...]
    replacement: Replacement | None = None

    def kept(self, reason: str) -> Site:
        """Return this site, kept for a reason."""
        return replace(self, status="kept", promise=None, rule=None, reason=reason, replacement=None)


Selector = str | re.Pattern[str] | Iterable[str] | Callable[[Site], bool] | None


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
    open_to = [r for r in serving if _admits(method, r)]
    wanted, unwanted = _selector("include", include, graph), _selector("exclude", exclude, graph)
    sites: list[Site] = []
    for prefix, scope in graph.scopes():
        covered: set[int] = set()
        now = scope
        for call in _anchors(scope, serving):
            site = _decide(now, prefix, now.calls[call.index], serving, open_to, to, wanted, unwanted)
            answer = site.replacement
            if answer is not None:
                site = site if covered.isdisjoint(site.calls) else _joined(site, sites)
                covered.update(site.calls)
                now = advanced(now, answer) if pool_follows(now, call) else now
            sites.append(site)
        sites += [_already(scope, prefix, c, to) for c in _leftover(scope, serving, covered)]
        sites += [_hidden(scope, prefix, c, hidden) for c in scope.calls for hidden in c.hidden]
    return _in_order(_settle(graph, sites))


def _joined(site: Site, sites: list[Site]) -> Site:
    """Take an earlier site whose calls a new one spans into the new one, and out of the list."""
    for earlier in [s for s in sites if s.replacement is not None and s.scope == site.scope]:
        if earlier.replacement is None or site.replacement is None or set(earlier.calls).isdisjoint(site.calls):
            continue
        sites.remove(earlier)
        both = after(earlier.replacement, site.replacement)
        fresh = [name for name in site.layers if name not in earlier.layers]
        exact = earlier.promise == site.promise == "exact"
        site = replace(
            site,
            layers=(*earlier.layers, *fresh),
            promise="exact" if exact else "approximate",
            rule=f"{earlier.rule} + {site.rule}",
            reason="; ".join(filter(None, (earlier.reason, site.reason))),
            calls=both.chain,
            replacement=both,
        )
    return site


def _admits(method: Method, rule: Rule) -> bool:
    return method == "auto" or (rule.promise is Promise.EXACT if method == "exact" else rule.verbatim)


def _anchors(graph: Graph, serving: Sequence[Rule]) -> list[Call]:
    return [c for c in graph.calls if any(rule.anchors(c) for rule in serving)]


def _leftover(graph: Graph, serving: Sequence[Rule], covered: set[int]) -> list[Call]:
    anchored = {c.index for c in _anchors(graph, serving)}
    return [c for c in graph.calls if c.downsamples and c.index not in covered | anchored]


def _decide(
    graph: Graph,
    prefix: str,
    call: Call,
    serving: Sequence[Rule],
    open_to: Sequence[Rule],
    to: str,
    wanted: Callable[[Site], bool],
    unwanted: Callable[[Site], bool],
) -> Site:
    refusals: list[Refused] = []
    for rule in open_to:
        if not rule.anchors(call):
            continue
        try:
            answer = rule.apply(graph, call, to)
        except Refused as refusal:
            refusals.append(refusal)
            continue
        chosen = replace(
            _site(graph, prefix, [graph.calls[i] for i in answer.chain]),
            status="swapped",
            promise=rule.promise.value,
            rule=rule.name,
            reason="" if rule.promise is Promise.EXACT else _reason(refusals),
            replacement=answer,
        )
        if not wanted(chosen) or unwanted(chosen):
            return chosen.kept("left out by include or exclude")
        return chosen
    spans = next(rule.spans for rule in serving if rule.anchors(call))
    site = _site(graph, prefix, spans(graph, call))
    return site.kept(_reason(refusals) or f"no rule for to='{to}' that this method admits starts at {call.label}")


def _reason(refusals: Sequence[Refused]) -> str:
    """Return the last reason of a rule that is for such calls; failing that, the last of any."""
    ours = [refusal for refusal in refusals if not isinstance(refusal, Elsewhere)]
    return str((ours or refusals)[-1]) if refusals else ""


def _site(graph: Graph, prefix: str, calls: Sequence[Call]) -> Site:
    names = tuple(prefix + call.name for call in calls)
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


def _settle(graph: Graph, sites: list[Site]) -> list[Site]:
    """Keep every site whose shared layer is not swapped alike in all its calls: a swap would untie its weights."""
    graphs = {scope.scope: scope for _, scope in graph.scopes()}
    calls_of: dict[int, list[tuple[int, int]]] = {}
    for scope in graphs.values():
        for call in scope.calls:
            calls_of.setdefault(call.layer, []).append((scope.scope, call.index))
            for layer in call.inside:
                calls_of.setdefault(layer, []).append((scope.scope, call.index))
    while True:
        made = _made(sites, graphs)
        settled = [_checked(site, graphs, calls_of, made) for site in sites]
        if settled == sites:
            return sites
        sites = settled


def _made(sites: Iterable[Site], graphs: Mapping[int, Graph]) -> Mapping[tuple[int, int], Make]:
    """Return, for each call whose layer lends a new one its weights or the name of an output, what it is made into."""
    return {
        (site.scope, index): step
        for site in sites
        if site.replacement is not None
        for index, steps in site.replacement.steps.items()
        for step in steps
        if isinstance(step, Make)
        if step.like is not None or (step.kind == "Activation" and step.name == graphs[site.scope].calls[index].name)
    }


def _checked(
    site: Site,
    graphs: Mapping[int, Graph],
    calls_of: Mapping[int, list[tuple[int, int]]],
    made: Mapping[tuple[int, int], Make],
) -> Site:
    if site.replacement is None:
        return site
    for index in site.replacement.steps:
        mine = made.get((site.scope, index))
        if mine is None:
            continue
        call = graphs[site.scope].calls[index]
        others = [made.get(where) for where in calls_of[call.layer]]
        if any(other is None for other in others):
            return site.kept(f"{call.label} is used in {len(others)} places, and not each of them can be swapped")
        if any(_form(other) != _form(mine) for other in others if other is not None):
            return site.kept(f"{call.label} is used in {len(others)} places, which would need different swaps")
    return site


def _form(make: Make) -> tuple[str, str]:
    return make.kind, repr((sorted(make.settings.items()), make.kernel))


def _in_order(sites: list[Site]) -> tuple[Site, ...]:
    scopes = list(dict.fromkeys(site.scope for site in sites))
    return tuple(sorted(sites, key=lambda s: (scopes.index(s.scope), min(s.calls))))


def _selector(argument: str, selector: Selector, graph: Graph) -> Callable[[Site], bool]:
    if selector is None:
        return lambda site: argument == "include"
    if callable(selector):
        return selector
    if isinstance(selector, str | re.Pattern):
        pattern = _pattern(argument, selector)
        return lambda site: any(pattern.search(name) for name in site.layers)
    names = frozenset(selector) if isinstance(selector, Iterable) else frozenset()
    if not isinstance(selector, Iterable) or not all(isinstance(name, str) for name in names):
        raise BadRequest(
            f"{argument} takes a regular expression, a list of layer names, or a callable on the site; "
            f"received {selector!r}"
        )
    unknown = names - {prefix + call.name for prefix, scope in graph.scopes() for call in scope.calls}
    if unknown:
        raise BadRequest(f"{argument} names no layer of the model: {', '.join(sorted(unknown))}")
    return lambda site: not names.isdisjoint(site.layers)


def _pattern(argument: str, expression: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise BadRequest(f"{argument}={expression!r} is not a regular expression: {error}") from error
