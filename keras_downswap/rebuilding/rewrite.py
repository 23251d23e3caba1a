"""Replays a model's calls with a plan applied; the new model shares no variable with the old."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count
from typing import Any

from keras_downswap.checks import check_or_break
from keras_downswap.dialects.base import NewGraph
from keras_downswap.dialects.copying.deep_copy import LayerCopier, Uncopyable
from keras_downswap.dialects.reading import LiveScope, Reading
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.replacement import KEEP, Make, MakeConv, Step
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.broken_rules import naming_the_rule
from keras_downswap.rebuilding.make_layers import fill, kernels, make
from keras_downswap.rebuilding.restore import restore_class_and_attributes
from keras_downswap.rebuilding.rewritten import Rewritten

FRAMES_PER_CALL = 4
"""Frames of recursion that a Keras needs at most for one call of a graph."""


def rewrite(reading: Reading, sites: Sequence[Site]) -> Rewritten:
    """Build the new model.

    Untouched calls are recorded on fresh tensors of the old spec and never run; replaced calls, and
    calls whose input changes shape, go through Keras itself.

    Args:
        reading: The old model.
        sites: What becomes of its downsampling calls.

    Returns:
        The new model, unverified.

    Raises:
        BrokenPromise: If the layers that a rule asks for cannot be made or called, or change the
            shape of what the rest of the model reads.
    """
    replay = _Replay(reading, sites)
    calls = sum(len(scope.graph.calls) for scope in reading.scopes.values())
    with _recursion_for(calls):
        replay.result.model = replay.scope(reading.model)
    for name, weight in replay.recomposed:
        # A weight that was composed anew has no successor. If it was copied all the same,
        # something else in the model refers to it, and would now train apart from the swap.
        if id(weight) in replay.copier.memo:
            replay.result.untied.append(name)
    return replay.result


@contextmanager
def _recursion_for(calls: int) -> Iterator[None]:
    """Raise the recursion limit: both Kerases walk a graph from its outputs by recursion."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + FRAMES_PER_CALL * calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@dataclass
class _NewScope:
    """One scope while it is replayed.

    Attributes:
        old: The scope that is replayed.
        names: Names of layers that are taken in the new one.
        tensors: New symbolic tensor by the identity of the old one.
        layers: The layers that are called, in call order.
        nodes: The node of each of these calls.
    """

    old: LiveScope
    names: set[str]
    tensors: dict[int, Any] = field(default_factory=dict)
    layers: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)

    def tensor(self, old: Any) -> Any:
        """Return the new tensor that stands for an old one."""
        return self.tensors[id(old)]

    def ref(self, call: Call) -> CallRef:
        """Return the scope and index of a call."""
        return self.old.graph.scope, call.index

    def node(self, call: Call) -> Any:
        """Return the old node of a call."""
        return self.old.nodes[call.index]


