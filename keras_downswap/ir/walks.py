"""Walks through a graph, upstream and downstream of a pool; they refuse nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise, is_position_wise, pool_commutes


def paths_upstream(graph: Graph, pool: Call, padded: bool = False) -> list[tuple[Call, ...]]:
    """Walk from a pool upstream through elementwise calls and joins, along every branch.

    Args:
        graph: The graph.
        pool: The pool.
        padded: Whether a ZeroPadding layer right before the pool is walked through too: see
            `with_padding`.

    Returns:
        For each branch, in graph order, the first call that is neither, the calls between, and the
        pool. Where branches meet again upstream, one of them ends there: what they share has a
        second consumer anyway.
    """
    seen = {pool.index}
    ends: list[tuple[Call, ...]] = []
    start = with_padding(graph, pool) if padded else (pool,)
    todo: list[tuple[Call, ...]] = [start]
    while todo:
        path = todo.pop()
        for tensor in path[0].inputs:
            producer = graph.calls[graph.tensors[tensor].producer]
            if producer.index in seen:
                continue
            seen.add(producer.index)
            longer = (producer, *path)
            if is_position_wise(graph, producer, pool.channels_last):
                todo.append(longer)
            else:
                ends.append(longer)
    return sorted(ends, key=_index_of_first)


def _index_of_first(path: tuple[Call, ...]) -> int:
    return path[0].index


def with_padding(graph: Graph, pool: Call) -> tuple[Call, ...]:
    """Return a pool as one that pads explicitly, after the ZeroPadding layer that pads for it.

    Returns:
        The padding layer, and the pool with its cells as explicit padding; else the pool alone.
    """
    padding = sole_upstream(graph, pool)
    if padding is None or padding.role is not Role.RESIZE:
        return (pool,)
    cells = padding.cells
    if len(cells) != len(pool.windows):
        return (pool,)
    crops = any(before < 0 or after < 0 for before, after in cells)
    pads_itself = any(window.padding != "valid" for window in pool.windows)
    if crops or pads_itself or pool.wrapped is not None:
        return (pool,)
    windows = []
    for window, around in zip(pool.windows, cells, strict=True):
        windows.append(replace(window, padding=around))
    return padding, replace(pool, windows=tuple(windows))


def calls_deciding_on(graph: Graph, call: Call) -> set[int]:
    """Return the calls that a swap of one call depends on.

    Upstream and downstream, they reach up to the first call that slides or mixes positions.
    """
    found = {call.index}
    for path in paths_upstream(graph, call, padded=True):
        found.update(upstream.index for upstream in path)
    todo = [call]
    while todo:
        now = todo.pop()
        for tensor in now.outputs:
            for user in graph.consumers.get(tensor, ()):
                if user in found:
                    continue
                found.add(user)
                consumer = graph.calls[user]
                if is_elementwise(graph, consumer, call.channels_last):
                    todo.append(consumer)
    return found


def convs_upstream(graph: Graph, pool: Call) -> tuple[Call, ...]:
    """Return the convolutions upstream of a pool, the calls between, and the pool, in graph order.

    Returns:
        The pool alone where some branch ends in no convolution.
    """
    if pool.role is Role.GLOBAL_POOL:
        return (pool,)
    paths = paths_upstream(graph, pool, padded=True)
    for path in paths:
        if path[0].role not in (Role.CONV, Role.OTHER_CONV):
            return (pool,)
    return in_graph_order(paths)


def in_graph_order(paths: Iterable[tuple[Call, ...]]) -> tuple[Call, ...]:
    """Return all calls of several paths, each once, producers first."""
    calls: dict[int, Call] = {}
    for path in paths:
        for call in path:
            calls[call.index] = call
    return tuple(calls[index] for index in sorted(calls))


def sole_upstream(graph: Graph, call: Call) -> Call | None:
    """Return the call whose output `call` alone consumes.

    Returns:
        None where `call` has several inputs, or others consume that output too.
    """
    if len(call.inputs) != 1:
        return None
    producer = graph.producer(call)
    return producer if graph.sole_consumer(producer) is call else None


def commuting_run(graph: Graph, pool: Call) -> list[Call]:
    """Return the calls upstream of a pool that commute with it, and the pool, producers first.

    Each of them is consumed by the next one alone.
    """
    run = [pool]
    while True:
        upstream = sole_upstream(graph, run[0])
        if upstream is None or not pool_commutes(graph, pool, upstream):
            return run
        run.insert(0, upstream)
