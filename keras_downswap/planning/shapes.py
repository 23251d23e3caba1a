"""Follows the lengths and channels of a site's tensors through the layers that a swap makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from keras_downswap.ir.facts import ConvFacts
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role, Shape, channels, spatial
from keras_downswap.ir.replacement import (
    KEEP,
    Make,
    MakeConv,
    MakeFlatten,
    MakeGlobalPool,
    MakeReshape,
    MakeResize,
    Replacement,
    Step,
)


class MapShape(NamedTuple):
    """What is known of a tensor: its lengths and how many channels it has, None where unknown."""

    lengths: Shape
    depth: int | None


class LayerShape(NamedTuple):
    """One layer that a swapped site calls: the old call that it replaces, and its maps."""

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
    channels_last = graph.channels_last(replacement.chain)
    for index in replacement.chain:
        call = graph.calls[index]
        # The rest of the graph is as it was read: only tensors of the chain have new maps.
        before = _input_map(graph, call, maps, unknown, channels_last)
        for step in replacement.steps.get(index, (KEEP,)):
            if isinstance(step, Make):
                after = _map_after_made(step, call, before, channels_last)
            else:
                after = _map_after_kept(graph, call, before)
            found.append(LayerShape(call, step, before, after))
            before = after
        for tensor in call.outputs:
            maps[tensor] = before
    return found


def conv_facts_of(call: Call, step: Step) -> ConvFacts | None:
    """Return the facts of a convolution that is called in a call's place; None of other layers."""
    own = call.facts if isinstance(call.facts, ConvFacts) else None
    if isinstance(step, MakeConv):
        return step.facts(own)
    return None if isinstance(step, Make) else own


def _input_map(
    graph: Graph,
    call: Call,
    maps: Mapping[int, MapShape],
    unknown: int | None,
    channels_last: bool,
) -> MapShape:
    followed = [maps[tensor] for tensor in call.inputs if tensor in maps]
    if not followed:
        shape = graph.input_shape(call)
        lengths = tuple(unknown if n is None else n for n in spatial(shape, channels_last))
        return MapShape(lengths, channels(shape, channels_last))
    # All inputs of a call that joins branches have the lengths of the first one.
    first = followed[0]
    if call.role is Role.JOIN:
        # Branches bring channels of their own; no swap changes how many there are together.
        joined = graph.output_shape(call)
        return MapShape(first.lengths, channels(joined, channels_last))
    return first


def _map_after_kept(graph: Graph, call: Call, before: MapShape) -> MapShape:
    given = graph.input_shape(call)
    made = graph.output_shape(call)
    last = call.channels_last
    if len(given) != len(made) or call.role is Role.GLOBAL_POOL:
        # Spatial axes end here, as in a Flatten layer.
        return MapShape(spatial(made, last), channels(made, last))
    lengths = _window_lengths(call.windows, before.lengths)
    if isinstance(call.facts, ConvFacts):
        return MapShape(lengths, call.facts.output_channels(before.depth))
    # Nothing is known of such a convolution but what it made of its input in the model.
    if call.role is Role.OTHER_CONV:
        return MapShape(lengths, channels(made, last))
    return MapShape(lengths, before.depth)


def _map_after_made(step: Make, call: Call, before: MapShape, channels_last: bool) -> MapShape:
    if isinstance(step, MakeResize):
        lengths = []
        for n, around in zip(before.lengths, step.cells, strict=True):
            lengths.append(None if n is None else n + sum(around))
        return MapShape(tuple(lengths), before.depth)
    if isinstance(step, MakeGlobalPool):
        lengths_of_one: Shape = ()
        if step.keepdims:
            lengths_of_one = (1,) * len(before.lengths)
        return MapShape(lengths_of_one, before.depth)
    if isinstance(step, MakeFlatten):
        sizes = (*before.lengths, before.depth)
        return MapShape((), product(sizes))
    if isinstance(step, MakeReshape):
        shape = step.target_shape
        if channels_last:
            return MapShape(shape[:-1], shape[-1])
        return MapShape(shape[1:], shape[0])
    depth = before.depth
    facts = conv_facts_of(call, step)
    if facts is not None:
        depth = facts.output_channels(depth)
    return MapShape(_window_lengths(step.windows, before.lengths), depth)


def product(sizes: Shape) -> int | None:
    """Return the product of some sizes; None where one is unknown."""
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def _window_lengths(windows: Sequence[Window], lengths: Shape) -> Shape:
    """Return the lengths after windows slide over some, or the same where none slides."""
    if not windows:
        return lengths
    after = []
    for n, window in zip(lengths, windows, strict=True):
        after.append(None if n is None else window.law(n))
    return tuple(after)
