"""Runs an exact site, old layers against new, on random inputs that include the borders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from keras_downswap.checks import Check, check_or_break
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.facts import ConvFacts
from keras_downswap.ir.geometry import SizeMap, Window
from keras_downswap.ir.graph import Call, Graph, Role, Shape, spatial
from keras_downswap.planning.sites import Site

ROUNDINGS = 32
"""Allowed difference of two exact forms, in roundings of the compute dtype at the scale of the values summed."""

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def paths_through(graph: Graph, site: Site) -> list[tuple[Call, ...]]:
    """Return each way through a site, from a call that only tensors from outside feed to the site's last call."""
    inside = {tensor for i in site.calls for tensor in graph.calls[i].outputs}
    starts = [i for i in site.calls if inside.isdisjoint(graph.calls[i].inputs)]
    paths = []
    for start in starts:
        path = [graph.calls[start]]
        while path[-1].index != site.calls[-1]:
            users = graph.consumers[path[-1].outputs[0]]
            path.append(graph.calls[next(user for user in users if user in site.calls)])
        paths.append(tuple(path))
    return paths


def compare_values(
    reading: Reading, graph: Graph, site: Site, news: Mapping[int, Sequence[Any]]
) -> Check:
    """Compare what the old layers of an exact site compute and what the new ones do.

    Args:
        reading: The old model.
        graph: The graph that holds the site.
        site: The site.
        news: The layers that are now called in the place of each of its calls.

    Raises:
        BrokenPromise: If they differ by more than rounding.
    """
    dialect, where = reading.dialect, " + ".join(site.layers)
    calls = [graph.calls[i] for i in site.calls]
    paths = paths_through(graph, site)
    given = _samples(
        graph, paths, shorten=len(paths) == 1 and not (site.replacement and site.replacement.sized)
    )
    if site.replacement is not None and not site.replacement.signed:
        given = {tensor: np.abs(values) for tensor, values in given.items()}
    shapes = ", ".join(str(x.shape) for x in given.values())
    try:
        olds = _run(dialect, calls, {c.index: [reading.layers[c.layer]] for c in calls}, given)
    except Exception as error:  # noqa: BLE001 (the framework's own limits on this machine)
        return Check(
            "not run",
            where,
            f"values not compared: this machine cannot run the original site ({type(error).__name__})",
        )
    end = calls[-1].outputs[0]
    a, b = (_array(dialect, values[end]) for values in (olds, _run(dialect, calls, news, given)))
    scale = max(_scale(reading, path, olds) for path in paths) * len(paths)
    eps = max(EPSILON[graph.tensors[call.outputs[0]].dtype] for call in calls)
    check_or_break(
        a.shape == b.shape, f"{where}: values of shape {a.shape} expected, got {b.shape}"
    )
    check_or_break(
        bool((np.isnan(a) == np.isnan(b)).all()),
        f"{where}: exact values are not numbers at different places",
    )
    numbers = np.isfinite(a) & np.isfinite(b)
    apart = float(np.abs(a - b).max(where=numbers, initial=0))
    worst = apart / scale if scale > 0 else apart
    check_or_break(
        worst <= ROUNDINGS * eps,
        f"{where}: exact values differ by {worst:.1e} of their scale (input {shapes})",
    )
    return Check(
        "values", where, f"largest difference {worst:.1e} of the scale on a random {shapes} input"
    )


def _array(dialect: Any, value: Any) -> np.ndarray[Any, Any]:
    """Return a value in float64; where no layer was run, it is the array that was given."""
    return (value if isinstance(value, np.ndarray) else dialect.to_array(value)).astype(np.float64)


def _samples(
    graph: Graph, paths: Sequence[tuple[Call, ...]], shorten: bool
) -> dict[int, np.ndarray[Any, Any]]:
    """Return a random array for each tensor that feeds a site; where not to `shorten`, of their own lengths."""
    rng, given = np.random.default_rng(0), {}
    for first, *rest in paths:
        avoid = (
            graph.output_shape(first)[1]
            if isinstance(first.facts, ConvFacts) and first.facts.misplaces_channels_first_bias
            else None
        )
        windows = [call.windows for call in (first, *rest)]
        last = graph.channels_last(call.index for call in (first, *rest))
        shape = probe_shape(graph.input_shape(first), last, windows, avoid, shorten)
        if first.wrapped is not None:
            shape = (shape[0], graph.times(first) or 2, *shape[1:])
        given[first.inputs[0]] = rng.uniform(-1, 1, shape).astype(np.float32)
    return given


