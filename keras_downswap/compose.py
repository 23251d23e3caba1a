"""Pools behind pools: what a graph looks like once a swap is made, and two swaps of one convolution as one.

A pool that stands behind a swapped pool meets the strided convolution that took that pool's place. So the next rule is
asked on the graph as it will be, and both answers become one, which a second run finds nothing to add to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from keras_downswap.emit import cells, made_windows
from keras_downswap.geometry import Window
from keras_downswap.graph import POOLS, Call, Graph, Role
from keras_downswap.kernels import Array
from keras_downswap.match import passes
from keras_downswap.rule import Make, Replacement, Step


def pool_follows(graph: Graph, pool: Call) -> bool:
    """Tell whether behind a pool, past elementwise calls and joins, another pool stands."""
    call = graph.sole_consumer(pool)
    while call is not None and passes(graph, call, pool.channels_last):
        call = graph.sole_consumer(call)
    return call is not None and call.role in POOLS


def advanced(graph: Graph, answer: Replacement) -> Graph:
    """Return the graph after a swap that removes a pool: same numbers, the pool inert, its tensor the one before it.

    Args:
        graph: The graph in which the rule answered.
        answer: A replacement of convolutions by others and of the last call of its chain by nothing.

    Returns:
        The graph as the next rule meets it; the graph itself where the answer is of another kind.
    """
    *chain, pool = (graph.calls[i] for i in answer.chain)
    convs = [call for call in chain if answer.steps.get(call.index)]
    if answer.steps.get(pool.index) != () or not convs or any(conv.role is not Role.CONV for conv in convs):
        return graph
    calls, tensors = list(graph.calls), list(graph.tensors)
    for conv in convs:
        calls[conv.index] = replace(conv, windows=_windows(answer.steps[conv.index]))
    calls[pool.index] = replace(pool, role=Role.OTHER, inputs=(), windows=())
    gone, stays = pool.outputs[0], pool.inputs[0]
    for user in graph.consumers.get(gone, ()):
        inputs = tuple(stays if t == gone else t for t in graph.calls[user].inputs)
        calls[user] = replace(calls[user], inputs=inputs)
    channel_axis = -1 if pool.channels_last else 1 + (pool.wrapped is not None)
    for tensor in (t for call in chain for t in call.outputs):
        shape = list(graph.tensors[gone].shape)
        shape[channel_axis] = graph.tensors[tensor].shape[channel_axis]
        tensors[tensor] = replace(tensors[tensor], shape=tuple(shape))
    outputs = tuple(stays if t == gone else t for t in graph.outputs)
    return replace(graph, calls=tuple(calls), tensors=tuple(tensors), outputs=outputs)


def _windows(steps: tuple[Step, ...]) -> tuple[Window, ...]:
    """Return the windows of a made convolution, with the layers in front of it as explicit padding."""
    *front, conv = (step for step in steps if isinstance(step, Make))
    around = [(0, 0)] * conv.rank
    for layer in front:
        around = [(b + x, a + y) for (b, a), (x, y) in zip(around, cells(layer), strict=True)]
    windows = made_windows(conv)
    return tuple(replace(w, padding=p) for w, p in zip(windows, around, strict=True)) if front else windows


def after(first: Replacement, second: Replacement) -> Replacement:
    """Return two swaps of one convolution, the second on what the first made, as one."""
    steps: dict[int, tuple[Step, ...]] = {**first.steps, **second.steps}
    for index, made in second.steps.items():
        if index in first.steps and made:
            *front, conv = made
            kernels = [s.kernel for s in (first.steps[index][-1], conv) if isinstance(s, Make) and s.kernel]
            if isinstance(conv, Make) and kernels:
                steps[index] = (*front, replace(conv, kernel=partial(_in_turn, tuple(kernels))))
    return Replacement(tuple(sorted({*first.chain, *second.chain})), steps)


def _in_turn(kernels: tuple[Callable[[Array], Array], ...], kernel: Array) -> Array:
    for make in kernels:
        kernel = make(kernel)
    return kernel
