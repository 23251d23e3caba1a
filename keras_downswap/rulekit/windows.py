"""The windows of a convolution and a pool together, and where they start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from keras_downswap.ir.geometry import Window, middle_first
from keras_downswap.ir.graph import Call, Graph, Shape
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.rule import Refused, require


def composed_stride(conv: Call, pool: Call) -> list[Window]:
    """Return the convolution's windows with the pool's strides multiplied in.

    Raises:
        Refused: If the convolution is dilated and would stride: Keras has no such convolution.
    """
    windows = []
    for c, p in zip(conv.windows, pool.windows, strict=True):
        windows.append(Window(c.size, c.stride * p.stride, c.dilation))
    dilation = tuple(window.dilation for window in windows)
    strided = any(window.stride > 1 for window in windows)
    dilated = any(rate > 1 for rate in dilation)
    require(
        not (strided and dilated),
        f"{conv.label} has dilation_rate {dilation}, and Keras has no convolution with stride and "
        "dilation",
    )
    return windows


def unstrided(windows: tuple[Window, ...]) -> list[Window]:
    """Return windows with stride 1 and all else as it is."""
    return [Window(w.size, 1, w.dilation, w.padding) for w in windows]


def strided_pools(graph: Graph, conv: Call) -> list[Window]:
    """Return the windows of the pool that subsamples after a convolution freed of its stride.

    Each is as large as its stride. The padding is `valid` where that gives the strided
    convolution's length, else `same`, which always does.
    """
    agrees = True
    sizes = graph.sizes(conv)
    for slow, window, length in zip(unstrided(conv.windows), conv.windows, sizes, strict=True):
        pooled = slow.law.then(Window(window.stride, window.stride).law)
        agrees = agrees and pooled.agrees(window.law, length)
    if agrees:
        return [Window(w.stride, w.stride, 1, "valid") for w in conv.windows]
    return [Window(w.stride, w.stride, 1, "same") for w in conv.windows]


def composed_span(conv: Call, pool: Call) -> list[Window]:
    """Return the windows of one convolution with the receptive field of a conv and a pool."""
    windows = []
    for c, p in zip(conv.windows, pool.windows, strict=True):
        span = c.span + (p.size - 1) * c.stride
        windows.append(Window(span, c.stride * p.stride))
    return windows


def composing(transform: Callable[..., Array], conv: Call, pool: Call) -> Callable[[Array], Array]:
    """Return a function of a kernel alone.

    Args:
        transform: A function of a kernel and of the pair's dilation, pool sizes and strides.
        conv: The convolution.
        pool: The pool.
    """
    dilation = tuple(window.dilation for window in conv.windows)
    sizes = tuple(window.size for window in pool.windows)
    strides = tuple(window.stride for window in conv.windows)
    return partial(transform, dilation=dilation, pool=sizes, stride=strides)


def lengths_after(graph: Graph, conv: Call) -> Shape:
    """Return the lengths of the map that a convolution produces, None where unknown."""
    lengths = []
    for window, n in zip(conv.windows, graph.sizes(conv), strict=True):
        lengths.append(None if n is None else window.law(n))
    return tuple(lengths)


def known_leads(graph: Graph, conv: Call) -> list[int]:
    """Return how many cells the convolution pads before the map, axis by axis.

    Raises:
        Refused: If that depends on a length that is unknown.
    """
    leads = []
    for axis, (window, n) in enumerate(zip(conv.windows, graph.sizes(conv), strict=True)):
        lead = window.lead(n)
        if lead is None:
            raise Refused(
                f"{conv.label} has padding='same' and stride {window.stride} over an unknown "
                f"length (spatial axis {axis}): where its first tap lies depends on that length, "
                "so no fixed padding keeps the values"
            )
        leads.append(lead)
    return leads


def covering_leads(graph: Graph, conv: Call, pool: Call) -> list[int | tuple[int, ...]]:
    """Return where a pair's first windows start, axis by axis.

    Where that depends on an unknown length it is a wish, a tuple: the middles of both windows.
    """
    leads: list[int | tuple[int, ...]] = []
    sizes = graph.sizes(conv)
    after = lengths_after(graph, conv)
    for c, p, n, pooled in zip(conv.windows, pool.windows, sizes, after, strict=True):
        conv_lead = c.lead(n)
        pool_lead = p.lead(pooled)
        if conv_lead is None or pool_lead is None:
            middle_of_conv = (c.span - 1) // 2
            middle_of_pool = (p.size - 1) // 2 * c.stride
            leads.append((middle_of_conv + middle_of_pool,))
        else:
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
    return tuple(start - position * conv.stride for position in middle_first(pool.size))