def _run(
    dialect: Any,
    calls: Sequence[Call],
    layers: Mapping[int, Sequence[Any]],
    given: Mapping[int, Any],
) -> Any:
    """Return the value of every tensor of a site, running for each call its layers one after another."""
    values = dict(given)
    for call in calls:
        value = (
            [values[tensor] for tensor in call.inputs]
            if len(call.inputs) > 1
            else values[call.inputs[0]]
        )
        for layer in layers[call.index]:
            value = dialect.run_layer(layer, value)
        values[call.outputs[0]] = value
    return values


def _scale(reading: Reading, path: Sequence[Call], values: Mapping[int, Any]) -> float:
    """Return the scale at which a branch rounds: the largest values on its way, and means it takes off and adds."""
    dialect = reading.dialect
    layers = [reading.layers[call.layer] for call in path if call.role is not Role.JOIN]
    means = [
        _largest(dialect.array(layer.moving_mean))
        for layer in layers
        if hasattr(layer, "moving_mean")
    ]
    stages = [dialect.to_array(values[call.outputs[0]]) for call in path]
    follows = next((i for i, call in enumerate(path) if call.role is Role.JOIN), len(path))
    gain = _gain(dialect, [reading.layers[call.layer] for call in path[1:follows]], stages[0])
    if follows < len(path):
        rest = [
            reading.layers[call.layer] for call in path[follows + 1 :] if call.role is not Role.JOIN
        ]
        gain *= max(1.0, _gain(dialect, rest, stages[follows]))
    return max(1.0, gain) * (sum(map(_largest, stages)) + sum(means))


def _largest(values: np.ndarray[Any, Any]) -> float:
    wide = np.abs(values.astype(np.float64))
    return float(wide.max(where=np.isfinite(wide), initial=0))


def _gain(dialect: Any, layers: Sequence[Any], like: np.ndarray[Any, Any]) -> float:
    """Return by how much the elementwise affine layers enlarge a difference."""
    one = np.ones(like.shape, np.float32)
    low, high = one * 0, one
    for layer in layers:
        low, high = dialect.run_layer(layer, low), dialect.run_layer(layer, high)
    if not layers:
        return 1.0
    return _largest(
        dialect.to_array(high).astype(np.float64) - dialect.to_array(low).astype(np.float64)
    )


def probe_shape(
    shape: Shape,
    channels_last: bool,
    windows: Sequence[Sequence[Window]],
    avoid: int | None = None,
    shorten: bool = True,
) -> tuple[int, ...]:
    """Return a small concrete input shape on which a site behaves as on its own.

    What `same` pads depends on a length only modulo the strides, so a long axis is shortened by
    multiples of the site's whole stride; an unknown one gets a length that fills a few windows.
    `avoid` is a width that no convolution of the site may make on the way (see
    `match.require_bias_in_place`). With `shorten` off a known length stays.
    """
    stacked = [w for w in windows if w]
    lengths = []
    for axis, n in enumerate(spatial(shape, channels_last)):
        stride, reach = 1, 0
        for part in stacked:
            reach += part[axis].span * stride
            stride *= part[axis].stride
        enough = reach + 3 * stride
        start = enough if n is None else n - max(0, (n - enough) // stride) * stride * shorten
        lengths.append(start)
    if avoid is not None:
        known = spatial(shape, channels_last)[-1]
        tried = (
            count(lengths[-1], stride) if known is None else range(lengths[-1], known + 1, stride)
        )
        lengths[-1] = next((n for n in tried if avoid not in _widths(n, stacked)), lengths[-1])
    batch = shape[0] or 1
    depth = shape[-1] if channels_last else shape[1]
    return (batch, *lengths, depth or 1) if channels_last else (batch, depth or 1, *lengths)


def _widths(n: int, stacked: Sequence[Sequence[Window]]) -> Iterator[int]:
    """Yield the lengths that a site's windows make of the last axis one after another, and the first without stride."""
    law = stacked[0][-1].law
    yield SizeMap(law.offset - law.stride + 1, 1)(n)
    for windows in stacked:
        n = windows[-1].law(n)
        yield n
