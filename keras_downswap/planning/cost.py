"""Parameters and multiply-accumulates of a site before and after its swap, from the graph alone.

A convolution costs (output positions) * (kernel values) MACs a sample, where it has (taps) *
(channels in / groups) * (filters) values; a depthwise one (taps) * (channels in) * (depth
multiplier), and a separable one a 1x1 kernel on top. Pools, padding and elementwise maps are not
counted: they multiply nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from keras_downswap.ir.graph import Graph, Role, Shape
from keras_downswap.ir.replacement import KEEP, Make, Replacement
from keras_downswap.planning.shapes import LayerShape, infer_shapes, settings_of
from keras_downswap.planning.sites import Site
from keras_downswap.rulekit.layers import made_windows


@dataclass(frozen=True)
class Cost:
    """What a site costs; None where it is not known.

    Attributes:
        parameters: Weight values of its convolutions; None where one is no Conv1D, Conv2D or
            Conv3D.
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
    costs = [_layer(stage, graph.times(stage.call)) for stage in infer_shapes(graph, replacement)]
    return Cost(_sum([cost.parameters for cost in costs]), _sum([cost.macs for cost in costs]))


def effort(graph: Graph, replacement: Replacement, unknown: int = 224) -> tuple[int, int]:
    """Return what a site costs by the measure that ranks exact forms: its MACs, then the values that its layers write.

    Args:
        graph: The graph that holds the site.
        replacement: The replacement; without steps, the old layers are meant.
        unknown: The length to assume where none is known.
    """
    found = infer_shapes(graph, replacement, unknown)
    macs = [_layer(stage, 1).macs or 0 for stage in found]
    return sum(macs), sum(
        prod(n or 1 for n in (*stage.after.lengths, stage.after.depth)) for stage in found
    )


def _layer(stage: LayerShape, times: int | None) -> Cost:
    """Return what one layer costs that runs so many times for one sample."""
    convolves = (
        stage.step.convolves if isinstance(stage.step, Make) else stage.call.role is Role.CONV
    )
    if stage.step is KEEP and stage.call.role is Role.OTHER_CONV:
        return Cost(None, None)
    if not convolves or stage.before.depth is None:
        return Cost(0, 0)
    settings = settings_of(stage.call, stage.step)
    windows = made_windows(stage.step) if isinstance(stage.step, Make) else stage.call.windows
    taps, depth, filters = prod(w.size for w in windows), stage.before.depth, stage.after.depth or 0
    if settings["kind"] == "Conv":
        weights = taps * (depth // settings["groups"]) * filters
    else:
        deep = depth * settings["depth_multiplier"]
        weights = taps * deep + (deep * filters if settings["kind"] == "SeparableConv" else 0)
    every = (*stage.after.lengths, times)
    positions = None if None in every else prod(n for n in every if n is not None)
    bias = filters if settings["use_bias"] else 0
    return Cost(weights + bias, None if positions is None else positions * weights)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