class _Replay:
    """One rewrite of a model and of the models nested in it.

    Attributes:
        steps: The layers to be called in the place of each replaced call.
        site_of: The swapped site that each call belongs to.
        grafted: The outputs of a recorded node by its identity and that of its new inputs.
        remade: The made layers that succeed a layer under its name, by what they are made of.
        recomposed: Old weights that a swap composes anew, with the names of their layers.
        successors: Pairs of an old and a made layer, of the scopes that are being replayed.
        surviving: Numbers of the layers that some call keeps.
    """

    def __init__(self, reading: Reading, sites: Sequence[Site]) -> None:
        self.reading = reading
        self.dialect = reading.dialect
        self.steps: dict[CallRef, tuple[Step, ...]] = {}
        self.site_of: dict[CallRef, Site] = {}
        for site in sites:
            if site.replacement is None:
                continue
            for index in site.calls:
                self.site_of[site.scope, index] = site
            for index, steps in site.replacement.steps.items():
                self.steps[site.scope, index] = steps
        self.copier = LayerCopier(self.dialect, self.scope)
        self.result = Rewritten()
        self.grafted: dict[tuple[int, tuple[int, ...]], Any] = {}
        self.grafted_nodes: set[int] = set()
        self.remade: dict[tuple[int, str, int | None], Any] = {}
        self.recomposed: list[tuple[str, Any]] = []
        self.successors: list[tuple[Any, Any]] = []
        self.surviving = self._surviving_layers()

    def _surviving_layers(self) -> set[int]:
        surviving = set()
        for scope in self.reading.scopes.values():
            for call in scope.graph.calls:
                if KEEP in self._steps_of(scope, call):
                    surviving.add(call.layer)
        return surviving

    def _steps_of(self, scope: LiveScope, call: Call) -> tuple[Step, ...]:
        return self.steps.get((scope.graph.scope, call.index), (KEEP,))

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
        names = {call.name for call in scope.graph.calls if self._keeps_its_name(scope, call)}
        new = _NewScope(scope, names)
        waiting = len(self.successors)
        for call in scope.graph.calls:
            self._replay(new, call)
        old_inputs, old_outputs = self.dialect.boundary(scope.model)
        inputs = self.dialect.map(new.tensor, old_inputs)
        outputs = self.dialect.map(new.tensor, old_outputs)

        # A layer that was swapped at one call may be kept at a later one of this scope. Only once
        # all calls are made may references to the old layer mean the new one.
        while len(self.successors) > waiting:
            old, made = self.successors.pop()
            self._note_successor(str(old.name), old, made)
        graph = NewGraph(inputs, outputs, new.layers, new.nodes)
        made_model = self.dialect.assemble(scope.model, graph)
        self.copier.register(model, made_model)
        notes = restore_class_and_attributes(self.dialect, made_model, model, self.copier)
        self.result.notes.extend(notes)
        return made_model

    def _keeps_its_name(self, scope: LiveScope, call: Call) -> bool:
        """Tell whether a call's name stays in use: by its layer, or by a made one of that name."""
        if call.layer in self.surviving:
            return True
        steps = self._steps_of(scope, call)
        return any(isinstance(step, Make) and step.name == call.name for step in steps)

    def _replay(self, new: _NewScope, call: Call) -> None:
        """Make one call, or what a swap calls in its place."""
        site = self.site_of.get(new.ref(call))
        if site is None:
            self._replay_untouched(new, call)
            return
        with naming_the_rule(site, f"that can be made and called in the place of {call.label}"):
            if new.ref(call) in self.steps:
                self._replay_swapped(new, call)
            else:
                self._replay_untouched(new, call)
            self._check_what_others_read(new, call, site)

    def _arguments(self, new: _NewScope, call: Call) -> tuple[Any, Any]:
        """Return the arguments of a call, with new tensors in the place of the old ones."""
        arguments = self.dialect.node_arguments(new.node(call))
        args, kwargs = self.dialect.map(partial(self._argument, new), arguments)
        return args, kwargs

    def _argument(self, new: _NewScope, value: Any) -> Any:
        if self.dialect.is_tensor(value):
            return new.tensor(value)
        return self.copier.copy(value) if self.dialect.is_variable(value) else value

    def _replay_untouched(self, new: _NewScope, call: Call) -> None:
        args, kwargs = self._arguments(new, call)
        layer, outputs = self._kept(new, call, args, kwargs)
        self._add_call(new, layer, outputs)
        self._set_outputs(new, call, outputs)

    def _replay_swapped(self, new: _NewScope, call: Call) -> None:
        key = new.ref(call)
        args, kwargs = self._arguments(new, call)
        leaves = self.dialect.flatten((args, kwargs))
        value = next(filter(self.dialect.is_tensor, leaves), None)
        made = self.result.made.setdefault(key, [])
        for number, step in enumerate(self.steps[key]):
            if isinstance(step, Make):
                layer = self._made(new, call, step)
                value = layer(self.dialect.flatten(value)[0])
                # Keras makes the weights in the first call; only then can they be set.
                fill(layer, step, self.reading, self.copier)
                self._register_successor(layer, step)
                made.append(layer)
            elif number == 0:
                layer, value = self._kept(new, call, args, kwargs)
            else:
                layer = self._copy_of(call)
                args, kwargs = self.dialect.map(partial(self._instead, value), (args, kwargs))
                value = layer(*args, **kwargs)
            self._add_call(new, layer, value)
        self._set_outputs(new, call, value)

    def _instead(self, new: Any, value: Any) -> Any:
        return new if self.dialect.is_tensor(value) else value

    def _add_call(self, new: _NewScope, layer: Any, outputs: Any) -> None:
        first = self.dialect.flatten(outputs)[0]
        new.layers.append(layer)
        new.nodes.append(self.dialect.producing_node(first))

    def _set_outputs(self, new: _NewScope, call: Call, outputs: Any) -> None:
        """Note the new tensors that stand for the old outputs of a call."""
        olds = self.dialect.flatten(self.dialect.node_outputs(new.node(call)))
        news = self.dialect.flatten(outputs)
        for number, old, made in zip(call.outputs, olds, news, strict=True):
            new.tensors[id(old)] = made
            self.result.tensors[new.old.graph.scope, number] = made

    def _check_what_others_read(self, new: _NewScope, call: Call, site: Site) -> None:
        """Break off where a site changes the shape or dtype of a tensor that others read.

        The next layer would fail on it, with an error of Keras that names no rule.
        """
        graph = new.old.graph
        for number in call.outputs:
            readers = set(graph.consumers.get(number, ()))
            if readers.issubset(site.calls) and number not in graph.outputs:
                continue
            old = graph.tensors[number]
            made = self.result.tensors[graph.scope, number]
            shape = self.dialect.shape(made)
            dtype = self.dialect.dtype(made)
            check_or_break(
                (shape, dtype) == (old.shape, old.dtype),
                f"{' + '.join(site.layers)}: expected {old.shape} {old.dtype}, got {shape} {dtype}",
            )

    def _register_successor(self, made: Any, step: Make) -> None:
        """Let a made layer and its weights stand for the old ones, whoever refers to them."""
        if not isinstance(step, MakeConv) or step.like is None:
            return
        old = self.reading.layers[step.like]
        old_inner = self.dialect.unwrapped(old)
        new_inner = self.dialect.unwrapped(made)
        self.successors += [(old, made), (old_inner, new_inner)]
        name = str(old.name)
        news = kernels(new_inner).values()
        for (key, before), after in zip(kernels(old_inner).items(), news, strict=True):
            if step.kernel is None or key == "pointwise_kernel":
                self._note_successor(name, before, after)
            else:
                self.recomposed.append((name, before))
        if not old_inner.use_bias:
            return
        if step.bias is None:
            self._note_successor(name, old_inner.bias, new_inner.bias)
        else:
            self.recomposed.append((name, old_inner.bias))

    def _note_successor(self, name: str, old: Any, new: Any) -> None:
        if self.copier.memo.get(id(old), new) is not new:
            self.result.untied.append(name)
        self.copier.register(old, new)

    def _kept(self, new: _NewScope, call: Call, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the copy of a surviving layer and its output.

        Where the inputs kept their spec, the call is only recorded, which is many times faster
        than to run it. A node may belong to several scopes; on the same new inputs it is recorded
        once, since Keras would count it twice otherwise.
        """
        layer = self._copy_of(call)
        olds = [new.old.tensors[number] for number in call.inputs]
        if not all(self._same_spec(old, new.tensor(old)) for old in olds):
            self.dialect.admit_other_sizes(layer)
            return layer, layer(*args, **kwargs)
        node = new.node(call)
        inputs = tuple(id(new.tensor(old)) for old in olds)
        key = (id(node), inputs)
        if key not in self.grafted:
            # The second time, a copy from the copier would be the tensors of the first.
            seen = id(node) in self.grafted_nodes
            copy = self.dialect.unconnected_tensor if seen else self.copier.copy
            outputs = self.dialect.map(copy, self.dialect.node_outputs(node))
            self.dialect.record_call(layer, args, kwargs, outputs)
            self.grafted[key] = outputs
            self.grafted_nodes.add(id(node))
        return layer, self.grafted[key]

    def _same_spec(self, old: Any, new: Any) -> bool:
        same_shape = self.dialect.shape(old) == self.dialect.shape(new)
        return same_shape and self.dialect.dtype(old) == self.dialect.dtype(new)

    def _copy_of(self, call: Call) -> Any:
        copies = self.result.layers
        if call.layer not in copies:
            copies[call.layer] = self._copy(self.reading.layers[call.layer])
        return copies[call.layer]

    def _copy(self, old: Any) -> Any:
        """Copy a layer deeply; failing that, clone it from its config; else share its state."""
        try:
            return self.copier.copy_layer(old)
        except Uncopyable as obstacle:
            try:
                return self.copier.register(old, self.dialect.clone_from_config(old))
            except Exception as error:  # noqa: BLE001 (a layer's own code runs here)
                self.result.notes.append(
                    f"{type(old).__name__} '{old.name}' shares its state with the original model: "
                    f"{obstacle}, and its configuration does not rebuild it ({error})"
                )
                self.result.sharing.add(self.reading.number(old))
                return self.copier.register(old, self.dialect.copy_sharing_state(old))

    def _made(self, new: _NewScope, call: Call, step: Make) -> Any:
        """Make a layer.

        One that succeeds another under its name is made once, for all calls that are swapped alike.
        """
        if step.name != call.name:
            return self._made_as(new, step.name, step)
        key = _made_of(new.old.graph, call, step)
        if key not in self.remade:
            if call.layer in self.surviving:
                self.remade[key] = self._made_as(new, step.name, step)
            else:
                new.names.add(step.name)
                self.remade[key] = make(step, step.name, self.reading, self.copier)
            # The name is taken now: a layer that is made otherwise needs another one.
            self.surviving.add(call.layer)
        return self.remade[key]

    def _made_as(self, new: _NewScope, wanted: str, step: Make) -> Any:
        """Make a layer under the wanted name or, where that is taken, one with a number."""
        name = _free(wanted, new.names)
        new.names.add(name)
        return make(step, name, self.reading, self.copier)


def _made_of(graph: Graph, call: Call, step: Make) -> tuple[int, str, int | None]:
    """Return what tells made layers apart: the layer, and all that a new one is made of."""
    depth = None
    if isinstance(step, MakeConv) and step.fixed is not None:
        # A fixed kernel is computed from its shape, which depends on the channels.
        depth = channels(graph.input_shape(call), call.channels_last)
    # Functions compare by name in the text: partial functions would not compare equal.
    anonymous = replace(step, name="", beside=0)
    return call.layer, repr(anonymous), depth


def _free(name: str, taken: set[str]) -> str:
    """Return the name, or the first of name_1, name_2, ... that differs from all taken ones.

    Files of Keras tell names apart whatever their case, so case does not count.
    """
    lower = {other.lower() for other in taken}
    numbered = (f"{name}_{number}" for number in count(1))
    return next(free for free in chain([name], numbered) if free.lower() not in lower)
