"""Parameters and multiply-accumulates of a site before and after its swap, from the graph alone.

A convolution costs (output positions) * (kernel values) MACs a sample, where it has (taps) * (channels in / groups) *
(filters) values; a depthwise one (taps) * (channels in) * (depth multiplier), and a separable one a 1x1 kernel on top.
Pools, padding and elementwise maps are not counted: they multiply nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from keras_downswap.emit import cells, made_windows
from keras_downswap.geometry import Window
from keras_downswap.graph import Call, Graph, Role, Shape, channels, spatial
from keras_downswap.rule import KEEP, Make, Replacement
from keras_downswap.site import Site


@dataclass(frozen=True)
class Cost:
    """What a site costs; None where it is not known.

    Attributes:
        parameters: Weight values of its convolutions; None where one is no Conv1D, Conv2D or Conv3D.
        macs: Multiply-accumulates for one sample.
    """

    parameters: int | None
    macs: int | None


@dataclass(frozen=True)
class SiteCost:
    """Shapes and costs of one site; `before` and `after` are equal where it is kept."""

    input_shape: Shape
    output_shape: Shape
    before: Cost
    after: Cost


def site_cost(graph: Graph, site: Site) -> SiteCost:
    """Return what a site costs before and after.

    Args:
        graph: The graph that holds the site (`site.scope`).
        site: One site of a plan.
    """
    calls = [graph.calls[i] for i in site.calls]
    before = _total([_conv(graph, c, c.windows, spatial(graph.output_shape(c), c.channels_last)) for c in calls])
    after = before
    if site.replacement is not None:
        after = _total([cost for call in calls for cost in _made(graph, call, site.replacement)])
    return SiteCost(graph.input_shape(calls[0]), graph.output_shape(calls[-1]), before, after)


def _conv(graph: Graph, call: Call, windows: tuple[Window, ...], out: Shape) -> Cost:
    depth = channels(graph.input_shape(call), call.channels_last)
    if call.role is Role.OTHER_CONV:
        return Cost(None, None)
    if call.role is not Role.CONV or depth is None:
        return Cost(0, 0)
    weights, outputs = _weights(call, prod(w.size for w in windows), depth)
    every = (*out, graph.times(call))
    positions = None if None in every else prod(n for n in every if n is not None)
    return Cost(
        weights + (outputs if call.settings["use_bias"] else 0), None if positions is None else positions * weights
    )


def _weights(call: Call, taps: int, depth: int) -> tuple[int, int]:
    """Return how many kernel values a convolution of so many taps and channels has, and how many channels it makes."""
    filters = call.settings["filters"]
    if call.settings["kind"] == "Conv":
        return taps * (depth // call.settings["groups"]) * filters, filters
    deep = depth * call.settings["depth_multiplier"]
    return (taps * deep + deep * filters, filters) if call.settings["kind"] == "SeparableConv" else (taps * deep, deep)


def _made(graph: Graph, call: Call, replacement: Replacement) -> list[Cost]:
    """Follow the lengths through the layers that stand for a call, and cost each convolution among them."""
    steps = replacement.steps.get(call.index, (KEEP,))
    if call.role is not Role.CONV or KEEP in steps:
        return [_conv(graph, call, call.windows, spatial(graph.output_shape(call), call.channels_last))]
    costs, lengths = [], list(graph.sizes(call))
    for step in (step for step in steps if isinstance(step, Make)):
        if step.kind in ("ZeroPadding", "Cropping"):
            lengths = [None if n is None else n + sum(pair) for n, pair in zip(lengths, cells(step), strict=True)]
        elif step.like is not None:
            windows = made_windows(step)
            out = tuple(None if n is None else w.law(n) for n, w in zip(lengths, windows, strict=True))
            costs.append(_conv(graph, call, windows, out))
    return costs


def _total(costs: list[Cost]) -> Cost:
    return Cost(_sum([c.parameters for c in costs]), _sum([c.macs for c in costs]))


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
