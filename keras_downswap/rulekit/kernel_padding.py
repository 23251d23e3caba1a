"""A small kernel in a larger one, among zeros: for devices that take kernels of some sizes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from keras_downswap.ir.geometry import FittedPadding, Window, fit_padding
from keras_downswap.ir.graph import Call, Shape
from keras_downswap.ir.kernel_math import fixed_then, placed
from keras_downswap.ir.replacement import Make
from keras_downswap.ir.types import Array
from keras_downswap.rulekit.layers import made_windows, padding_layers
from keras_downswap.rulekit.rule import require


def with_larger_kernel(
    conv: Call, step: Make, lengths: Shape, sizes: frozenset[int] | None
) -> tuple[Make, ...]:
    """Return a made convolution whose kernel is embedded, among zeros, in one of a size that is taken.

    Args:
        conv: The call in whose place it stands.
        step: The convolution.
        lengths: The lengths of the map that it takes.
        sizes: The kernel sizes that are taken; None for all.

    Returns:
        The convolution as it is, or a larger one, with the padding and cropping layers that it
        needs in front.

    Raises:
        Refused: If no size that is taken is as large, or where the first tap lies depends on an
            unknown length.
    """
    windows = made_windows(step)
    if sizes is None or all(w.size in sizes for w in windows):
        return (step,)
    larger = [min((k for k in sizes if k >= w.size), default=0) for w in windows]
    require(
        all(larger),
        f"{conv.label} has the kernel size {[w.size for w in windows]}, and none as large is taken",
    )
    leads = [w.lead(n) for w, n in zip(windows, lengths, strict=True)]
    require(None not in leads, f"{conv.label} has a first tap that depends on an unknown length")
    ways: list[tuple[frozenset[str], list[int], list[FittedPadding]]] = []
    for share in range(max(k - w.size for k, w in zip(larger, windows, strict=True)) + 1):
        front = [min(share, k - w.size) for k, w in zip(larger, windows, strict=True)]
        axes = zip(windows, larger, front, lengths, leads, strict=True)
        fits = [
            fit_padding(Window(k, w.stride, w.dilation), w.law, n, (lead or 0) + o * w.dilation)
            for w, k, o, n, lead in axes
        ]
        ways.append((frozenset[str].intersection(*(f.plain for f in fits)), front, fits))
    plains, front, fits = max(ways, key=lambda way: bool(way[0]))
    settings = {
        **step.settings,
        "kernel_size": tuple(larger),
        "padding": min(plains, default="valid"),
    }
    place = partial(placed, front=tuple(front), taps=tuple(larger))
    if step.fixed is not None:
        taps = tuple(w.size for w in windows)
        new = replace(step, settings=settings, fixed=partial(fixed_then, step.fixed, taps, place))
    else:
        new = replace(step, settings=settings, kernel=partial(_embedded_kernel, step.kernel, place))
    return (new,) if plains else (*padding_layers(conv, fits), new)


def _embedded_kernel(
    kernel: Callable[[Array], Array] | None, place: Callable[[Array], Array], old: Array
) -> Array:
    return place(old if kernel is None else kernel(old))
