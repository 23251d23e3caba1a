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
    windows = [
        Window(c.size, c.stride * p.stride, c.dilation)
        for c, p in zip(conv.windows, pool.windows, strict=True)
    ]
    dilation = tuple(w.dilation for w in windows)
    possible = all(w.stride == 1 for w in windows) or all(d == 1 for d in dilation)
    require(
        possible,
        f"{conv.label} has dilation_rate {dilation}, and Keras has no convolution with stride and dilation",
    )
    return windows


def strided_pools(graph: Graph, conv: Call) -> list[Window]:
    """Return the windows of the pool, as large as its stride, that subsamples behind a convolution freed of its stride.

    Of padding `valid` where that gives the strided convolution's length, else `same`, which always
    does.
    """
    slow = [Window(w.size, 1, w.dilation, w.padding).law for w in conv.windows]
    agrees = all(
        law.then(Window(w.stride, w.stride).law).agrees(w.law, n)
        for law, w, n in zip(slow, conv.windows, graph.sizes(conv), strict=True)
    )
    return [Window(w.stride, w.stride, 1, "valid" if agrees else "same") for w in conv.windows]


def composed_span(conv: Call, pool: Call) -> list[Window]:
    """Return the windows of the one convolution that sees what a convolution and the pool behind it see."""
    axes = zip(conv.windows, pool.windows, strict=True)
    return [Window(c.span + (p.size - 1) * c.stride, c.stride * p.stride) for c, p in axes]


def composing(make: Callable[..., Array], conv: Call, pool: Call) -> Callable[[Array], Array]:
    """Return a function of a kernel out of one that also takes the pair's dilation, pool and stride, per tap axis."""
    return partial(
        make,
        dilation=tuple(w.dilation for w in conv.windows),
        pool=tuple(w.size for w in pool.windows),
        stride=tuple(w.stride for w in conv.windows),
    )


def lengths_after(graph: Graph, conv: Call) -> Shape:
    """Return the lengths of the map that a convolution makes, None where unknown."""
    axes = zip(conv.windows, graph.sizes(conv), strict=True)
    return tuple(None if n is None else w.law(n) for w, n in axes)


def known_leads(graph: Graph, conv: Call) -> list[int]:
    """Return how many cells the convolution pads in front, axis by axis.

    Raises:
        Refused: If that depends on a length that is unknown.
    """
    leads = []
    for axis, (window, n) in enumerate(zip(conv.windows, graph.sizes(conv), strict=True)):
        lead = window.lead(n)
        if lead is None:
            raise Refused(
                f"{conv.label} has padding='same' and stride {window.stride} over an unknown length (spatial axis "
                f"{axis}): where its first tap lies depends on that length, so no fixed padding keeps the values"
            )
        leads.append(lead)
    return leads


def covering_leads(graph: Graph, conv: Call, pool: Call) -> list[int | tuple[int, ...]]:
    """Return where a pair's first windows start, axis by axis; as a wish where that depends on an unknown length."""
    leads: list[int | tuple[int, ...]] = []
    for c, p, n, behind in zip(
        conv.windows, pool.windows, graph.sizes(conv), lengths_after(graph, conv), strict=True
    ):
        first, second = c.lead(n), p.lead(behind)
        if first is None or second is None:
            leads.append(((c.span - 1) // 2 + (p.size - 1) // 2 * c.stride,))
        else:
            leads.append(first + second * c.stride)
    return leads


def sampled_leads(conv: Window, pool: Window, n: int | None) -> tuple[int, ...]:
    """Return the leads at which a strided convolution samples each position of the pool's window, the middle first."""
    known = conv.lead(n)
    start = (conv.span - 1) // 2 if known is None else known
    start += pool.padding[0] * conv.stride if isinstance(pool.padding, tuple) else 0
    return tuple(start - position * conv.stride for position in middle_first(pool.size))
