"""Keras 3 (`keras`), on any backend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.copying import tf_variables as tf_state
from keras_downswap.dialects.copying.deep_copy import LayerCopier


class Keras3(Dialect):
    """The dialect of `keras`, tested with the versions that pyproject.toml names."""

    root = "keras"
    without_data_format = frozenset({"Cropping1D"})

    def __init__(self) -> None:
        self.Operation = self.module("src.ops.operation").Operation
        self.Layer = self.module("src.layers.layer").Layer
        self.Functional = self.module("src.models.functional").Functional
        self.functional_like = self.module("src.models.functional").functional_like_constructor
        self.Sequential = self.module("src.models.sequential").Sequential
        self.KerasTensor = self.module("src.backend.common.keras_tensor").KerasTensor
        self.Node = self.module("src.ops.node").Node
        self.KerasVariable = self.module("src.backend").Variable
        self.tensorflow = self.module("src.backend").backend() == "tensorflow"
        self.tree = self.module("src.tree")
        tracking = self.module("src.utils.tracking")
        self.Tracker = tracking.Tracker
        self.tracked = (tracking.TrackedList, tracking.TrackedDict, tracking.TrackedSet)

    @cached_property
    def misplaces_channels_first_bias(self) -> bool:
        """Keras 3.15 on TensorFlow takes whatever squeezes to a vector for the bias of a `channels_last` map."""
        ops = self.module("src.backend").numpy
        bias = np.array([1.0, 2.0], "float32").reshape(1, 2, 1, 1)
        return bool(
            np.any(self.to_array(ops.add(np.zeros((1, 2, 1, 2), "float32"), bias))[0, 0] != 1)
        )

    def is_layer(self, value: Any) -> bool:
        return isinstance(value, self.Operation)

    def function_name(self, layer: Any) -> str:
        return "" if isinstance(layer, self.Layer) else self.stock_class(layer)

    def function_strides(self, node: Any) -> Any:
        return getattr(node.operation, "strides", None)

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, self.KerasVariable)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.KerasTensor)

    def is_constant(self, value: Any) -> bool:
        module = type(value).__module__
        return isinstance(value, np.generic) or (
            module.startswith(("tensorflow", "jaxlib", "jax."))
            and type(value).__name__ in CONSTANTS
        )

    def has_graph(self, layer: Any) -> bool:
        if type(layer).call not in (self.Functional.call, self.Sequential.call):
            return False
        return not isinstance(layer, self.Sequential) or layer._functional is not None

    def output_layers(self, model: Any) -> list[str]:
        return [str(t._keras_history.operation.name) for t in self._functional(model).outputs]

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, self.Sequential)

    def is_compiled(self, model: Any) -> bool:
        return bool(model.compiled)

    def nodes(self, model: Any) -> list[Any]:
        graph = self._functional(model)
        depths = graph._nodes_by_depth
        return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]

    def _functional(self, model: Any) -> Any:
        return model._functional if isinstance(model, self.Sequential) else model

    def node_layer(self, node: Any) -> Any:
        return node.operation

    def node_arguments(self, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return node.arguments.args, node.arguments.kwargs

    def node_outputs(self, node: Any) -> Any:
        return node.outputs

    def flatten(self, structure: Any) -> list[Any]:
        return list(self.tree.flatten(structure))

    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        return self.tree.map_structure(function, structure)

    def boundary(self, model: Any) -> tuple[Any, Any]:
        graph = self._functional(model)
        return graph._inputs_struct, graph._outputs_struct

    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[str]:
        return frozenset(
            {"ZeroPadding", "Cropping"} if channels_last or rank > 1 else {"ZeroPadding"}
        )

    def sublayers(self, layer: Any) -> Sequence[Any]:
        return (
            list(layer._flatten_layers(include_self=False))
            if getattr(layer, "_layers", None)
            else []
        )

    def run_layer(self, layer: Any, value: Any) -> Any:
        parts = self.map(self.module("src.backend").convert_to_tensor, value)
        return self.call_layer(
            layer, parts if self.function_name(layer) and isinstance(parts, list) else (parts,), {}
        )

    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a layer, and take back what the call adds to the losses that `model.losses` shows."""
        losses, known = list(getattr(layer, "_losses", ())), set(getattr(layer, "_loss_ids", ()))
        result = layer(*args, **kwargs)
        if isinstance(layer, self.Layer):
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(known)
        return result

    @property
    def on_tensorflow(self) -> bool:
        return bool(self.tensorflow)

    def backend_variable(self, variable: Any) -> Any:
        return variable._value

    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        return self.module("src.backend").convert_to_tensor(value, dtype)

    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        return self.module("ops").reshape(value, shape)

    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        return tuple(self.module("ops").shape(value))

    def to_array(self, value: Any) -> np.ndarray[Any, Any]:
        return np.asarray(
            value.numpy() if self.tensorflow else self.module("src.backend").convert_to_numpy(value)
        )

    def node_count(self, layer: Any) -> tuple[int, int]:
        return len(layer._inbound_nodes), len(layer._outbound_nodes)

    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        graph = self._functional(model)
        made = self.output_layers(model) if len(graph.outputs) > 1 else []
        structure = self.map(lambda _: 0, self.boundary(model))
        names = [(t.name, t._keras_history.operation.name) for t in graph.inputs]
        return names, list(graph.output_names), made, structure

    def weights(self, layer: Any) -> list[Any]:
        return list(getattr(layer, "weights", ()))

    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        new = object.__new__(type(variable))
        own = dict(vars(variable))
        value = own.pop("_value", None)
        new.__dict__.update(
            copier.items(own),
            _value=tf_state.copied(value) if self.tensorflow else copy.deepcopy(value),
        )
        return new

    def special_handler(self, value: Any, copier: LayerCopier) -> Callable[[Any], Any] | None:
        if isinstance(value, self.Tracker):
            return lambda tracker: self._tracker(tracker, copier)
        if isinstance(value, self.tracked):
            return lambda tracked: self._tracked(tracked, copier)
        if tf_state.is_mutable_table(value):
            return lambda table: copier.register(table, tf_state.copied_table(table))
        return None

    def _tracker(self, old: Any, copier: LayerCopier) -> Any:
        new = copier.register(old, object.__new__(type(old)))
        new.__dict__.update((k, copier.copy(v)) for k, v in vars(old).items() if k != "stored_ids")
        new.stored_ids = {
            name: {id(item) for item in store} for name, (_, store) in new.config.items()
        }
        return new

    def _tracked(self, old: Any, copier: LayerCopier) -> Any:
        """Copy a tracking container from below, since its own methods refuse additions once a layer is built."""
        kind: Any = type(old)
        new = copier.register(old, kind.__new__(kind))
        if isinstance(old, dict):
            dict.update(new, copier.items(old))
        elif isinstance(old, list):
            list.extend(new, copier.all(old))
        else:
            set.update(new, copier.all(old))
        new.tracker = copier.copy(old.tracker)
        return new

    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        self.Node(layer, call_args=args, call_kwargs=kwargs, outputs=outputs)

    def producing_node(self, tensor: Any) -> Any:
        operation, index, _ = tensor._keras_history
        return operation._inbound_nodes[index]

    def clone_from_config(self, layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config())
        if layer.built:
            new.build_from_config(layer.get_build_config() or {})
        for old, fresh in zip(layer.weights, new.weights, strict=True):
            fresh.assign(old)
        return new

    def assemble(
        self, old: Any, inputs: Any, outputs: Any, layers: Sequence[Any], nodes: Sequence[Any]
    ) -> Any:
        graph = self.Functional(inputs, outputs, name=self._functional(old).name)
        new = graph
        if isinstance(old, self.Sequential):
            new = self.Sequential(name=old.name)
            new._layers.extend(
                layer for layer in layers if isinstance(layer, self.module("src.layers").Layer)
            )
            new._functional = graph
            new._build_shapes_dict = dict(old._build_shapes_dict or {})
            new.built = True
        for pair in {id(new): (old, new), id(graph): (self._functional(old), graph)}.values():
            pair[1].__dict__["_trainable"] = pair[0]._trainable
            pair[1].__dict__["_dtype_policy"] = pair[0]._dtype_policy
        graph.output_names = list(self._functional(old).output_names)
        return new

    def takes_a_graph(self, cls: type) -> bool:
        return bool(self.functional_like(cls))

    def _policy(self, layer: Any) -> Any:
        return layer.dtype_policy

    def assign(self, target: Any, value: Any) -> None:
        """Assign a copy: on JAX an assignment shares the buffer, which training then takes away from both."""
        if self.is_variable(value) and not self.tensorflow:
            value = np.array(self.array(value))
        target.assign(value)

    def array(self, variable: Any) -> np.ndarray[Any, Any]:
        value = variable._value
        return tf_state.array(value) if self.tensorflow else self.to_array(value)


CONSTANTS = frozenset({"EagerTensor", "DType", "TensorShape", "TensorSpec", "ArrayImpl"})
