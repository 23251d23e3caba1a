"""A graph's calls branch by branch: producers first, and one argument's branch whole before the
next one's.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Sketch

from keras_downswap.ir.graph import Call, Graph, Role


def drawn(sources: list[list[int]]) -> Graph:
    """A graph whose calls read what earlier ones made, by their numbers; the last one is the
    output.
    """
    sketch = Sketch()
    made = [sketch.input(8, 8)]
    for number, read in enumerate(sources):
        shape = sketch.tensors[made[0]].shape
        inputs = tuple(made[i % len(made)] for i in read)
        made.append(sketch.add(f"call{number}", "Add", Role.JOIN, inputs, shape, "float32"))
    return sketch.graph()


def upstream(graph: Graph, call: Call) -> set[int]:
    found, todo = set[int](), [call]
    while todo:
        now = todo.pop()
        if now.index not in found:
            found.add(now.index)
            todo += [graph.calls[graph.tensors[t].producer] for t in now.inputs]
    return found


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=12))
def test_producers_come_first_and_branches_are_whole(sources: list[list[int]]) -> None:
    graph = drawn(sources)
    order = [call.index for call in graph.branch_by_branch]
    assert sorted(order) == list(range(len(graph.calls)))
    place = {index: number for number, index in enumerate(order)}
    for call in graph.calls:
        branches = [graph.calls[graph.tensors[t].producer] for t in call.inputs]
        assert all(place[branch.index] < place[call.index] for branch in branches)
    last = graph.calls[graph.tensors[graph.outputs[-1]].producer]
    first, *others = [upstream(graph, graph.calls[graph.tensors[t].producer]) for t in last.inputs]
    rest = upstream(graph, last) - first
    assert not others or all(place[a] < place[b] for a in first for b in rest)


def test_keras_own_order_goes_by_depth() -> None:
    """Of two branches side by side, the first runs as a whole; ten thousand calls in a row are no
    depth.
    """
    sketch = Sketch()
    x = sketch.input(8, 8)
    shape = sketch.tensors[x].shape
    a, b = x, x
    for number in range(3):
        a = sketch.add(f"a{number}", "ReLU", Role.POINTWISE, (a,), shape, "float32")
        b = sketch.add(f"b{number}", "ReLU", Role.POINTWISE, (b,), shape, "float32")
    sketch.add("end", "Add", Role.JOIN, (b, a), shape, "float32")
    names = [call.name for call in sketch.graph().branch_by_branch]
    assert names == ["input", "b0", "b1", "b2", "a0", "a1", "a2", "end"]
    assert len(drawn([[number] for number in range(10_000)]).branch_by_branch) == 10_001
