"""The order in which a model's nodes are read."""

from __future__ import annotations

from collections import defaultdict
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

from keras_downswap.dialects.base import Dialect


def in_call_order(dialect: Dialect, nodes: list[Any]) -> list[Any]:
    """Sort nodes so that producers come first, and each shared layer's calls as they were made.

    A Keras sorts by depth, which says nothing about two calls of one layer in different branches.
    Recorded again in another order, the calls of the copied layer would change places among its
    nodes, and a saved file, which names a tensor by the number of its layer's node, would connect
    the wrong ones.
    """
    calls_of: dict[int, list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        calls_of[id(dialect.node_layer(node))].append(index)
    shared = [indices for indices in calls_of.values() if len(indices) > 1]
    if not shared:
        return nodes

    predecessors = _producers(dialect, nodes)
    for indices in shared:
        layer = dialect.node_layer(nodes[indices[0]])
        call_number = {id(node): number for number, node in enumerate(dialect.layer_nodes(layer))}
        as_called = sorted((call_number[id(nodes[index])], index) for index in indices)
        for (_, earlier), (_, later) in pairwise(as_called):
            predecessors[later].add(earlier)
    return [nodes[index] for index in TopologicalSorter(predecessors).static_order()]


def _producers(dialect: Dialect, nodes: list[Any]) -> dict[int, set[int]]:
    """Return for each node, by its index, the nodes that produce what it consumes."""
    producer = {}
    for index, node in enumerate(nodes):
        for tensor in dialect.flatten(dialect.node_outputs(node)):
            producer[id(tensor)] = index
    found: dict[int, set[int]] = {}
    for index, node in enumerate(nodes):
        consumed = map(id, dialect.flatten(dialect.node_arguments(node)))
        found[index] = {producer[tensor] for tensor in consumed if tensor in producer}
    return found
