"""The windows of a convolution and a pool together, and where they start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from keras_downswap.ir.geometry import Padding, SizeMap, Window, middle_first
from keras_downswap.ir.graph import Call, Graph, Shape
from keras_downswap.ir.replacement import KernelTransform
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.rule import Refused, require

Lead = int | tuple[int, ...]
"""A lead that the values need, or wishes for it, best first: see `geometry.fit_padding`."""


@dataclass(frozen=True)
class PairAxis:
    """One spatial axis of two calls in a row: a convolution and a pool, or two pools.

    Attributes:
        first: The window of the first call.
        second: The window of the second call.
        length: The length of the first call's input, None where unknown.
    """

    first: Window
    second: Window
    length: int | None

    @property
    def law(self) -> SizeMap:
        """The length law of both calls together."""
        return self.first.law.then(self.second.law)

    @property
    def length_between(self) -> int | None:
        """The length of the map between the two calls, None where unknown."""
        if self.length is None:
            return None
        return self.first.law(self.length)


def window_pairs(first: Call, second: Call) -> list[tuple[Window, Window]]:
    """Return the windows of two calls, axis by axis."""
    return list(zip(first.windows, second.windows, strict=True))


def pair_axes(graph: Graph, first: Call, second: Call) -> list[PairAxis]:
    """Return the spatial axes of two calls of which the second consumes the first one's output."""
    axes = []
    lengths = graph.sizes(first)
    for windows, length in zip(window_pairs(first, second), lengths, strict=True):
        axes.append(PairAxis(*windows, length))
    return axes


def windows_with_lengths(graph: Graph, call: Call) -> list[tuple[Window, int | None]]:
    """Return each window of a call and the length that it slides over, None where unknown."""
    lengths = graph.sizes(call)
    return list(zip(call.windows, lengths, strict=True))


def padded_alike(windows: Sequence[Window], padding: Padding) -> tuple[Window, ...]:
    """Return windows with one padding instead of their own."""
    return tuple(replace(window, padding=padding) for window in windows)


def composed_stride(conv: Call, pool: Call) -> list[Window]:
    """Return the convolution's windows with the pool's strides multiplied in.

    Raises:
        Refused: If the convolution is dilated and would stride: Keras has no such convolution.
    """
    windows = []
    for c, p in window_pairs(conv, pool):
        stride = c.stride * p.stride
        windows.append(Window(c.size, stride, c.dilation))
    dilation = tuple(window.dilation for window in windows)
    strided = any(window.stride > 1 for window in windows)
    dilated = any(rate > 1 for rate in dilation)
    keras = "Keras has no convolution with stride and dilation"
    allowed = not (strided and dilated)
    require(allowed, f"{conv.label} has dilation_rate {dilation}, and {keras}")
    return windows


def unstrided(windows: Sequence[Window]) -> list[Window]:
    """Return windows with stride 1 and all else as it is."""
    return [replace(window, stride=1) for window in windows]


def pointwise_windows(call: Call) -> tuple[Window, ...]:
    """Return the windows of a 1x1 convolution of a call's rank, of stride 1."""
    return (Window(1),) * len(call.windows)


def subsampling_windows(call: Call) -> tuple[Window, ...]:
    """Return the windows of a pool that subsamples with a call's strides and computes nothing."""
    return tuple(Window(1, window.stride) for window in call.windows)


def blur_windows(call: Call) -> tuple[Window, ...]:
    """Return the windows of a binomial blur that subsamples with a call's strides."""
    windows = []
    for window in call.windows:
        # From one cell that is kept to its neighbours up to the next ones that are kept.
        taps = 2 * window.stride - 1
        windows.append(Window(taps, window.stride))
    return tuple(windows)


