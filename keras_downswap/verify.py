"""Holds a new model to its promises: shapes, names, weights, the old model's peace, and values where promised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BrokenPromise
from keras_downswap.geometry import IDENTITY, SizeMap, Window, resized
from keras_downswap.graph import Call, Graph, Role, Shape, spatial
from keras_downswap.plan import Site
from keras_downswap.rewrite import Rewritten
from keras_downswap.rule import Make

ROUNDINGS = 32
"""Allowed difference of two exact forms, in roundings of the compute dtype at the scale of the values summed."""

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Check:
    """One thing that was checked and held.

    Attributes:
        what: `shape`, `law` (for every length), `length` (at the stated one alone), `weights`, `values`, `not run`,
            `boundary` or `original`.
        where: The site or layer, or `model`.
        detail: What was compared, with the numbers.
    """

    what: str
    where: str
    detail: str


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
    _demand(traces(reading)[: len(before)] == tuple(before), "the original model's layers grew or lost nodes")
    checks = [Check("original", "model", "no layer of the original gained or lost a node")]
    checks.append(_boundary(reading, new))
    for site in sites:
        if site.replacement is not None:
            checks += _site_checks(reading, site, new)
    checks.append(_weights(reading, sites, new))
    return tuple(checks)


def _demand(holds: bool, sentence: str) -> None:
    if not holds:
        raise BrokenPromise(f"{sentence}. Nothing was returned or written; please report this model's architecture.")


def _boundary(reading: Reading, new: Rewritten) -> Check:
    dialect = reading.dialect
    for part, which in enumerate(("inputs", "outputs")):
        olds, news = (
            [(dialect.shape(t), dialect.dtype(t)) for t in dialect.flatten(dialect.boundary(model)[part])]
            for model in (reading.model, new.model)
        )
        _demand(olds == news, f"the model's {which} changed from {olds} to {news}")
    names = [reading.dialect.boundary_names(model) for model in (reading.model, new.model)]
    _demand(names[0] == names[1], f"the names or structure of inputs and outputs changed from {names[0]} to {names[1]}")
    outputs = ", ".join(str(reading.graph.tensors[t].shape) for t in reading.graph.outputs)
    return Check(
        "boundary", "model", f"names, order, structure, dtypes and shapes of inputs and outputs; outputs {outputs}"
    )


def _site_checks(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    graph = reading.scopes[site.scope].graph
    where = " + ".join(site.layers)
    last = graph.calls[site.calls[-1]]
    old = graph.tensors[last.outputs[0]]
    made = new.tensors[site.scope, last.outputs[0]]
    shape, dtype = reading.dialect.shape(made), reading.dialect.dtype(made)
    _demand((shape, dtype) == (old.shape, old.dtype), f"{where}: expected {old.shape} {old.dtype}, got {shape} {dtype}")
    yield Check("shape", where, f"{shape} {dtype}")
    olds = [graph.calls[i] for i in site.calls]
    news = list(_new_layers(site, olds, new))
    laws = _laws(olds), _new_laws(reading, news, len(old.shape))
    for axis, (n, a, b) in enumerate(zip(graph.sizes(olds[0]), *laws, strict=True)):
        _demand(a.agrees(b, n), f"{where}: the length law of spatial axis {axis} changed from {a} to {b} (length {n})")
        every = a == b
        known = "for every length" if every else f"at length {n} alone"
        yield Check("law" if every else "length", where, f"axis {axis}: (n + {a.offset}) // {a.stride} {known}")
    yield from _moved(reading, site, new)
    if site.promise == "exact":
        yield _values(reading, graph, site, [reading.layers[c.layer] for c in olds], news)


def _new_layers(site: Site, olds: Sequence[Call], new: Rewritten) -> Iterator[Any]:
    """Yield the layers that the site now calls, in order."""
    for call in olds:
        steps = site.replacement.steps.get(call.index) if site.replacement else None
        made = iter(new.made.get((site.scope, call.index), ()))
        if steps is None:
            yield new.layers[call.layer]
        else:
            yield from (next(made) if isinstance(step, Make) else new.layers[call.layer] for step in steps)


def _compose(parts: Iterable[Sequence[SizeMap]], rank: int) -> list[SizeMap]:
    laws = [IDENTITY] * rank
    for part in parts:
        laws = [law.then(after) for law, after in zip(laws, part, strict=True)] if part else laws
    return laws


def _laws(calls: Sequence[Call]) -> list[SizeMap]:
    return _compose(([w.law for w in c.windows] for c in calls), max(len(c.windows) for c in calls))


def _new_laws(reading: Reading, layers: Sequence[Any], rank: int) -> list[SizeMap]:
    """Compose the laws of the new layers, read off the layers themselves."""
    parts: list[Sequence[SizeMap]] = []
    for layer in layers:
        facts = reading.dialect.describe(layer, rank)
        cells = facts.settings.get("cells", ()) if facts.role is Role.RESIZE else ()
        parts.append([resized(*pair) for pair in cells] or [w.law for w in facts.windows])
    return _compose(parts, rank - 2)


def _values(reading: Reading, graph: Graph, site: Site, olds: Sequence[Any], news: Sequence[Any]) -> Check:
    dialect, where = reading.dialect, " + ".join(site.layers)
    first = graph.calls[site.calls[0]]
    tensor = graph.tensors[first.inputs[0]]
    shape = probe_shape(tensor.shape, first.channels_last, [graph.calls[i].windows for i in site.calls])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    try:
        stages = [dialect.run(olds[0], x)]
        for layer in olds[1:]:
            stages.append(dialect.run(layer, stages[-1]))
    except Exception as error:  # noqa: BLE001 (the framework's own limits on this machine)
        return Check(
            "not run", where, f"values not compared: this machine cannot run the original site ({type(error).__name__})"
        )
    value: Any = x
    for layer in news:
        value = dialect.run(layer, value)
    a, b = (dialect.result(v).astype(np.float64) for v in (stages[-1], value))
    scale = _scale(dialect, olds, [dialect.result(stage) for stage in stages])
    eps = max(EPSILON[graph.tensors[graph.calls[i].outputs[0]].dtype] for i in site.calls)
    _demand(a.shape == b.shape, f"{where}: values of shape {a.shape} expected, got {b.shape}")
    _demand(bool((np.isnan(a) == np.isnan(b)).all()), f"{where}: exact values are not numbers at different places")
    numbers = np.isfinite(a) & np.isfinite(b)
    apart = float(np.abs(a - b).max(where=numbers, initial=0))
    worst = apart / scale if scale > 0 else apart
    _demand(worst <= ROUNDINGS * eps, f"{where}: exact values differ by {worst:.1e} of their scale (input {shape})")
    return Check("values", where, f"largest difference {worst:.1e} of the scale on a random {shape} input")


def _scale(dialect: Any, layers: Sequence[Any], stages: Sequence[np.ndarray[Any, Any]]) -> float:
    """Return the scale at which a chain rounds: the largest values on its way, and means that it takes off and adds."""
    means = [_largest(dialect.array(layer.moving_mean)) for layer in layers if hasattr(layer, "moving_mean")]
    return max(1.0, _gain(dialect, layers[1:], stages[0])) * (sum(map(_largest, stages)) + sum(means))


def _largest(values: np.ndarray[Any, Any]) -> float:
    wide = np.abs(values.astype(np.float64))
    return float(wide.max(where=np.isfinite(wide), initial=0))


def _gain(dialect: Any, layers: Sequence[Any], like: np.ndarray[Any, Any]) -> float:
    """Return by how much the elementwise affine layers enlarge a difference."""
    one = np.ones(like.shape, np.float32)
    low, high = one * 0, one
    for layer in layers:
        low, high = dialect.run(layer, low), dialect.run(layer, high)
    if not layers:
        return 1.0
    return _largest(dialect.result(high).astype(np.float64) - dialect.result(low).astype(np.float64))


def probe_shape(shape: Shape, channels_last: bool, windows: Sequence[Sequence[Window]]) -> tuple[int, ...]:
    """Return a small concrete input shape on which a site behaves as on its own.

    What `same` pads depends on a length only modulo the strides, so a long axis is shortened by multiples of the
    site's whole stride; an unknown one gets a length that fills a few windows.
    """
    stacked = [w for w in windows if w]
    lengths = []
    for axis, n in enumerate(spatial(shape, channels_last)):
        stride, reach = 1, 0
        for part in stacked:
            reach += part[axis].span * stride
            stride *= part[axis].stride
        enough = reach + 3 * stride
        lengths.append(enough if n is None else n - max(0, (n - enough) // stride) * stride)
    batch = shape[0] or 1
    depth = shape[-1] if channels_last else shape[1]
    return (batch, *lengths, depth or 1) if channels_last else (batch, depth or 1, *lengths)


def _weights(reading: Reading, sites: Sequence[Site], new: Rewritten) -> Check:
    dialect, compared = reading.dialect, 0
    weights = {i: dialect.weights(layer) for i, layer in enumerate(reading.layers) if not dialect.has_graph(layer)}
    old_ids = {id(variable) for owned in weights.values() for variable in owned}
    stands_for: dict[int, int] = {}
    for number, layer in new.layers.items():
        name = reading.layers[number].name
        for a, b in zip(weights[number], dialect.weights(layer), strict=True) if number in weights else ():
            _demand(dialect.same_bits(a, b), f"layer '{name}': a weight that no swap concerns changed")
            shares = id(b) in old_ids and number not in new.sharing
            _demand(not shares, f"layer '{name}' shares a variable with the original")
            _demand(
                stands_for.setdefault(id(a), id(b)) == id(b), f"layer '{name}': a weight tied to another came apart"
            )
            compared += 1
    for old, made in _remade(reading, sites, new):
        for a, b in zip(dialect.weights(old), dialect.weights(made), strict=True):
            _demand(
                stands_for.setdefault(id(a), id(b)) == id(b), f"layer '{old.name}': a weight tied to another came apart"
            )
    return Check("weights", "model", f"{compared} weights of layers outside the swaps are bit-equal and not shared")


def _remade(reading: Reading, sites: Sequence[Site], new: Rewritten) -> Iterator[tuple[Any, Any]]:
    """Yield each layer that lent its weights, and the layer that took them."""
    for site in sites:
        for index, steps in site.replacement.steps.items() if site.replacement else ():
            made = iter(new.made.get((site.scope, index), ()))
            for step in steps:
                layer = next(made) if isinstance(step, Make) else None
                if isinstance(step, Make) and step.like is not None:
                    yield reading.layers[step.like], layer


def _moved(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    """Check the weights of the layers that a swap made from others."""
    for index, steps in site.replacement.steps.items() if site.replacement else ():
        for step, layer in zip(steps, new.made[site.scope, index], strict=False):
            if not isinstance(step, Make) or step.like is None:
                continue
            old = reading.layers[step.like]
            names = ["bias"] * old.use_bias + ["kernel"] * (step.kernel is None)
            for name in names:
                same = reading.dialect.same_bits(getattr(old, name), getattr(layer, name))
                _demand(same, f"{' + '.join(site.layers)}: the {name} was to move unchanged, and differs")
            yield Check("weights", " + ".join(site.layers), f"{' and '.join(names) or 'no weight'} moved bit-equal")
