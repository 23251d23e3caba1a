"""Replays a model's calls with a plan applied: a new model that shares no variable with the old one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

from keras_downswap.dialects.base import NewGraph
from keras_downswap.dialects.copying.deep_copy import LayerCopier, Uncopyable
from keras_downswap.dialects.reading import LiveScope, Reading
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import KEEP, Make, MakeConv, Step
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.make_layers import fill, kernels, make
from keras_downswap.rebuilding.restore import restore_class_and_attributes


@dataclass
class Rewritten:
    """A new model, and which of its layers stands for which old one.

    Attributes:
        model: The new model.
        layers: New layer by the number of the old one; replaced and removed layers are absent.
        made: For each replaced call (scope, index), the layers called in its place, in order.
        tensors: New symbolic tensor by (scope, number of the old one), for tensors that survive.
        sharing: Numbers of layers that could only be shared with the original.
        notes: What a user must know of layers that could not be copied.
        untied: Names of swapped layers to whose old weights something else in the new model still
            refers.
    """

    model: Any = None
    layers: dict[int, Any] = field(default_factory=dict)
    made: dict[tuple[int, int], list[Any]] = field(default_factory=dict)
    tensors: dict[tuple[int, int], Any] = field(default_factory=dict)
    sharing: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)


def rewrite(reading: Reading, sites: Sequence[Site]) -> Rewritten:
    """Build the new model.

    Untouched calls are recorded on fresh tensors of the old spec and never run; replaced calls, and
    calls whose input changes shape, go through Keras itself.

    Args:
        reading: The old model.
        sites: What becomes of its downsampling calls.

    Returns:
        The new model, unverified.
    """
    steps = {
        (site.scope, index): steps
        for site in sites
        if site.replacement is not None
        for index, steps in site.replacement.steps.items()
    }
    replay = _Replay(reading, steps)
    with _stack_for(sum(len(scope.graph.calls) for scope in reading.scopes.values())):
        replay.result.model = replay.scope(reading.model)
    replay.result.untied += [
        name for name, weight in replay.recomposed if id(weight) in replay.copier.memo
    ]
    return replay.result


@contextmanager
def _stack_for(calls: int) -> Iterator[None]:
    """Raise the recursion limit by some frames a call: both Kerases walk a graph from its outputs by recursion."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class _Replay:
    def __init__(self, reading: Reading, steps: Mapping[tuple[int, int], tuple[Step, ...]]) -> None:
        self.reading = reading
        self.dialect = reading.dialect
        self.steps = steps
        self.copier = LayerCopier(self.dialect, self.scope)
        self.result = Rewritten()
        self.grafted: dict[tuple[int, tuple[int, ...]], Any] = {}
        self.grafted_nodes: set[int] = set()
        self.remade: dict[tuple[int, str, int | None], Any] = {}
        self.recomposed: list[tuple[str, Any]] = []
        self.successors: list[tuple[Any, Any]] = []
        self.surviving = {
            call.layer
            for scope in reading.scopes.values()
            for call in scope.graph.calls
            if KEEP in steps.get((scope.graph.scope, call.index), (KEEP,))
        }

    def scope(self, model: Any) -> Any:
        """Return the new model for a model of the reading.

        Raises:
            Uncopyable: If the model is not among those that were read.
        """
        if id(model) in self.copier.memo:
            return self.copier.memo[id(model)]
        if id(model) not in self.reading.scope_of:
            # Only where the copying of attributes goes further than reading does.
            raise Uncopyable(f"the model '{model.name}' is held where reading does not find it")
        scope = self.reading.scopes[self.reading.scope_of[id(model)]]
        names = {call.name for call in scope.graph.calls if self._stays(scope, call)}
        waiting = len(self.successors)
        tensors: dict[int, Any] = {}
        layers: list[Any] = []
        nodes: list[Any] = []
        for call in scope.graph.calls:
            self._replay(scope, call, tensors, layers, nodes, names)
        inputs, outputs = (
            self.dialect.map(lambda t: tensors[id(t)], part)
            for part in self.dialect.boundary(scope.model)
        )
        while len(self.successors) > waiting:
            old, made = self.successors.pop()
            self._note_successor(str(old.name), old, made)
        new = self.copier.register(
            model, self.dialect.assemble(scope.model, NewGraph(inputs, outputs, layers, nodes))
        )
        self.result.notes.extend(
            restore_class_and_attributes(self.dialect, new, model, self.copier)
        )
        return new

    def _stays(self, scope: LiveScope, call: Call) -> bool:
        """Tell whether a call's name stays in use: by its layer, or by what is made in its place under that name."""
        steps = self.steps.get((scope.graph.scope, call.index), (KEEP,))
        return call.layer in self.surviving or any(
            isinstance(s, Make) and s.name == call.name for s in steps
        )

    def _replay(
        self,
        scope: LiveScope,
        call: Call,
        tensors: dict[int, Any],
        layers: list[Any],
        nodes: list[Any],
        names: set[str],
    ) -> None:
        node = scope.nodes[call.index]
        old = self.dialect.node_outputs(node)
        args, kwargs = self.dialect.map(
            partial(self._argument, tensors), self.dialect.node_arguments(node)
        )
        steps = self.steps.get((scope.graph.scope, call.index), (KEEP,))
        made = (
            self.result.made.setdefault((scope.graph.scope, call.index), [])
            if steps != (KEEP,)
            else []
        )
        new = next(
            (v for v in self.dialect.flatten((args, kwargs)) if self.dialect.is_tensor(v)), None
        )
        for step in steps:
            if isinstance(step, Make):
                layer = self._made(scope.graph, call, step, names)
                new = layer(self.dialect.flatten(new)[0])
                fill(layer, step, self.reading, self.copier)
                self._register_successor(layer, step)
                made.append(layer)
            elif step is steps[0]:
                layer, new = self._kept(scope, call, tensors, args, kwargs)
            else:
                layer = self._twin(call)
                args, kwargs = self.dialect.map(partial(self._instead, new), (args, kwargs))
                new = layer(*args, **kwargs)
            layers.append(layer)
            nodes.append(self.dialect.producing_node(self.dialect.flatten(new)[0]))
        for number, before, after in zip(
            call.outputs, self.dialect.flatten(old), self.dialect.flatten(new), strict=True
        ):
            tensors[id(before)] = after
            self.result.tensors[scope.graph.scope, number] = after

    def _register_successor(self, made: Any, step: Make) -> None:
        """Let the weights of a made layer stand for the old ones, whoever refers to them."""
        if not isinstance(step, MakeConv) or step.like is None:
            return
        old = self.reading.layers[step.like]
        one, two = self.dialect.unwrapped(old), self.dialect.unwrapped(made)
        self.successors += [(old, made), (one, two)]
        pairs = [(one.bias, two.bias)] if one.use_bias and step.bias is None else []
        for (key, before), after in zip(kernels(one).items(), kernels(two).values(), strict=True):
            if step.kernel is None or key == "pointwise_kernel":
                pairs.append((before, after))
            else:
                self.recomposed.append((str(old.name), before))
        if one.use_bias and step.bias is not None:
            self.recomposed.append((str(old.name), one.bias))
        for before, after in pairs:
            self._note_successor(str(old.name), before, after)

    def _note_successor(self, name: str, old: Any, new: Any) -> None:
        if self.copier.memo.get(id(old), new) is not new:
            self.result.untied.append(name)
        self.copier.register(old, new)

    def _argument(self, tensors: dict[int, Any], value: Any) -> Any:
        if self.dialect.is_tensor(value):
            return tensors[id(value)]
        return self.copier.copy(value) if self.dialect.is_variable(value) else value

    def _instead(self, new: Any, value: Any) -> Any:
        return new if self.dialect.is_tensor(value) else value

    def _kept(
        self, scope: LiveScope, call: Call, tensors: dict[int, Any], args: Any, kwargs: Any
    ) -> tuple[Any, Any]:
        """Return a surviving layer's twin and its output: grafted where the inputs kept their spec, else called.

        A node may belong to several scopes; on the same new inputs it is grafted once.
        """
        layer = self._twin(call)
        olds = [scope.tensors[t] for t in call.inputs]
        if not all(self._same(old, tensors[id(old)]) for old in olds):
            self.dialect.admit_other_sizes(layer)
            return layer, layer(*args, **kwargs)
        node = scope.nodes[call.index]
        inputs = tuple(id(tensors[id(old)]) for old in olds)
        if (id(node), inputs) not in self.grafted:
            seen = id(node) in self.grafted_nodes
            outputs = self.dialect.map(
                self.dialect.unconnected_tensor if seen else self.copier.copy,
                self.dialect.node_outputs(node),
            )
            self.dialect.record_call(layer, args, kwargs, outputs)
            self.grafted[id(node), inputs] = outputs
            self.grafted_nodes.add(id(node))
        return layer, self.grafted[id(node), inputs]

    def _same(self, old: Any, new: Any) -> bool:
        return self.dialect.shape(old) == self.dialect.shape(new) and self.dialect.dtype(
            old
        ) == self.dialect.dtype(new)

    def _twin(self, call: Call) -> Any:
        if call.layer not in self.result.layers:
            self.result.layers[call.layer] = self._copy(self.reading.layers[call.layer])
        return self.result.layers[call.layer]

    def _copy(self, old: Any) -> Any:
        """Copy a layer deeply; where an attribute forbids it, clone it from its config; else share its state."""
        try:
            return self.copier.copy_layer(old)
        except Uncopyable as obstacle:
            try:
                return self.copier.register(old, self.dialect.clone_from_config(old))
            except Exception as error:  # noqa: BLE001 (a layer's own code runs here)
                self.result.notes.append(
                    f"{type(old).__name__} '{old.name}' shares its state with the original model: {obstacle}, and its "
                    f"configuration does not rebuild it ({error})"
                )
                self.result.sharing.add(self.reading.number(old))
                return self.copier.register(old, self.dialect.copy_sharing_state(old))

    def _made(self, graph: Graph, call: Call, step: Make, names: set[str]) -> Any:
        """Make a layer; one that succeeds another under its name is made once for all its calls."""
        stands_for = step.name == call.name
        depth = (
            None
            if not isinstance(step, MakeConv) or step.fixed is None
            else channels(graph.input_shape(call), call.channels_last)
        )
        alike = repr(replace(step, name="", beside=0))
        key = (call.layer, alike, depth)
        if stands_for and key in self.remade:
            return self.remade[key]
        bears_the_name = stands_for and call.layer not in self.surviving
        name = step.name if bears_the_name else _free(step.name, names)
        names.add(name)
        layer = make(step, name, self.reading, self.copier)
        if stands_for:
            self.remade[key] = layer
            self.surviving.add(call.layer)
        return layer


def _free(name: str, taken: set[str]) -> str:
    """Return the name, or the first of name_1, name_2, ... that differs from all taken ones, whatever their case."""
    lower = {other.lower() for other in taken}
    candidates = (name if i == 0 else f"{name}_{i}" for i in count())
    return next(c for c in candidates if c.lower() not in lower)
