"""Finds every downsampling call and asks the rules what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import KEEP, Replacement
from keras_downswap.ir.walks import calls_deciding_on
from keras_downswap.planning.choose import KERNELS, METHODS, Choice, KernelForm, Method
from keras_downswap.planning.draft import Draft
from keras_downswap.planning.shared_layers import CallRef, conflicts
from keras_downswap.planning.sites import Selector, Site, selector_of
from keras_downswap.rulekit.rule import Promise, Rule

__all__ = ["KERNELS", "METHODS", "KernelForm", "Method", "find_sites"]


def find_sites(
    graph: Graph,
    rules: Sequence[Rule],
    to: str,
    method: Method = "auto",
    include: Selector = None,
    exclude: Selector = None,
    kernel: KernelForm = "same",
    forms: Mapping[CallRef, str] = MappingProxyType({}),
) -> tuple[Site, ...]:
    """Decide on every downsampling call of a model, nested models included.

    Args:
        graph: The model.
        rules: The rules in the order in which they are tried.
        to: What downsamples afterwards; `profile:NAME` for the cheapest exact forms within a
            profile's limits.
        method: `auto`, `exact` (exact rules only), `copy` (rules that move all weights verbatim
            only), or `wide`.
        include: Sites to swap: a regular expression or a list of layer names, or a callable on the
            site; None for all.
        exclude: Sites to keep, likewise.
        kernel: Of approximate swaps into convolutions: the `same` kernel, or one that `cover`s the
            pair's field.
        forms: The form of an approximate swap for calls of which it is to be another: a kernel,
            `wide`, or `kept`.

    Returns:
        One site per swap and one per kept call, in graph order.

    Raises:
        BadRequest: If `to`, `method` or `kernel` is unknown, or a listed layer name is not in the
            model.
    """
    choice = Choice.of(rules, to, method, kernel)
    wanted, unwanted = (
        selector_of("include", include, graph),
        selector_of("exclude", exclude, graph),
    )
    barred: dict[CallRef, tuple[str, ...]] = {}
    while True:
        scopes = (
            _Scope(scope, prefix, choice, wanted, unwanted, barred, forms)
            for prefix, scope in graph.scopes()
        )
        sites = [site for scope in scopes for site in scope.sites()]
        more = conflicts(graph, sites)
        if not more:
            return _in_order(sites)
        barred |= {where: (*barred.get(where, ()), reason) for where, reason in more.items()}


class _Scope:
    """One scope being decided on, until no swap makes another possible."""

    def __init__(
        self,
        scope: Graph,
        prefix: str,
        choice: Choice,
        wanted: Callable[[Site], bool],
        unwanted: Callable[[Site], bool],
        barred: Mapping[CallRef, tuple[str, ...]],
        forms: Mapping[CallRef, str],
    ) -> None:
        self.old, self.prefix, self.choice, self.barred = scope, prefix, choice, barred
        self.wanted, self.unwanted, self.forms = wanted, unwanted, forms
        self.draft = Draft.of(scope)
        self.swaps: list[Site] = []
        self.kept: dict[int, Site] = {}
        self.done: set[int] = set()
        self.pending: list[Replacement] = []
        self.touched: set[int] = set()

    def sites(self) -> list[Site]:
        """Return one site per swap and one per kept call."""
        levels = self.choice.levels()
        at = 0
        while at < len(levels):
            seen = self.draft
            for tensor in [
                c.outputs[0] for c in seen.graph.calls if self.choice.anchors(seen.graph, c)
            ]:
                if tensor not in self.done:
                    self._ask(tensor, levels[at])
            self._draw()
            at = at + 1 if seen is self.draft else 0
        swapped = {index for site in self.swaps for index in site.calls}
        made = [self._with_steps(site) for site in self.swaps]
        anchored = {c.index for c in self.old.calls if self.choice.anchors(self.old, c)}
        others = [c for c in self.old.calls if c.downsamples and c.index not in swapped | anchored]
        hidden = [
            _hidden(self.old, self.prefix, c, inside)
            for c in self.old.calls
            for inside in c.unreachable_sites
        ]
        untouched = [_site(self.old, self.prefix, [c]).kept(self.choice.why_not(c)) for c in others]
        return [*made, *self.kept.values(), *untouched, *hidden]

    def _draw(self) -> None:
        """Make the pending swaps in the draft, all at once: each redraws the whole."""
        if self.pending:
            self.draft = self.draft.applied(self.pending)
            self.pending, self.touched = [], set()

    def _ask(self, tensor: int, rules: Sequence[Rule]) -> None:
        """Decide on one call as it stands now."""
        call = self.draft.graph.calls[self.draft.graph.tensors[tensor].producer]
        if not self.touched.isdisjoint(calls_deciding_on(self.draft.graph, call)):
            self._draw()
            call = self.draft.graph.calls[self.draft.graph.tensors[tensor].producer]
        if not self.choice.anchors(self.draft.graph, call):
            return
        self.kept.pop(tensor, None)
        form = self.forms.get((self.old.scope, self.draft.origins[call.index][0]))
        asked = self.choice.in_form(rules, form)
        answer, reason = self.choice.best(self.draft.graph, call, asked, self._bar)
        if answer is None:
            if self.draft.origins[call.index][1] == (KEEP,):
                spans = self.choice.spans(self.draft.graph, call)
                self.kept[tensor] = self._site(c.index for c in spans).kept(reason)
            return
        rule, replacement = answer
        if not self.touched.isdisjoint(replacement.chain):
            self._draw()
            self._ask(tensor, rules)
            return
        site = replace(
            self._site(replacement.chain),
            status="swapped",
            promise=rule.promise.value,
            rule=rule.name,
            reason="" if rule.promise is Promise.EXACT else reason,
            replacement=replacement,
        )
        if not self.wanted(site) or self.unwanted(site):
            self.kept[tensor] = site.kept("left out by include or exclude")
            return
        barred = self._bars(replacement)
        if barred and self.choice.bounds is None:
            self.kept[tensor] = site.kept(barred[0])
            return
        self.pending.append(replacement)
        self.touched.update(replacement.chain)
        if not self.choice.adds_up:
            self.done.add(tensor)
        self.swaps = _joined(site, self.swaps)

    def _bars(self, replacement: Replacement) -> tuple[str, ...]:
        """Return why calls that a replacement changes had to stay so far, the most often barred one's reasons."""
        changed = ((self.old.scope, self.draft.origins[index][0]) for index in replacement.steps)
        return max((self.barred.get(where, ()) for where in changed), key=len, default=())

    def _bar(self, replacement: Replacement) -> str | None:
        """Bar what did not go with its layer's other places; a swap of one call alone is tried once more."""
        barred = self._bars(replacement)
        return barred[0] if len(barred) > (len(replacement.chain) == 1) else None

    def _site(self, calls: Iterable[int]) -> Site:
        """Return the site of some calls of the draft, in terms of the old ones in whose place they stand."""
        return _site(
            self.old,
            self.prefix,
            [self.old.calls[i] for i in sorted({self.draft.origins[i][0] for i in calls})],
        )

    def _with_steps(self, site: Site) -> Site:
        signed = site.replacement is None or site.replacement.signed
        return replace(
            site, replacement=Replacement(site.calls, self.draft.steps(site.calls), signed)
        )


