"""Follows the lengths of a site's tensors through the layers that a swap makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keras_downswap.emit import cells, made_windows
from keras_downswap.geometry import Window
from keras_downswap.graph import Call, Graph, Shape
from keras_downswap.rule import KEEP, Make, Replacement, Step


class Stage(NamedTuple):
    """One layer that a swapped site calls.

    Attributes:
        call: The old call in whose place it stands.
        step: The layer.
        before: The lengths of the map that goes in, None where unknown.
        after: The lengths of the map that comes out.
    """

    call: Call
    step: Step
    before: Shape
    after: Shape


def stages(graph: Graph, replacement: Replacement) -> tuple[list[Stage], Mapping[int, Shape]]:
    """Return the layers that a swap calls, producers first, and the lengths of each of the site's tensors.

    Args:
        graph: The graph in which the rule answered.
        replacement: Its answer.
    """
    found: list[Stage] = []
    lengths: dict[int, Shape] = {}
    for index in replacement.chain:
        call = graph.calls[index]
        now = next((lengths[t] for t in call.inputs if t in lengths), graph.sizes(call))
        for step in replacement.steps.get(index, (KEEP,)):
            then = _through(step, now) if isinstance(step, Make) else _slid(call.windows, now)
            found.append(Stage(call, step, now, then))
            now = then
        lengths |= dict.fromkeys(call.outputs, now)
    return found, lengths


def _through(step: Make, lengths: Shape) -> Shape:
    if step.kind in ("ZeroPadding", "Cropping"):
        return tuple(None if n is None else n + sum(pair) for n, pair in zip(lengths, cells(step), strict=True))
    if step.kind == "Reshape":
        return tuple(step.settings["target_shape"][:-1])
    return _slid(made_windows(step), lengths)


def _slid(windows: Sequence[Window], lengths: Shape) -> Shape:
    if not windows:
        return lengths
    return tuple(None if n is None else w.law(n) for n, w in zip(lengths, windows, strict=True))
