"""Which swaps can stand together: a layer that is called in several places has one form in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import Make, MakeConv
from keras_downswap.planning.sites import Site

CallRef = tuple[int, int]
"""A call: the number of its scope, and its index there."""


@dataclass(frozen=True)
class _Model:
    """All scopes of a model, and where each of its layers is called.

    Attributes:
        graphs: Every scope by number.
        places: Every call of each layer, by the layer's number.
    """

    graphs: Mapping[int, Graph]
    places: Mapping[int, tuple[CallRef, ...]]

    def call(self, where: CallRef) -> Call:
        scope, index = where
        return self.graphs[scope].calls[index]


def conflicts(graph: Graph, sites: Iterable[Site]) -> dict[CallRef, str]:
    """Return the calls whose shared layer is not swapped alike in all its places, and why.

    Such a layer would come apart: each place would train weights of its own.
    """
    model = _read(graph)
    sites = list(sites)
    made = _made_from_old_layers(sites, model)
    removed = _removed(sites)
    found: dict[CallRef, str] = {}
    for where in made:
        reason = _why_untied(where, model, made, removed)
        if reason is not None:
            found[where] = reason
    return found


def _read(graph: Graph) -> _Model:
    graphs = {scope.scope: scope for _, scope in graph.scopes()}
    places: dict[int, tuple[CallRef, ...]] = {}
    for scope in graphs.values():
        for call in scope.calls:
            # A layer inside another is called wherever the outer one is.
            for layer in (call.layer, *call.inner_layers):
                earlier = places.get(layer, ())
                places[layer] = (*earlier, (scope.scope, call.index))
    return _Model(graphs, places)


def _made_from_old_layers(sites: Iterable[Site], model: _Model) -> dict[CallRef, Make]:
    """Return what each call is made into that hands on something which must stay one.

    That is the weights of its layer, or the name of an output of the model.
    """
    # Several outputs are named by their layers, and losses and metrics are given by these names.
    top = model.graphs[0]
    naming: set[int] = set()
    if len(top.outputs) > 1:
        outputs = [call for call in top.calls if top.is_output(call)]
        naming.update(call.layer for call in outputs)
    found: dict[CallRef, Make] = {}
    for site in sites:
        steps_by_call = site.replacement.steps if site.replacement else {}
        for index, steps in steps_by_call.items():
            where = (site.scope, index)
            call = model.call(where)
            for step in steps:
                # A kept layer stays itself: it is the other places that would leave it.
                if not isinstance(step, Make):
                    continue
                lends_weights = isinstance(step, MakeConv) and step.like is not None
                names_output = step.name == call.name and call.layer in naming
                if lends_weights or names_output:
                    found[where] = step
    return found


def _removed(sites: Iterable[Site]) -> frozenset[CallRef]:
    """Return the calls that nothing replaces: they leave the name of their layer to others."""
    found: set[CallRef] = set()
    for site in sites:
        if site.replacement is None:
            continue
        for index, steps in site.replacement.steps.items():
            if not steps:
                found.add((site.scope, index))
    return frozenset(found)


def _why_untied(
    where: CallRef,
    model: _Model,
    made: Mapping[CallRef, Make],
    removed: frozenset[CallRef],
) -> str | None:
    """Return why a layer would come apart if this call of it was swapped; None if it would not."""
    call = model.call(where)
    mine = made[where]
    lends_weights = isinstance(mine, MakeConv) and mine.like is not None
    # A name may be handed on by one place and left by another; weights may not.
    leaves = frozenset() if lends_weights else removed
    # A dict as an ordered set: a call may use a layer itself and inside another.
    uses: dict[CallRef, None] = {}
    for layer in (call.layer, *call.inner_layers):
        uses.update(dict.fromkeys(model.places[layer]))
    places = [place for place in uses if place not in leaves]
    if any(place not in made for place in places):
        return f"{call.label} is used in {len(places)} places, and not each of them can be swapped"
    forms = {_form(made[place], model, place) for place in places}
    if len(forms) > 1:
        return f"{call.label} is used in {len(places)} places, which would need different swaps"
    return None


def _form(made: Make, model: _Model, where: CallRef) -> str:
    """Return what must agree between all places of a layer, as text: functions compare by name."""
    depth = None
    if isinstance(made, MakeConv) and made.fixed is not None:
        # The shape of a fixed kernel follows from the channels that come in: places with
        # different channels would need different kernels, though the steps are equal.
        scope, _ = where
        call = model.call(where)
        shape = model.graphs[scope].input_shape(call)
        depth = channels(shape, call.channels_last)
    # These two say where the layer stands, which is another place each time.
    anonymous = replace(made, name="", beside=0)
    return repr((anonymous, depth))
