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
from keras_downswap.match import is_elementwise
from keras_downswap.rule import Make, Replacement, Step


def pool_follows(graph: Graph, pool: Call) -> bool:
    """Tell whether behind a pool, past elementwise calls, another pool stands."""
    call = graph.sole_consumer(pool)
    while call is not None and is_elementwise(graph, call, pool.channels_last):
        call = graph.sole_consumer(call)
    return call is not None and call.role in POOLS


def advanced(graph: Graph, answer: Replacement) -> Graph:
    """Return the graph after a swap that removes a pool: same numbers, the pool inert, its tensor the one before it.

    Args:
        graph: The graph in which the rule answered.
        answer: A replacement of a convolution by another and of the last call of its chain by nothing.

    Returns:
        The graph as the next rule meets it; the graph itself where the answer is of another kind.
    """
    conv, last, pool = (graph.calls[answer.chain[i]] for i in (0, -min(2, len(answer.chain)), -1))
    if answer.steps.get(pool.index) != () or conv.role is not Role.CONV:
        return graph
    calls, tensors = list(graph.calls), list(graph.tensors)
    calls[conv.index] = replace(conv, windows=_windows(answer.steps[conv.index]))
    calls[pool.index] = replace(pool, role=Role.OTHER, inputs=(), windows=())
    gone, stays = pool.outputs[0], last.outputs[0]
    for user in graph.consumers.get(gone, ()):
        inputs = tuple(stays if t == gone else t for t in graph.calls[user].inputs)
        calls[user] = replace(calls[user], inputs=inputs)
    for index in answer.chain:
        for tensor in graph.calls[index].outputs:
            tensors[tensor] = replace(tensors[tensor], shape=graph.tensors[gone].shape)
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
    chain = tuple(dict.fromkeys((*first.chain, *second.chain)))
    return Replacement(chain, steps)


def _in_turn(kernels: tuple[Callable[[Array], Array], ...], kernel: Array) -> Array:
    for make in kernels:
        kernel = make(kernel)
    return kernel
