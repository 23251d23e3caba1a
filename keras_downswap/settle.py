"""Which swaps can stand together: a layer used in several places is swapped alike in all of them, or in none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keras_downswap.graph import Graph, channels
from keras_downswap.rule import Make
from keras_downswap.site import Site


def settle(graph: Graph, sites: list[Site]) -> list[Site]:
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
        settled = [_checked(site, graphs, calls_of, made, _removed(sites)) for site in sites]
        if settled == sites:
            return sites
        sites = settled


def _made(sites: Iterable[Site], graphs: Mapping[int, Graph]) -> Mapping[tuple[int, int], Make]:
    """Return, for each call whose layer lends a new one its weights or the name of an output, what it is made into."""
    naming = {call.layer for call in graphs[0].calls if graphs[0].is_output(call) and len(graphs[0].outputs) > 1}
    return {
        (site.scope, index): step
        for site in sites
        if site.replacement is not None
        for index, steps in site.replacement.steps.items()
        for step in steps
        if isinstance(step, Make)
        for call in (graphs[site.scope].calls[index],)
        if step.like is not None or (step.name == call.name and call.layer in naming)
    }


def _removed(sites: Iterable[Site]) -> frozenset[tuple[int, int]]:
    """Return the calls that nothing takes the place of: they leave the name of their layer to others."""
    swaps = [(site.scope, site.replacement.steps) for site in sites if site.replacement is not None]
    return frozenset((scope, index) for scope, steps in swaps for index, made in steps.items() if not made)


def _checked(
    site: Site,
    graphs: Mapping[int, Graph],
    calls_of: Mapping[int, list[tuple[int, int]]],
    made: Mapping[tuple[int, int], Make],
    removed: frozenset[tuple[int, int]],
) -> Site:
    if site.replacement is None:
        return site
    for index in site.replacement.steps:
        mine = made.get((site.scope, index))
        if mine is None:
            continue
        call = graphs[site.scope].calls[index]
        places = [where for layer in (call.layer, *call.inside) for where in calls_of[layer]]
        leaves = removed if mine.like is None else frozenset()
        wheres = [where for where in dict.fromkeys(places) if where not in leaves]
        others = [made.get(where) for where in wheres]
        if any(other is None for other in others):
            return site.kept(f"{call.label} is used in {len(others)} places, and not each of them can be swapped")
        forms = {_form(made[where], graphs[where[0]], where[1]) for where in wheres}
        if len(forms | {_form(mine, graphs[site.scope], index)}) > 1:
            return site.kept(f"{call.label} is used in {len(others)} places, which would need different swaps")
    return site


def _form(make: Make, graph: Graph, index: int) -> tuple[str, str]:
    call = graph.calls[index]
    depth = None if make.fixed is None else channels(graph.input_shape(call), call.channels_last)
    functions = make.kernel, make.bias, make.fixed
    return make.kind, repr((sorted(make.settings.items()), functions, make.like, depth))
