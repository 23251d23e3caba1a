"""Runs an exact site, old layers against new, on random inputs that include the borders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_downswap.checks import Check, check_or_break
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.facts import ConvFacts
from keras_downswap.ir.geometry import SizeMap, Window
from keras_downswap.ir.graph import Call, Role, Shape, spatial
from keras_downswap.rebuilding.swapped_site import Path, SwappedSite

ROUNDINGS = 32
"""Allowed difference of two exact forms, in roundings of the compute dtype at the values' scale."""

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

Values = NDArray[Any]


def compare_values(swapped: SwappedSite) -> Check:
    """Compare what the old layers of an exact site compute and what the new ones do.

    Raises:
        BrokenPromise: If they differ by more than rounding.
    """
    reading, where = swapped.reading, swapped.where
    given = _inputs(swapped)
    shapes = ", ".join(str(x.shape) for x in given.values())
    old_layers = {call.index: [reading.layers[call.layer]] for call in swapped.calls}
    try:
        old_values = _run(swapped, old_layers, given)
    except Exception as error:  # noqa: BLE001 (the framework's own limits on this machine)
        kind = type(error).__name__
        detail = f"values not compared: this machine cannot run the original site ({kind})"
        return Check("not run", where, detail)
    new_values = _run(swapped, swapped.layers, given)

    old = _array(reading.dialect, old_values[swapped.end])
    new = _array(reading.dialect, new_values[swapped.end])
    check_or_break(
        old.shape == new.shape, f"{where}: values of shape {old.shape} expected, got {new.shape}"
    )
    check_or_break(
        np.array_equal(np.isnan(old), np.isnan(new)),
        f"{where}: exact values are not numbers at different places",
    )
    # The values of several branches add up, and so do their roundings.
    scales = [_scale(reading, path, old_values) for path in swapped.paths]
    scale = len(scales) * max(scales)
    apart = _largest_difference(old, new)
    worst = apart / scale if scale > 0 else apart
    check_or_break(
        worst <= ROUNDINGS * _epsilon_of(swapped),
        f"{where}: exact values differ by {worst:.1e} of their scale (input {shapes})",
    )
    detail = f"largest difference {worst:.1e} of the scale on a random {shapes} input"
    return Check("values", where, detail)


def _epsilon_of(swapped: SwappedSite) -> float:
    """Return one rounding of the coarsest dtype in which the site computes."""
    tensors = [swapped.graph.tensors[call.outputs[0]] for call in swapped.calls]
    return max(EPSILON[tensor.dtype] for tensor in tensors)


def _largest_difference(old: Values, new: Values) -> float:
    """Return the largest difference where both values are finite numbers."""
    numbers = np.isfinite(old) & np.isfinite(new)
    return float(np.abs(old - new).max(where=numbers, initial=0))


def _array(dialect: Any, value: Any) -> Values:
    """Return a value in float64; where no layer was run, it is the array that was given."""
    array = value if isinstance(value, np.ndarray) else dialect.to_array(value)
    return array.astype(np.float64)


def _inputs(swapped: SwappedSite) -> dict[int, Values]:
    """Return a random array for each tensor that feeds a site."""
    # Branches that join must keep equal lengths, and a layer over the whole map its own ones:
    # only a single branch of sliding windows may run on a smaller map.
    shorten = len(swapped.paths) == 1 and not swapped.fixes_its_size
    if any(swapped.leaves_no_map(path) for path in swapped.paths):
        shorten = False

    replacement = swapped.site.replacement
    rng = np.random.default_rng(0)
    given: dict[int, Values] = {}
    for path in swapped.paths:
        shape = _input_shape(swapped, path, shorten)
        values = rng.uniform(-1, 1, shape)
        if replacement is not None and not replacement.signed:
            values = np.abs(values)
        given[path[0].inputs[0]] = values.astype(np.float32)
    return given


def _input_shape(swapped: SwappedSite, path: Path, shorten: bool) -> tuple[int, ...]:
    graph, first = swapped.graph, path[0]
    avoid = None
    facts = first.facts
    if isinstance(facts, ConvFacts) and facts.misplaces_channels_first_bias:
        avoid = graph.output_shape(first)[1]
    windows = [call.windows for call in path]
    known = graph.input_shape(first)
    shape = probe_shape(known, swapped.channels_last(path), windows, avoid, shorten)
    if first.wrapped is None:
        return shape
    batch, *rest = shape
    return (batch, graph.times(first) or 2, *rest)


def _run(
    swapped: SwappedSite, layers: Mapping[int, Sequence[Any]], given: Mapping[int, Any]
) -> dict[int, Any]:
    """Return the value of every tensor of a site, running each call's layers one after another."""
    values = dict(given)
    for call in swapped.calls:
        inputs = [values[tensor] for tensor in call.inputs]
        value = inputs if len(inputs) > 1 else inputs[0]
        for layer in layers[call.index]:
            value = swapped.reading.dialect.run_layer(layer, value)
        values[call.outputs[0]] = value
    return values


