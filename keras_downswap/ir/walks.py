"""Walks through a graph, upstream and downstream of a pool."""

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
        padded: Whether a ZeroPadding layer right in front of the pool is walked through too: see
            `with_padding`.

    Returns:
        For each branch, in graph order, the first call that is neither, the calls between, and the
        pool. Where branches meet again upstream, one of them ends there: what they share has a
        second consumer anyway.
    """
    seen = {pool.index}
    ends: list[tuple[Call, ...]] = []
    todo: list[tuple[Call, ...]] = [with_padding(graph, pool) if padded else (pool,)]
    while todo:
        path = todo.pop()
        for tensor in path[0].inputs:
            up = graph.calls[graph.tensors[tensor].producer]
            if up.index in seen:
                continue
            seen.add(up.index)
            (todo if is_position_wise(graph, up, pool.channels_last) else ends).append((up, *path))
    return sorted(ends, key=lambda path: path[0].index)


def with_padding(graph: Graph, pool: Call) -> tuple[Call, ...]:
    """Return a pool as one that pads explicitly, behind the ZeroPadding layer that does it; else the pool alone."""
    front = sole_upstream(graph, pool)
    padding = (
        () if front is None or front.role is not Role.RESIZE else front.settings.get("cells", ())
    )
    plain = pool.wrapped is None and all(w.padding == "valid" for w in pool.windows)
    if (
        front is None
        or not padding
        or not plain
        or len(padding) != len(pool.windows)
        or min(map(min, padding)) < 0
    ):
        return (pool,)
    windows = tuple(replace(w, padding=pair) for w, pair in zip(pool.windows, padding, strict=True))
    return front, replace(pool, windows=windows)


def calls_deciding_on(graph: Graph, call: Call) -> set[int]:
    """Return the calls that decide on a swap of one: up to the first that slides or mixes, upstream and downstream."""
    found = {
        call.index,
        *(up.index for path in paths_upstream(graph, call, padded=True) for up in path),
    }
    todo = [call]
    while todo:
        for user in (
            user for tensor in todo.pop().outputs for user in graph.consumers.get(tensor, ())
        ):
            if user not in found:
                found.add(user)
                todo += [graph.calls[user]] * is_elementwise(
                    graph, graph.calls[user], call.channels_last
                )
    return found


def convs_upstream(graph: Graph, pool: Call) -> tuple[Call, ...]:
    """Return what a pool reaches upstream, in graph order: convolutions, the calls between, and the pool.

    Returns:
        The pool alone where some branch ends in no convolution.
    """
    paths = paths_upstream(graph, pool, padded=True)
    found = (
        all(path[0].role in (Role.CONV, Role.OTHER_CONV) for path in paths)
        and pool.role is not Role.GLOBAL_POOL
    )
    return in_graph_order(paths) if found else (pool,)


def in_graph_order(paths: Iterable[tuple[Call, ...]]) -> tuple[Call, ...]:
    """Return all calls of several paths, each once, producers first."""
    calls = {call.index: call for path in paths for call in path}
    return tuple(calls[index] for index in sorted(calls))


def sole_upstream(graph: Graph, call: Call) -> Call | None:
    """Return the call whose output `call` alone consumes; None where it has several inputs or others consume it too."""
    if len(call.inputs) != 1:
        return None
    up = graph.producer(call)
    return up if graph.sole_consumer(up) is call else None


def commuting_run(graph: Graph, pool: Call) -> list[Call]:
    """Return a pool, and the calls upstream of it that commute with it and that it alone consumes, producers first."""
    run = [pool]
    while (up := sole_upstream(graph, run[0])) is not None and pool_commutes(graph, pool, up):
        run.insert(0, up)
    return run