def _joined(site: Site, swaps: Sequence[Site]) -> list[Site]:
    """Return the swaps with one more, which takes into itself those that it shares calls with."""
    apart: list[Site] = []
    for earlier in swaps:
        if (
            earlier.replacement is None
            or site.replacement is None
            or set(earlier.calls).isdisjoint(site.calls)
        ):
            apart.append(earlier)
            continue
        calls = sorted(
            {
                *zip(earlier.calls, earlier.layers, strict=True),
                *zip(site.calls, site.layers, strict=True),
            }
        )
        site = replace(
            site,
            layers=tuple(name for _, name in calls),
            promise="exact" if earlier.promise == site.promise == "exact" else "approximate",
            rule=f"{earlier.rule} + {site.rule}",
            reason="; ".join(filter(None, (earlier.reason, site.reason))),
            calls=tuple(index for index, _ in calls),
            replacement=replace(
                site.replacement, signed=earlier.replacement.signed and site.replacement.signed
            ),
        )
    return [*apart, site]


def _site(graph: Graph, prefix: str, calls: Sequence[Call]) -> Site:
    names = tuple(prefix + call.path for call in calls)
    return Site(names, "kept", None, None, "", graph.scope, tuple(call.index for call in calls))


def _hidden(graph: Graph, prefix: str, call: Call, hidden: tuple[str, str]) -> Site:
    name, class_name = hidden
    site = _site(graph, f"{prefix}{call.name}/", [replace(call, name=name)])
    return site.kept(
        f"{class_name} '{name}' is inside {call.label}, which has no graph that could be rewritten"
    )


def _in_order(sites: list[Site]) -> tuple[Site, ...]:
    scopes = list(dict.fromkeys(site.scope for site in sites))
    return tuple(sorted(sites, key=lambda s: (scopes.index(s.scope), min(s.calls))))
