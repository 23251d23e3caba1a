"""Which swaps can stand together: a layer used in several places is swapped alike in all of them, or in none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from keras_downswap.ir.graph import Graph, channels
from keras_downswap.ir.replacement import Make
from keras_downswap.planning.sites import Site

CallRef = tuple[int, int]
"""A call: the number of its scope, and its index there."""


def conflicts(graph: Graph, sites: Iterable[Site]) -> dict[CallRef, str]:
    """Return the calls whose shared layer is not swapped alike in all its places, and why: it would be untied."""
    graphs = {scope.scope: scope for _, scope in graph.scopes()}
    places: dict[int, list[CallRef]] = {}
    for scope in graphs.values():
        for call in scope.calls:
            for layer in (call.layer, *call.inner_layers):
                places.setdefault(layer, []).append((scope.scope, call.index))
    sites = list(sites)
    made, removed = _made(sites, graphs), _removed(sites)
    return {
        where: reason for where in made for reason in _untied(where, graphs, places, made, removed)
    }


def _made(sites: Iterable[Site], graphs: Mapping[int, Graph]) -> Mapping[CallRef, Make]:
    """Return, for each call whose layer lends a new one its weights or the name of an output, what it is made into."""
    naming = {
        call.layer
        for call in graphs[0].calls
        if graphs[0].is_output(call) and len(graphs[0].outputs) > 1
    }
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


def _removed(sites: Iterable[Site]) -> frozenset[CallRef]:
    """Return the calls that nothing takes the place of: they leave the name of their layer to others."""
    swaps = [(site.scope, site.replacement.steps) for site in sites if site.replacement is not None]
    return frozenset(
        (scope, index) for scope, steps in swaps for index, made in steps.items() if not made
    )


def _untied(
    where: CallRef,
    graphs: Mapping[int, Graph],
    places: Mapping[int, list[CallRef]],
    made: Mapping[CallRef, Make],
    removed: frozenset[CallRef],
) -> Iterator[str]:
    call, mine = graphs[where[0]].calls[where[1]], made[where]
    leaves = removed if mine.like is None else frozenset()
    uses = dict.fromkeys(
        place for layer in (call.layer, *call.inner_layers) for place in places[layer]
    )
    wheres = [place for place in uses if place not in leaves]
    if any(place not in made for place in wheres):
        yield f"{call.label} is used in {len(wheres)} places, and not each of them can be swapped"
    elif len({_form(made[scope, index], graphs[scope], index) for scope, index in wheres}) > 1:
        yield f"{call.label} is used in {len(wheres)} places, which would need different swaps"


def _form(make: Make, graph: Graph, index: int) -> tuple[str, str]:
    call = graph.calls[index]
    depth = None if make.fixed is None else channels(graph.input_shape(call), call.channels_last)
    functions = make.kernel, make.bias, make.fixed
    return make.kind, repr((sorted(make.settings.items()), functions, make.like, depth))
