"""Parameters and multiply-accumulates of a site before and after its swap, from the graph alone.

A convolution costs (output positions) * (kernel values) MACs a sample, where it has (taps) *
(channels in / groups) * (filters) values; a depthwise one (taps) * (channels in) * (depth
multiplier), and a separable one a 1x1 kernel on top. Pools, padding and elementwise maps are not
counted: they multiply nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from keras_downswap.ir.facts import ConvFacts, LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Graph, Role, Shape
from keras_downswap.ir.replacement import KEEP, Make, Replacement
from keras_downswap.planning.shapes import LayerShape, conv_facts_of, infer_shapes, product
from keras_downswap.planning.sites import Site


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
    first = graph.calls[site.calls[0]]
    last = graph.calls[site.calls[-1]]
    input_shape = graph.input_shape(first)
    output_shape = graph.output_shape(last)
    before = cost_of(graph, Replacement(site.calls, {}))
    after = before
    if site.replacement is not None:
        after = cost_of(graph, site.replacement)
    return SiteCost(input_shape, output_shape, before, after)


def cost_of(graph: Graph, replacement: Replacement) -> Cost:
    """Return what the layers cost that a replacement calls; without steps, the old layers.

    Args:
        graph: The graph that holds the site.
        replacement: The replacement.
    """
    parameters: list[int | None] = []
    macs: list[int | None] = []
    for shape in infer_shapes(graph, replacement):
        cost = _layer_cost(shape, graph.times(shape.call))
        parameters.append(cost.parameters)
        macs.append(cost.macs)
    return Cost(_sum(parameters), _sum(macs))


def effort(graph: Graph, replacement: Replacement, unknown: int = 224) -> tuple[int, int]:
    """Return a site's cost by the measure that ranks exact forms.

    Forms are compared, so one number is needed where a length is unknown: one that is usual.

    Args:
        graph: The graph that holds the site.
        replacement: The replacement; without steps, the old layers are meant.
        unknown: The length to assume where none is known.

    Returns:
        Its MACs, then how many values its layers write.
    """
    macs = 0
    written = 0
    for shape in infer_shapes(graph, replacement, unknown):
        # Once for each call: how often a call runs is the same for all of its forms.
        macs += _layer_cost(shape, 1).macs or 0
        sizes = (*shape.after.lengths, shape.after.depth)
        written += prod(size or 1 for size in sizes)
    return macs, written


def _layer_cost(shape: LayerShape, times: int | None) -> Cost:
    """Return what one layer costs that runs so many times for one sample."""
    kept = shape.step is KEEP
    # A transposed convolution, say: it multiplies, and the formulas here are not about it.
    if kept and shape.call.role is Role.OTHER_CONV:
        return Cost(None, None)
    facts = conv_facts_of(shape.call, shape.step)
    if facts is None or shape.before.depth is None:
        return Cost(0, 0)
    windows = shape.call.windows
    if isinstance(shape.step, Make):
        windows = shape.step.windows
    filters = shape.after.depth or 0
    weights = _kernel_values(facts, windows, shape.before.depth, filters)
    bias = filters if facts.use_bias else 0
    runs = product((*shape.after.lengths, times))
    macs = None if runs is None else runs * weights
    return Cost(weights + bias, macs)


def _kernel_values(facts: ConvFacts, windows: Sequence[Window], depth: int, filters: int) -> int:
    """Return how many values the kernels of a convolution have."""
    taps = prod(window.size for window in windows)
    if facts.kind is LayerKind.CONV:
        return taps * (depth // facts.groups) * filters
    depthwise_channels = depth * facts.depth_multiplier
    values = taps * depthwise_channels
    if facts.kind is LayerKind.SEPARABLE_CONV:
        values += depthwise_channels * filters
    return values


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
