"""Parameters and multiply-accumulates of a site before and after its swap, from the graph alone.

A convolution costs (output positions) * (kernel values) MACs a sample, where it has (taps) * (channels in / groups) *
(filters) values; a depthwise one (taps) * (channels in) * (depth multiplier), and a separable one a 1x1 kernel on top.
Pools, padding and elementwise maps are not counted: they multiply nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from keras_downswap.follow import stages
from keras_downswap.graph import Call, Graph, Role, Shape, channels
from keras_downswap.rule import Make, Replacement, Step
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
    old = cost_of(graph, Replacement(site.calls, {}))
    new = old if site.replacement is None else cost_of(graph, site.replacement)
    return SiteCost(graph.input_shape(calls[0]), graph.output_shape(calls[-1]), old, new)


def cost_of(graph: Graph, replacement: Replacement) -> Cost:
    """Return what the layers of a site cost that a replacement calls; without steps, what the old ones cost.

    Args:
        graph: The graph that holds the site.
        replacement: The replacement.
    """
    costs: list[Cost] = []
    depths: dict[int, int | None] = {}
    for call, step, _, after in stages(graph, replacement)[0]:
        depth = depths.get(call.index, channels(graph.input_shape(call), call.channels_last))
        cost, depths[call.index] = _layer(call, step, depth, after, graph.times(call))
        costs.append(cost)
    return Cost(_sum([cost.parameters for cost in costs]), _sum([cost.macs for cost in costs]))


def _layer(call: Call, step: Step, depth: int | None, after: Shape, times: int | None) -> tuple[Cost, int | None]:
    """Return what one layer costs, and how many channels it makes of `depth`."""
    if not isinstance(step, Make):
        if call.role is Role.OTHER_CONV:
            return Cost(None, None), depth
        settings, taps = call.settings, prod(w.size for w in call.windows)
    elif step.convolves:
        settings = {**(call.settings if step.like is not None else {}), "kind": step.kind, **step.settings}
        taps = prod(step.settings["kernel_size"])
    else:
        return Cost(0, 0), step.settings["target_shape"][-1] if step.kind == "Reshape" else depth
    if depth is None or (not isinstance(step, Make) and call.role is not Role.CONV):
        return Cost(0, 0), depth
    weights, outputs = _weights(settings, taps, depth)
    every = (*after, times)
    positions = None if None in every else prod(n for n in every if n is not None)
    bias = outputs if settings["use_bias"] else 0
    return Cost(weights + bias, None if positions is None else positions * weights), outputs


def _weights(settings: Mapping[str, Any], taps: int, depth: int) -> tuple[int, int]:
    """Return how many kernel values a convolution of so many taps and channels has, and how many channels it makes."""
    if settings["kind"] == "Conv":
        return taps * (depth // settings.get("groups", 1)) * settings["filters"], settings["filters"]
    deep = depth * settings.get("depth_multiplier", 1)
    if settings["kind"] == "DepthwiseConv":
        return taps * deep, deep
    return taps * deep + deep * settings["filters"], settings["filters"]


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
