"""Runs a model call by call on backend tensors, so that what flows inside can be read, and waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_downswap.dialects.reading import LiveScope, Reading
from keras_downswap.ir.graph import Call, Graph

ScopePath = tuple[int, ...]
"""The calls of nested models that lead into a scope, the outermost first."""
TensorRef = tuple[ScopePath, int]
"""A tensor, or a call, of the scope at the end of a trail."""


@dataclass
class Interpreter:
    """A model that is run call by call.

    Attributes:
        reading: The model.
        keep: Tensors whose values a run returns.
        stops: Calls before which a run waits.
        training: Tells of a layer whether it is to be called with `training=True`; others run as at
            inference.
    """

    reading: Reading
    keep: Collection[TensorRef] = ()
    stops: Collection[TensorRef] = ()
    training: Callable[[Any], bool] = field(default=lambda layer: False)

    def run(self, inputs: Sequence[Any]) -> dict[TensorRef, Any]:
        """Return the values of the kept tensors for some inputs, without waiting anywhere."""
        run = self.start(inputs)
        while True:
            try:
                next(run)
            except StopIteration as end:
                kept: dict[TensorRef, Any] = end.value
                return kept

    def start(
        self, inputs: Sequence[Any], kept: dict[TensorRef, Any] | None = None
    ) -> Generator[tuple[TensorRef, Any], None, dict[TensorRef, Any]]:
        """Run a model branch by branch, and wait before each call of `stops`.

        Args:
            inputs: Backend tensors, one for each input.
            kept: Filled with the values of the kept tensors as they come; None for a dict of its
                own.

        Yields:
            The call that is next, and the value of its first argument.

        Returns:
            The values of the kept tensors.
        """
        kept = {} if kept is None else kept
        yield from self._scope(self.reading.scopes[0], list(inputs), (), kept)
        return kept

    def _scope(
        self, scope: LiveScope, inputs: list[Any], trail: ScopePath, kept: dict[TensorRef, Any]
    ) -> Generator[tuple[TensorRef, Any], None, list[Any]]:
        graph = scope.graph
        left = Counter(t for call in graph.calls for t in call.inputs) + Counter(graph.outputs)
        values: dict[int, Any] = dict(zip(graph.inputs, inputs, strict=True))
        kept.update({(trail, t): v for t, v in values.items() if (trail, t) in self.keep})
        for call in graph.branch_by_branch:
            if not call.inputs and all(t in values for t in call.outputs):
                continue
            if (trail, call.index) in self.stops:
                yield (trail, call.index), values[call.inputs[0]]
            if call.nested_graph is not None and call.is_inlinable:
                made = yield from self._inner(
                    call, call.nested_graph, [values[t] for t in call.inputs], trail, kept
                )
            else:
                trains = call.frozen_training is None and self.training(
                    self.reading.layers[call.layer]
                )
                made = self.reading.run_call(
                    graph.scope, call, values, **({"training": True} if trains else {})
                )
            for tensor, value in zip(call.outputs, made, strict=True):
                values[tensor] = value
                if (trail, tensor) in self.keep:
                    kept[trail, tensor] = value
            left.subtract(call.inputs)
            for tensor in (*call.inputs, *call.outputs):
                if left[tensor] <= 0:
                    values.pop(tensor, None)
        return [values[t] for t in graph.outputs]

    def _inner(
        self,
        call: Call,
        inner: Graph,
        inputs: list[Any],
        trail: ScopePath,
        kept: dict[TensorRef, Any],
    ) -> Generator[tuple[TensorRef, Any], None, list[Any]]:
        """Run a nested model; one that is called at each step of time sees each step as a sample."""
        dialect = self.reading.dialect
        scope, deeper = self.reading.scopes[inner.scope], (*trail, call.index)
        inputs = [
            dialect.to_tensor(value, inner.tensors[t].dtype)
            for value, t in zip(inputs, inner.inputs, strict=True)
        ]
        if call.wrapped is None:
            return (yield from self._scope(scope, inputs, deeper, kept))
        made = yield from self._scope(
            scope, [dialect.merge_time(value) for value in inputs], deeper, kept
        )
        return [dialect.split_time(value, inputs[0]) for value in made]
