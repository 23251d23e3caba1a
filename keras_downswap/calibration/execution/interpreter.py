"""Runs a model call by call on backend tensors, so that inner values can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_downswap.calibration.execution.calls import run_call
from keras_downswap.dialects.reading import LiveScope, Reading
from keras_downswap.ir.graph import Call, Graph

ScopePath = tuple[int, ...]
"""The calls of nested models that lead into a scope, the outermost first."""
TensorRef = tuple[ScopePath, int]
"""A tensor of the scope at the end of a path, by its number there."""
CallRef = tuple[ScopePath, int]
"""A call of the scope at the end of a path, by its number there."""

Kept = dict[TensorRef, Any]
"""The backend tensors that a run keeps."""
Pause = tuple[CallRef, Any]
"""The call that a run waits before, and the value of its first argument."""
Run = Generator[Pause, None, Kept]
"""A run that waits: yields each pause, returns the kept values."""
Values = dict[int, Any]
"""The backend tensors of a scope, by the numbers of its tensors."""
_ScopeRun = Generator[Pause, None, list[Any]]


def _never(layer: Any) -> bool:
    return False


@dataclass
class Interpreter:
    """Runs a model call by call.

    Attributes:
        reading: The model.
        keep: Tensors whose values a run returns.
        stops: Calls before which a run waits.
        training: Whether to call a layer with `training=True`; others run as at inference.
    """

    reading: Reading
    keep: Collection[TensorRef] = ()
    stops: Collection[CallRef] = ()
    training: Callable[[Any], bool] = field(default=_never)

    def run(self, inputs: Sequence[Any]) -> Kept:
        """Return the values of the kept tensors for some inputs, without waiting anywhere."""
        run = self.start(inputs)
        while True:
            try:
                next(run)
            except StopIteration as end:
                kept: Kept = end.value
                return kept

    def start(self, inputs: Sequence[Any], kept: Kept | None = None) -> Run:
        """Run a model branch by branch, and wait before each call of `stops`.

        Args:
            inputs: Backend tensors, one for each input.
            kept: Filled with the values of the kept tensors as they come, for reading while the
                run waits; None for a new dict.

        Yields:
            The call that is next, and the value of its first argument.

        Returns:
            The values of the kept tensors.
        """
        kept = {} if kept is None else kept
        outermost = self.reading.scopes[0]
        yield from self._run_scope(outermost, inputs, (), kept)
        return kept

    def _run_scope(
        self, scope: LiveScope, inputs: Sequence[Any], path: ScopePath, kept: Kept
    ) -> _ScopeRun:
        graph = scope.graph
        values = dict(zip(graph.inputs, inputs, strict=True))
        kept |= self._kept_of(values, graph.inputs, path)
        readers_left = Counter(graph.outputs)
        for call in graph.calls:
            readers_left.update(call.inputs)

        # Branch by branch instead of in the order of the graph: fewer values are alive at a time.
        for call in graph.branch_by_branch:
            is_input = not call.inputs
            if is_input and all(t in values for t in call.outputs):
                continue
            if (path, call.index) in self.stops:
                yield (path, call.index), values[call.inputs[0]]
            if call.nested_graph is not None and call.is_inlinable:
                arguments = [values[t] for t in call.inputs]
                made = yield from self._run_nested(call, call.nested_graph, arguments, path, kept)
            else:
                made = self._run_layer(graph, call, values)
            values.update(zip(call.outputs, made, strict=True))
            kept |= self._kept_of(values, call.outputs, path)
            # A value is freed when its last reader has run: all of a model's inner values at once
            # would not fit into memory.
            readers_left.subtract(call.inputs)
            for tensor in (*call.inputs, *call.outputs):
                if readers_left[tensor] <= 0:
                    values.pop(tensor, None)
        return [values[t] for t in graph.outputs]

    def _kept_of(self, values: Values, tensors: Sequence[int], path: ScopePath) -> Kept:
        """Return the values of those of some tensors of a scope that are to be kept."""
        return {(path, t): values[t] for t in tensors if (path, t) in self.keep}

    def _run_layer(self, graph: Graph, call: Call, values: Values) -> list[Any]:
        layer = self.reading.layers[call.layer]
        options = {}
        # Where the model itself passes `training=`, that holds.
        if call.frozen_training is None and self.training(layer):
            options["training"] = True
        return run_call(self.reading, graph.scope, call, values, **options)

    def _run_nested(
        self, call: Call, nested: Graph, inputs: list[Any], path: ScopePath, kept: Kept
    ) -> _ScopeRun:
        """Run a nested model; one inside TimeDistributed sees each step of time as a sample."""
        dialect = self.reading.dialect
        scope = self.reading.scopes[nested.scope]
        inner_path = (*path, call.index)
        # A model casts its inputs to the dtypes that it was built with.
        cast = []
        for value, tensor in zip(inputs, nested.inputs, strict=True):
            dtype = nested.tensors[tensor].dtype
            cast.append(dialect.to_tensor(value, dtype))
        if call.wrapped is None:
            return (yield from self._run_scope(scope, cast, inner_path, kept))
        merged = [dialect.merge_time(value) for value in cast]
        made = yield from self._run_scope(scope, merged, inner_path, kept)
        return [dialect.split_time(value, cast[0]) for value in made]
