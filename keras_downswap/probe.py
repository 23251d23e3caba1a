"""Runs an exact site, old layers against new, on random inputs that include the borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from keras_downswap.check import Check, demand
from keras_downswap.dialects.reading import Reading
from keras_downswap.geometry import SizeMap, Window
from keras_downswap.graph import Graph, Shape, spatial
from keras_downswap.site import Site

ROUNDINGS = 32
"""Allowed difference of two exact forms, in roundings of the compute dtype at the scale of the values summed."""

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def compare_values(reading: Reading, graph: Graph, site: Site, olds: Sequence[Any], news: Sequence[Any]) -> Check:
    """Compare what the old and the new layers of an exact site compute.

    Raises:
        BrokenPromise: If they differ by more than rounding.
    """
    dialect, where = reading.dialect, " + ".join(site.layers)
    first = graph.calls[site.calls[0]]
    windows = [graph.calls[i].windows for i in site.calls]
    avoid = first.settings["filters"] if first.settings.get("bias_goes_astray") else None
    shape = probe_shape(graph.input_shape(first), first.channels_last, windows, avoid)
    if first.wrapped is not None:
        shape = (shape[0], graph.times(first) or 2, *shape[1:])
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
    demand(a.shape == b.shape, f"{where}: values of shape {a.shape} expected, got {b.shape}")
    demand(bool((np.isnan(a) == np.isnan(b)).all()), f"{where}: exact values are not numbers at different places")
    numbers = np.isfinite(a) & np.isfinite(b)
    apart = float(np.abs(a - b).max(where=numbers, initial=0))
    worst = apart / scale if scale > 0 else apart
    demand(worst <= ROUNDINGS * eps, f"{where}: exact values differ by {worst:.1e} of their scale (input {shape})")
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


def probe_shape(
    shape: Shape, channels_last: bool, windows: Sequence[Sequence[Window]], avoid: int | None = None
) -> tuple[int, ...]:
    """Return a small concrete input shape on which a site behaves as on its own.

    What `same` pads depends on a length only modulo the strides, so a long axis is shortened by multiples of the
    site's whole stride; an unknown one gets a length that fills a few windows. `avoid` is a width that no convolution
    of the site may make on the way (see `match.require_bias_in_place`).
    """
    stacked = [w for w in windows if w]
    lengths = []
    for axis, n in enumerate(spatial(shape, channels_last)):
        stride, reach = 1, 0
        for part in stacked:
            reach += part[axis].span * stride
            stride *= part[axis].stride
        enough = reach + 3 * stride
        start = enough if n is None else n - max(0, (n - enough) // stride) * stride
        lengths.append(start)
    if avoid is not None:
        known = spatial(shape, channels_last)[-1]
        tried = count(lengths[-1], stride) if known is None else range(lengths[-1], known + 1, stride)
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
