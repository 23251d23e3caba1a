"""Runs a model call by call on backend tensors, so that what flows inside can be read, and waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_downswap.dialects.reading import Reading, Scope
from keras_downswap.graph import Call

Trail = tuple[int, ...]
"""The calls of nested models that lead into a scope, the outermost first."""
Place = tuple[Trail, int]
"""A tensor, or a call, of the scope at the end of a trail."""


@dataclass
class Player:
    """A model that is run call by call.

    Attributes:
        reading: The model.
        keep: Tensors whose values a run returns.
        stops: Calls before which a run waits.
        training: Tells of a layer whether it is to be called with `training=True`; others run as at inference.
    """

    reading: Reading
    keep: Collection[Place] = ()
    stops: Collection[Place] = ()
    training: Callable[[Any], bool] = field(default=lambda layer: False)

    def run(self, inputs: Sequence[Any]) -> dict[Place, Any]:
        """Return the values of the kept tensors for some inputs, without waiting anywhere."""
        run = self.start(inputs)
        while True:
            try:
                next(run)
            except StopIteration as end:
                kept: dict[Place, Any] = end.value
                return kept

    def start(
        self, inputs: Sequence[Any], kept: dict[Place, Any] | None = None
    ) -> Generator[tuple[Place, Any], None, dict[Place, Any]]:
        """Run a model branch by branch, and wait before each call of `stops`.

        Args:
            inputs: Backend tensors, one for each input.
            kept: Filled with the values of the kept tensors as they come; None for a dict of its own.

        Yields:
            The call that is next, and the value of its first argument.

        Returns:
            The values of the kept tensors.
        """
        kept = {} if kept is None else kept
        yield from self._scope(self.reading.scopes[0], list(inputs), (), kept)
        return kept

    def _scope(
        self, scope: Scope, inputs: list[Any], trail: Trail, kept: dict[Place, Any]
    ) -> Generator[tuple[Place, Any], None, list[Any]]:
        graph, dialect = scope.graph, self.reading.dialect
        numbers = {id(tensor): number for number, tensor in enumerate(scope.tensors)}
        left = Counter(t for call in graph.calls for t in call.inputs) + Counter(graph.outputs)
        values: dict[int, Any] = dict(zip(graph.inputs, inputs, strict=True))
        kept.update({(trail, t): v for t, v in values.items() if (trail, t) in self.keep})
        for call in graph.branch_by_branch:
            if not call.inputs and all(t in values for t in call.outputs):
                continue
            if (trail, call.index) in self.stops:
                yield (trail, call.index), values[call.inputs[0]]
            layer = self.reading.layers[call.layer]
            arguments = dialect.node_arguments(scope.nodes[call.index])
            args, kwargs = dialect.map(lambda v: values[numbers[id(v)]] if dialect.is_tensor(v) else v, arguments)
            inner = self._opened(call, layer, kwargs)
            if inner is not None:
                given = [values[t] for t in call.inputs]
                made = yield from self._scope(inner, given, (*trail, call.index), kept)
            else:
                if call.frozen_training is None and self.training(layer):
                    kwargs = {**kwargs, "training": True}
                made = dialect.flatten(dialect.call(layer, args, kwargs))
            for tensor, value in zip(call.outputs, made, strict=True):
                values[tensor] = value
                if (trail, tensor) in self.keep:
                    kept[trail, tensor] = value
            left.subtract(call.inputs)
            for tensor in (*call.inputs, *call.outputs):
                if left[tensor] <= 0:
                    values.pop(tensor, None)
        return [values[t] for t in graph.outputs]

    def _opened(self, call: Call, layer: Any, kwargs: dict[str, Any]) -> Scope | None:
        """Return the scope of a nested model that is given its inputs and nothing else; None for any other call."""
        if call.inner is None or call.frozen_training or len(call.inputs) != len(call.inner.inputs):
            return None
        scope = self.reading.scopes[call.inner.scope]
        plain = all(value is None or value is False for value in kwargs.values())
        return scope if plain and scope.model is layer else None
