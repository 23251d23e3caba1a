"""Swaps behind swaps: what a graph looks like once a swap is made, and two swaps of one layer as one.

A pool that stands beside a swapped pool meets the strided convolution that took that pool's place. So the next rule is
asked on the graph as it will be, and both answers become one, which a second run finds nothing to add to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from keras_downswap.emit import cells, made_windows
from keras_downswap.follow import stages
from keras_downswap.geometry import Window
from keras_downswap.graph import Call, Graph, Role, Shape
from keras_downswap.kernels import Array
from keras_downswap.rule import KEEP, Make, Replacement, Step

RESIZES = frozenset({"ZeroPadding", "Cropping"})


def advanced(graph: Graph, answer: Replacement) -> Graph | None:
    """Return the graph after a swap: same numbers, removed calls inert, made convolutions in the place of old calls.

    Args:
        graph: The graph in which the rule answered.
        answer: A replacement of calls by convolutions (with padding and cropping in front), by cropping, or by nothing.

    Returns:
        The graph as the next rule meets it; None where the answer is of another kind.
    """
    calls, tensors, outputs = list(graph.calls), list(graph.tensors), graph.outputs
    for index, steps in answer.steps.items():
        call = _stands(calls[index], steps)
        if call is None:
            return None
        calls[index] = call
    for tensor, lengths in stages(graph, answer)[1].items():
        tensors[tensor] = replace(tensors[tensor], shape=_with(graph, tensor, lengths))
    for index in sorted((i for i, steps in answer.steps.items() if not steps), reverse=True):
        gone, stays = calls[index].outputs[0], calls[index].inputs[0]
        for user in graph.consumers.get(gone, ()):
            inputs = tuple(stays if t == gone else t for t in calls[user].inputs)
            calls[user] = replace(calls[user], inputs=inputs)
        calls[index] = replace(calls[index], role=Role.OTHER, inputs=(), windows=())
        outputs = tuple(stays if t == gone else t for t in outputs)
    return replace(graph, calls=tuple(calls), tensors=tuple(tensors), outputs=outputs)


def _stands(call: Call, steps: tuple[Step, ...]) -> Call | None:
    """Return what stands in a call's place: a convolution, a resizing layer, the call itself; None for all else."""
    if steps in ((), (KEEP,)):
        return call
    *front, last = steps
    makes = [step for step in front if isinstance(step, Make) and step.kind in RESIZES]
    if not isinstance(last, Make) or len(makes) < len(front):
        return None
    if last.kind in RESIZES:
        return replace(call, role=Role.RESIZE, class_name=f"{last.kind}{last.rank}D", windows=())
    if last.kind == "Activation" and not front:
        return replace(call, role=Role.LINEAR, windows=())
    if not last.convolves:
        return None
    windows = _windows(tuple(makes), last)
    if last.like is not None:
        return replace(call, windows=windows)
    kept = {"layers_in_front": call.settings.get("layers_in_front", frozenset()), "depth_multiplier": 1, "groups": 1}
    settings = {**kept, "kind": last.kind, **last.settings}
    class_name = f"{last.kind}{last.rank}D"
    return replace(call, role=Role.CONV, class_name=class_name, windows=windows, settings=settings)


def _windows(front: tuple[Make, ...], conv: Make) -> tuple[Window, ...]:
    """Return the windows of a made convolution, with the layers in front of it as explicit padding."""
    around = [(0, 0)] * conv.rank
    for layer in front:
        around = [(b + x, a + y) for (b, a), (x, y) in zip(around, cells(layer), strict=True)]
    windows = made_windows(conv)
    return tuple(replace(w, padding=p) for w, p in zip(windows, around, strict=True)) if front else windows


def _with(graph: Graph, tensor: int, lengths: Shape) -> Shape:
    """Return a tensor's shape with other lengths."""
    shape, call = list(graph.tensors[tensor].shape), graph.calls[graph.tensors[tensor].producer]
    start = 1 + (call.wrapped is not None) + (not call.channels_last)
    shape[start : start + len(lengths)] = lengths
    return tuple(shape)


def after(first: Replacement, second: Replacement) -> Replacement:
    """Return two swaps of one layer, the second on what the first made, as one."""
    steps: dict[int, tuple[Step, ...]] = {**first.steps, **second.steps}
    for index, made in second.steps.items():
        if not made or not first.steps.get(index):
            continue
        (*front, conv), old = made, first.steps[index][-1]
        if isinstance(conv, Make) and isinstance(old, Make):
            steps[index] = (*front, _both(old, conv))
    return Replacement(tuple(sorted({*first.chain, *second.chain})), steps)


def _both(old: Make, new: Make) -> Make:
    """Return a made convolution, made over by a second swap."""
    settings = {**old.settings, **new.settings}
    if old.fixed is not None:
        taps = tuple(old.settings["kernel_size"])
        fixed = old.fixed if new.kernel is None else partial(_fixed_then, old.fixed, taps, new.kernel)
        return replace(old, settings=settings, fixed=fixed)
    kernels = tuple(make.kernel for make in (old, new) if make.kernel)
    return replace(old, settings=settings, kernel=partial(_in_turn, kernels) if kernels else None)


def _fixed_then(
    fixed: Callable[[tuple[int, ...]], Array],
    taps: tuple[int, ...],
    make: Callable[[Array], Array],
    shape: tuple[int, ...],
) -> Array:
    return make(fixed((*taps, *shape[len(taps) :])))


def _in_turn(kernels: tuple[Callable[[Array], Array], ...], kernel: Array) -> Array:
    for make in kernels:
        kernel = make(kernel)
    return kernel
