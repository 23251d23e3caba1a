"""Follows the lengths and channels of a site's tensors through the layers that a swap makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role, Shape, channels, spatial
from keras_downswap.ir.replacement import KEEP, Make, Replacement, Step
from keras_downswap.rulekit.layers import cells, made_windows


class MapShape(NamedTuple):
    """What is known of a tensor: its lengths and how many channels it has, None where unknown."""

    lengths: Shape
    depth: int | None


class LayerShape(NamedTuple):
    """One layer that a swapped site calls: the old call in whose place it stands, and the maps that go in and out."""

    call: Call
    step: Step
    before: MapShape
    after: MapShape


def infer_shapes(
    graph: Graph, replacement: Replacement, unknown: int | None = None
) -> list[LayerShape]:
    """Return the layers that a swap calls, producers first.

    Args:
        graph: The graph in which the rule answered.
        replacement: Its answer; a call without steps stays.
        unknown: A length to assume where none is known.
    """
    found: list[LayerShape] = []
    maps: dict[int, MapShape] = {}
    last = graph.channels_last(replacement.chain)
    for index in replacement.chain:
        call = graph.calls[index]
        now = _into(graph, call, maps, unknown, last)
        for step in replacement.steps.get(index, (KEEP,)):
            then = (
                _through(step, call, now, last)
                if isinstance(step, Make)
                else _kept(graph, call, now)
            )
            found.append(LayerShape(call, step, now, then))
            now = then
        maps |= dict.fromkeys(call.outputs, now)
    return found


def settings_of(call: Call, step: Step) -> Mapping[str, Any]:
    """Return the settings of a layer that is called in a call's place, those that it takes over included."""
    if not isinstance(step, Make):
        return call.settings
    taken = call.settings if step.like is not None else {"depth_multiplier": 1, "groups": 1}
    return {**taken, "kind": step.kind, **step.settings}


def _into(
    graph: Graph, call: Call, maps: Mapping[int, MapShape], unknown: int | None, last: bool
) -> MapShape:
    known = next((maps[t] for t in call.inputs if t in maps), None)
    if known is None:
        shape = graph.input_shape(call)
        return MapShape(
            tuple(unknown if n is None else n for n in spatial(shape, last)), channels(shape, last)
        )
    if call.role is Role.JOIN:
        return MapShape(known.lengths, channels(graph.output_shape(call), last))
    return known


def _kept(graph: Graph, call: Call, given: MapShape) -> MapShape:
    if call.role is Role.CONV:
        return MapShape(_slid(call.windows, given.lengths), _filters(call.settings, given.depth))
    if call.role is Role.OTHER_CONV:
        return MapShape(
            _slid(call.windows, given.lengths),
            channels(graph.output_shape(call), call.channels_last),
        )
    return MapShape(_slid(call.windows, given.lengths), given.depth)


def _through(step: Make, call: Call, given: MapShape, last: bool) -> MapShape:
    if step.kind in ("ZeroPadding", "Cropping"):
        pairs = zip(given.lengths, cells(step), strict=True)
        return MapShape(
            tuple(None if n is None else n + sum(pair) for n, pair in pairs), given.depth
        )
    if step.kind == "Reshape":
        shape = step.settings["target_shape"]
        return MapShape(shape[:-1], shape[-1]) if last else MapShape(shape[1:], shape[0])
    depth = _filters(settings_of(call, step), given.depth) if step.convolves else given.depth
    return MapShape(_slid(made_windows(step), given.lengths), depth)


def _slid(windows: Sequence[Window], lengths: Shape) -> Shape:
    if not windows:
        return lengths
    return tuple(None if n is None else w.law(n) for n, w in zip(lengths, windows, strict=True))


def _filters(settings: Mapping[str, Any], depth: int | None) -> int | None:
    if settings["kind"] == "DepthwiseConv":
        return None if depth is None else depth * int(settings["depth_multiplier"])
    filters = settings.get("filters")
    return None if filters is None else int(filters)
