"""Holds a new model to its promises: shapes, names, weights, the old model's peace, and values where promised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_downswap.checks import Check, check_or_break
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BrokenPromise
from keras_downswap.ir.facts import ResizeFacts
from keras_downswap.ir.geometry import IDENTITY, SizeMap, resized
from keras_downswap.ir.graph import Call, Graph, spatial
from keras_downswap.ir.replacement import KEEP, Make, MakeConv
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.make_layers import kernels
from keras_downswap.rebuilding.rewrite import Rewritten
from keras_downswap.rebuilding.value_check import compare_values, paths_through


def traces(reading: Reading) -> tuple[tuple[int, int], ...]:
    """Return how many nodes each layer of a reading has, to tell later whether anything touched it."""
    return tuple(reading.dialect.node_count(layer) for layer in reading.layers)


def verify(
    reading: Reading, before: Sequence[tuple[int, int]], sites: Sequence[Site], new: Rewritten
) -> tuple[Check, ...]:
    """Check a new model against the old one.

    Args:
        reading: The old model.
        before: What `traces` gave before the rewrite.
        sites: The plan.
        new: The rewritten model.

    Returns:
        What was checked, in order.

    Raises:
        BrokenPromise: At the first check that does not hold.
    """
    check_or_break(
        traces(reading) == tuple(before),
        "the original model's layers grew or lost nodes",
    )
    checks = [Check("original", "model", "no layer of the original gained or lost a node")]
    checks.append(_boundary(reading, new))
    for site in sites:
        if site.replacement is not None:
            try:
                checks += _site_checks(reading, site, new)
            except BrokenPromise as broken:
                raise BrokenPromise(f"the rule {site.rule} broke its promise: {broken}") from broken
    checks.append(_weights(reading, sites, new))
    return tuple(checks)


def _boundary(reading: Reading, new: Rewritten) -> Check:
    dialect = reading.dialect
    for part, which in enumerate(("inputs", "outputs")):
        olds, news = (
            [
                (dialect.shape(t), dialect.dtype(t))
                for t in dialect.flatten(dialect.boundary(model)[part])
            ]
            for model in (reading.model, new.model)
        )
        check_or_break(olds == news, f"the model's {which} changed from {olds} to {news}")
    names = [reading.dialect.boundary_names(model) for model in (reading.model, new.model)]
    check_or_break(
        names[0] == names[1],
        f"the names or structure of inputs and outputs changed from {names[0]} to {names[1]}",
    )
    outputs = ", ".join(str(reading.graph.tensors[t].shape) for t in reading.graph.outputs)
    return Check(
        "boundary",
        "model",
        f"names, order, structure, dtypes and shapes of inputs and outputs; outputs {outputs}",
    )


def _site_checks(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    graph = reading.scopes[site.scope].graph
    where = " + ".join(site.layers)
    last = graph.calls[site.calls[-1]]
    old = graph.tensors[last.outputs[0]]
    made = new.tensors[site.scope, last.outputs[0]]
    shape, dtype = reading.dialect.shape(made), reading.dialect.dtype(made)
    check_or_break(
        (shape, dtype) == (old.shape, old.dtype),
        f"{where}: expected {old.shape} {old.dtype}, got {shape} {dtype}",
    )
    yield Check("shape", where, f"{shape} {dtype}")
    layers = {index: list(_new_layers(site, graph.calls[index], new)) for index in site.calls}
    checked, sized = set(), site.replacement is not None and site.replacement.sized
    for path in paths_through(graph, site):
        for check in _length_checks(
            reading, graph, where, path, [lay for call in path for lay in layers[call.index]], sized
        ):
            if check not in checked:
                checked.add(check)
                yield check
    yield from _moved(reading, site, new)
    if site.promise == "exact":
        yield compare_values(reading, graph, site, layers)


def _length_checks(
    reading: Reading,
    graph: Graph,
    where: str,
    path: Sequence[Call],
    news: Sequence[Any],
    sized: bool,
) -> Iterator[Check]:
    """Check the length laws of one branch of a site, axis by axis."""
    first = path[0]
    laws = _laws(path), _new_laws(reading, news, len(graph.output_shape(first)))
    if sized:
        yield Check(
            "length",
            where,
            "by the shapes that Keras gives, as its layers take maps of one size only",
        )
        return
    sizes = spatial(graph.input_shape(first), graph.channels_last(call.index for call in path))
    for axis, (n, a, b) in enumerate(zip(sizes, *laws, strict=True)):
        check_or_break(
            a.agrees(b, n),
            f"{where}: the length law of spatial axis {axis} changed from {a} to {b} (length {n})",
        )
        every = a == b
        known = "for every length" if every else f"at length {n} alone"
        yield Check(
            "law" if every else "length",
            where,
            f"axis {axis}: (n + {a.offset}) // {a.stride} {known}",
        )


def _new_layers(site: Site, call: Call, new: Rewritten) -> Iterator[Any]:
    """Yield the layers that the site now calls in place of one call, in order."""
    made = iter(new.made.get((site.scope, call.index), ()))
    for step in site.replacement.steps.get(call.index, (KEEP,)) if site.replacement else ():
        yield next(made) if isinstance(step, Make) else new.layers[call.layer]


def _compose(parts: Iterable[Sequence[SizeMap]], rank: int) -> list[SizeMap]:
    laws = [IDENTITY] * rank
    for part in parts:
        laws = [law.then(after) for law, after in zip(laws, part, strict=True)] if part else laws
    return laws


def _laws(calls: Sequence[Call]) -> list[SizeMap]:
    parts = ([resized(*pair) for pair in c.cells] if c.cells else c.windows for c in calls)
    laws = ([part if isinstance(part, SizeMap) else part.law for part in axes] for axes in parts)
    return _compose(laws, max(len(c.windows) for c in calls))


def _new_laws(reading: Reading, layers: Sequence[Any], rank: int) -> list[SizeMap]:
    """Compose the laws of the new layers, read off the layers themselves."""
    parts: list[Sequence[SizeMap]] = []
    for layer in layers:
        facts = reading.dialect.describe(layer, rank)
        cells = facts.facts.cells if isinstance(facts.facts, ResizeFacts) else ()
        parts.append([resized(*pair) for pair in cells] or [w.law for w in facts.windows])
    return _compose(parts, rank - 2)


def _weights(reading: Reading, sites: Sequence[Site], new: Rewritten) -> Check:
    dialect, compared = reading.dialect, 0
    untied = ", ".join(dict.fromkeys(new.untied))
    check_or_break(
        not untied, f"something besides layer '{untied}' refers to its weights, and was untied"
    )
    leaves = [
        (i, lay)
        for i, lay in enumerate(reading.layers)
        if not dialect.has_graph(dialect.unwrapped(lay))
    ]
    weights = {i: dialect.weights(layer) for i, layer in leaves}
    old_ids = {id(variable) for owned in weights.values() for variable in owned}
    stands_for: dict[int, int] = {}
    for number, layer in new.layers.items():
        name = reading.layers[number].name
        for a, b in (
            zip(weights[number], dialect.weights(layer), strict=True) if number in weights else ()
        ):
            check_or_break(
                dialect.same_bits(a, b), f"layer '{name}': a weight that no swap concerns changed"
            )
            shares = id(b) in old_ids and number not in new.sharing
            check_or_break(not shares, f"layer '{name}' shares a variable with the original")
            check_or_break(
                stands_for.setdefault(id(a), id(b)) == id(b),
                f"layer '{name}': a weight tied to another came apart",
            )
            compared += 1
    for site in sites:
        for _, old, made in _remade(reading, site, new):
            for a, b in zip(
                dialect.weights(old), dialect.weights(made), strict=False
            ):  # a made one may have a bias more
                tied = stands_for.setdefault(id(a), id(b)) == id(b)
                check_or_break(tied, f"layer '{old.name}': a weight tied to another came apart")
    return Check(
        "weights",
        "model",
        f"{compared} weights of layers outside the swaps are bit-equal and not shared",
    )


def _remade(reading: Reading, site: Site, new: Rewritten) -> Iterator[tuple[MakeConv, Any, Any]]:
    """Yield each step of a site that made a layer from another, the layer that lent its weights, and the made one."""
    dialect = reading.dialect
    for index, steps in site.replacement.steps.items() if site.replacement else ():
        makes = [step for step in steps if isinstance(step, Make)]
        for step, made in zip(makes, new.made.get((site.scope, index), ()), strict=True):
            if isinstance(step, MakeConv) and step.like is not None:
                yield step, dialect.unwrapped(reading.layers[step.like]), dialect.unwrapped(made)


def _moved(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    """Check the weights of the layers that a swap made from others."""
    for step, old, made in _remade(reading, site, new):
        moved = [name for name in kernels(old) if step.kernel is None or name == "pointwise_kernel"]
        names = ["bias"] * (old.use_bias and step.bias is None) + moved
        for name in names:
            same = reading.dialect.same_bits(getattr(old, name), getattr(made, name))
            check_or_break(
                same, f"{' + '.join(site.layers)}: the {name} was to move unchanged, and differs"
            )
        yield Check(
            "weights",
            " + ".join(site.layers),
            f"{' and '.join(names) or 'no weight'} moved bit-equal",
        )