def _scale(reading: Reading, path: Sequence[Call], values: Mapping[int, Any]) -> float:
    """Return the scale at which a branch rounds.

    It is the sum of the largest values on its way, and of the means that a normalization subtracts
    and so may cancel, times what the elementwise layers after the first make of a difference.
    """
    dialect = reading.dialect
    means = []
    for call in path:
        layer = reading.layers[call.layer]
        if call.role is not Role.JOIN and hasattr(layer, "moving_mean"):
            means.append(_largest(dialect.array(layer.moving_mean)))
    results = [dialect.to_array(values[call.outputs[0]]) for call in path]

    roles = [call.role for call in path]
    join = roles.index(Role.JOIN) if Role.JOIN in roles else len(path)
    gain = _gain(reading, path[1:join], results[0])
    after = path[join + 1 :]
    if after:
        # After a join the differences of all branches pass the same layers.
        gain *= max(1.0, _gain(reading, after, results[join]))
    largest = [_largest(result) for result in results]
    return max(1.0, gain) * sum([*largest, *means])


def _largest(values: Values) -> float:
    """Return the largest finite magnitude; 0 where there is none."""
    wide = np.abs(values.astype(np.float64))
    return float(wide.max(where=np.isfinite(wide), initial=0))


def _gain(reading: Reading, calls: Sequence[Call], like: Values) -> float:
    """Return by how much elementwise affine layers enlarge a difference of 1; joins do not."""
    dialect = reading.dialect
    layers = [reading.layers[call.layer] for call in calls if call.role is not Role.JOIN]
    if not layers:
        return 1.0
    low: Any = np.zeros(like.shape, np.float32)
    high: Any = np.ones(like.shape, np.float32)
    for layer in layers:
        low = dialect.run_layer(layer, low)
        high = dialect.run_layer(layer, high)
    return _largest(_array(dialect, high) - _array(dialect, low))


def probe_shape(
    shape: Shape,
    channels_last: bool,
    windows: Iterable[Sequence[Window]],
    avoid: int | None = None,
    shorten: bool = True,
) -> tuple[int, ...]:
    """Return a small concrete input shape on which a site behaves as on its own.

    What `same` pads depends on a length only modulo the strides, so a long axis is shortened by
    multiples of the site's whole stride; an unknown one gets a length that fills a few windows.

    Args:
        shape: The input shape of the site, None where unknown.
        channels_last: Whether the channel axis is the last one.
        windows: The windows of each call of the site, upstream first; empty for one without.
        avoid: A width that no convolution of the site may have as its output, since Keras then adds
            a bias of as many channels along the width (see `require_bias_in_place`).
        shorten: Whether a known length may become smaller.
    """
    stacked = [window for window in windows if window]
    known = spatial(shape, channels_last)
    lengths = []
    stride = 1
    for axis, length in enumerate(known):
        reach, stride = _field_of([part[axis] for part in stacked])
        enough = reach + 3 * stride
        if length is None:
            lengths.append(enough)
        elif shorten and length > enough:
            lengths.append(length - (length - enough) // stride * stride)
        else:
            lengths.append(length)
    if avoid is not None:
        least, most = lengths[-1], known[-1]
        widths = count(least, stride) if most is None else range(least, most + 1, stride)
        width = _width_without(avoid, widths, stacked)
        lengths[-1] = least if width is None else width
    batch = shape[0] or 1
    if channels_last:
        return (batch, *lengths, shape[-1] or 1)
    return (batch, shape[1] or 1, *lengths)


def _field_of(windows: Sequence[Window]) -> tuple[int, int]:
    """Return how many cells stacked windows of one axis cover at most, and their whole stride."""
    reach, stride = 0, 1
    for window in windows:
        reach += window.span * stride
        stride *= window.stride
    return reach, stride


def _width_without(
    avoid: int, widths: Iterable[int], stacked: Sequence[Sequence[Window]]
) -> int | None:
    """Return the first width on which no convolution has `avoid` as its output; None for none."""
    for width in widths:
        if avoid not in _widths(width, stacked):
            return width
    return None


def _widths(width: int, stacked: Sequence[Sequence[Window]]) -> Iterator[int]:
    """Yield the widths that a site's convolutions may have as output, from an input width on.

    The first one counts without its stride too: a swap may take the stride away from it.
    """
    law = stacked[0][-1].law
    yield SizeMap(law.offset - law.stride + 1, 1)(width)
    for windows in stacked:
        width = windows[-1].law(width)
        yield width