def strided_pools(graph: Graph, conv: Call) -> tuple[Window, ...]:
    """Return the windows of the pool that subsamples after a convolution freed of its stride.

    Each is as large as its stride. The padding is `valid` where that gives the strided
    convolution's length, else `same`, which always does.
    """
    agrees = True
    tiles = []
    for window, length in windows_with_lengths(graph, conv):
        tile = Window(window.stride, window.stride)
        dense = replace(window, stride=1)
        pooled = dense.law.then(tile.law)
        agrees = agrees and pooled.agrees(window.law, length)
        tiles.append(tile)
    # A Keras pool has one padding for all its axes.
    padding: Padding = "valid" if agrees else "same"
    return padded_alike(tiles, padding)


def composed_span(conv: Call, pool: Call) -> list[Window]:
    """Return the windows of one convolution with the receptive field of a conv and a pool."""
    windows = []
    for c, p in window_pairs(conv, pool):
        # Two neighbours of the pooled map lie a convolution's stride apart on the input.
        span = c.span + (p.size - 1) * c.stride
        windows.append(Window(span, c.stride * p.stride))
    return windows


def composing(transform: Callable[..., Array], conv: Call, pool: Call) -> KernelTransform:
    """Return a function of a kernel alone.

    Args:
        transform: A function of a kernel and of the pair's dilation, pool sizes and strides.
        conv: The convolution.
        pool: The pool.
    """
    dilation = tuple(window.dilation for window in conv.windows)
    sizes = tuple(window.size for window in pool.windows)
    strides = tuple(window.stride for window in conv.windows)
    # A `partial` of a module's function can be pickled and compared, which a closure cannot.
    return partial(transform, dilation=dilation, pool=sizes, stride=strides)


def lengths_after(graph: Graph, conv: Call) -> Shape:
    """Return the lengths of the map that a convolution produces, None where unknown."""
    lengths = []
    for window, n in windows_with_lengths(graph, conv):
        lengths.append(None if n is None else window.law(n))
    return tuple(lengths)


def known_leads(graph: Graph, conv: Call) -> list[int]:
    """Return how many cells the convolution pads before the map, axis by axis.

    Raises:
        Refused: If that depends on a length that is unknown.
    """
    leads = []
    for axis, (window, n) in enumerate(windows_with_lengths(graph, conv)):
        lead = window.lead(n)
        # `same` splits its padding by the length modulo the stride. A layer pads the same number
        # of cells whatever the length, so it would start at another cell for some lengths.
        if lead is None:
            raise Refused(
                f"{conv.label} has padding='same' and stride {window.stride} over an unknown "
                f"length (spatial axis {axis}): where its first tap lies depends on that length, "
                "so no fixed padding keeps the values"
            )
        leads.append(lead)
    return leads


def covering_leads(graph: Graph, conv: Call, pool: Call) -> list[Lead]:
    """Return where a pair's first windows start, axis by axis.

    Where that depends on an unknown length it is a wish, a tuple: the middles of both windows.
    """
    leads: list[Lead] = []
    for axis in pair_axes(graph, conv, pool):
        c = axis.first
        p = axis.second
        conv_lead = c.lead(axis.length)
        pool_lead = p.lead(axis.length_between)
        if conv_lead is None or pool_lead is None:
            middle_of_conv = (c.span - 1) // 2
            middle_of_pool = (p.size - 1) // 2 * c.stride
            leads.append((middle_of_conv + middle_of_pool,))
        else:
            # The pool counts its lead in cells of the convolution's output, a stride apart.
            leads.append(conv_lead + pool_lead * c.stride)
    return leads


def sampled_leads(conv: Window, pool: Window, n: int | None) -> tuple[int, ...]:
    """Return the leads at which a strided convolution samples each position of the pool's window.

    The middle of the window comes first.
    """
    known = conv.lead(n)
    start = (conv.span - 1) // 2 if known is None else known
    if isinstance(pool.padding, tuple):
        start += pool.padding[0] * conv.stride
    positions = middle_first(pool.size)
    # Sampling a later position starts later, which is a smaller lead.
    return tuple(start - position * conv.stride for position in positions)
