"""Finds every downsampling call and asks the rules what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from keras_downswap.compose import advanced, after
from keras_downswap.errors import BadRequest
from keras_downswap.graph import Call, Graph, Role
from keras_downswap.rule import Elsewhere, Promise, Refused, Rule
from keras_downswap.settle import settle
from keras_downswap.site import Selector, Site, selector_of

Method = Literal["auto", "exact", "copy"]
METHODS: tuple[Method, ...] = ("auto", "exact", "copy")


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
    sites = [site for prefix, scope in graph.scopes() for site in _sites_in(scope, prefix, choice)]
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


def _sites_in(scope: Graph, prefix: str, choice: _Choice) -> list[Site]:
    """Decide on every downsampling call of one scope, until no swap makes another possible."""
    now, sites, covered = scope, list[Site](), set[int]()
    waiting = _anchors(scope, choice.serving)
    while True:
        kept: list[Call] = []
        before, decided = now, list[Site]()
        for call in waiting:
            site = _decide(now, prefix, now.calls[call.index], choice)
            if site.replacement is None:
                kept.append(call)
                decided.append(site)
                continue
            now = advanced(now, site.replacement) or now
            sites.append(site if covered.isdisjoint(site.calls) else _joined(site, sites))
            covered.update(site.calls)
        waiting = kept
        if now is before or not kept:
            break
    sites += decided
    sites += [_already(scope, prefix, c, choice.to) for c in _leftover(scope, choice.serving, covered)]
    return sites + [_hidden(scope, prefix, c, hidden) for c in scope.calls for hidden in c.hidden]


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


def _decide(graph: Graph, prefix: str, call: Call, choice: _Choice) -> Site:
    refusals: list[Refused] = []
    for rule in choice.open_to:
        if not rule.anchors(call):
            continue
        try:
            answer = rule.apply(graph, call, choice.to)
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
        if not choice.wanted(chosen) or choice.unwanted(chosen):
            return chosen.kept("left out by include or exclude")
        return chosen
    spans = next(rule.spans for rule in choice.serving if rule.anchors(call))
    site = _site(graph, prefix, spans(graph, call))
    return site.kept(
        _reason(refusals) or f"no rule for to='{choice.to}' that this method admits starts at {call.label}"
    )


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
