"""Keras 3 (`keras`), on any backend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from keras_downswap.dialects.base import Dialect, NewGraph
from keras_downswap.dialects.compatibility import check_once
from keras_downswap.dialects.copying import tf_variables
from keras_downswap.dialects.copying.deep_copy import Handler, LayerCopier
from keras_downswap.dialects.structure import producers_first
from keras_downswap.ir.facts import RESIZE_KINDS, LayerKind
from keras_downswap.ir.types import Array

CONSTANTS = frozenset({"EagerTensor", "DType", "TensorShape", "TensorSpec", "ArrayImpl"})
"""Classes of a backend's immutable values, by name: the backend need not be imported."""


class Keras3(Dialect):
    """The dialect of `keras`, tested with the versions that pyproject.toml names."""

    root = "keras"
    without_data_format = frozenset({"Cropping1D"})

    def __init__(self) -> None:
        check_once(self.root)
        self.tensorflow = self.library.config.backend() == "tensorflow"
        self.Layer = self.library.layers.Layer
        self.Operation = self.library.Operation
        self.Sequential = self.library.Sequential
        self.KerasTensor = self.library.KerasTensor
        # `keras.Variable` is a class of its own, to which a layer's variables do not belong.
        self.Variable = self.private("src.backend.Variable")
        self.Functional = self.private("src.models.functional.Functional")

    # Layers called on tensors

    @property
    def on_tensorflow(self) -> bool:
        return bool(self.tensorflow)

    def run_layer(self, layer: Any, value: Any) -> Any:
        tensors = self.map(self.library.ops.convert_to_tensor, value)
        # An operation accepts its tensors as separate arguments, a layer as one list.
        if self.function_name(layer) and isinstance(tensors, list):
            return self.call_layer(layer, tensors, {})
        return self.call_layer(layer, (tensors,), {})

    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a layer, and take back what the call adds to the losses that `model.losses` shows.

        Without that, the original model would show losses of the calls made to fit another one.
        """
        if not isinstance(layer, self.Layer):
            return layer(*args, **kwargs)
        losses = list(layer._losses)
        loss_ids = set(layer._loss_ids)
        result = layer(*args, **kwargs)
        layer._losses[:] = losses
        layer._loss_ids.clear()
        layer._loss_ids.update(loss_ids)
        return result

    # Tensors

    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        return self.library.ops.convert_to_tensor(value, dtype)

    def to_array(self, value: Any) -> Array:
        if self.tensorflow:
            return np.asarray(value.numpy())
        return np.asarray(self.library.ops.convert_to_numpy(value))

    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        return tuple(self.library.ops.shape(value))

    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        return self.library.ops.reshape(value, shape)

    # Variables

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, self.Variable)

    def backend_variable(self, variable: Any) -> Any:
        return variable._value

    def array(self, variable: Any) -> Array:
        value = variable._value
        return tf_variables.array(value) if self.tensorflow else self.to_array(value)

    def assign(self, target: Any, value: Any) -> None:
        # On JAX an assignment shares the buffer, which a training step then frees for both.
        if self.is_variable(value) and not self.tensorflow:
            value = np.array(self.array(value))
        target.assign(value)

    # Telling things apart

    def is_layer(self, value: Any) -> bool:
        return isinstance(value, self.Operation)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.KerasTensor)

    def is_constant(self, value: Any) -> bool:
        if isinstance(value, np.generic):
            return True
        from_backend = type(value).__module__.startswith(("tensorflow", "jaxlib", "jax."))
        return from_backend and type(value).__name__ in CONSTANTS

    def has_graph(self, layer: Any) -> bool:
        if type(layer).call not in (self.Functional.call, self.Sequential.call):
            return False
        return not isinstance(layer, self.Sequential) or layer._functional is not None

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, self.Sequential)

    def is_compiled(self, model: Any) -> bool:
        return bool(model.compiled)

    def has_functional_constructor(self, cls: type) -> bool:
        return bool(self.private("src.models.functional.functional_like_constructor")(cls))

    # Graphs

    def _graph_model(self, model: Any) -> Any:
        """Return the model that has the graph: a Sequential model keeps a functional one."""
        return model._functional if isinstance(model, self.Sequential) else model

    def nodes(self, model: Any) -> list[Any]:
        by_depth = self._graph_model(model)._nodes_by_depth
        return producers_first(by_depth)

    def node_layer(self, node: Any) -> Any:
        return node.operation

    def node_arguments(self, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return node.arguments.args, node.arguments.kwargs

    def node_outputs(self, node: Any) -> Any:
        return node.outputs

    def layer_nodes(self, layer: Any) -> list[Any]:
        return list(layer._inbound_nodes)

    def node_count(self, layer: Any) -> tuple[int, int]:
        return len(layer._inbound_nodes), len(layer._outbound_nodes)

    def producing_node(self, tensor: Any) -> Any:
        operation, index, _ = tensor._keras_history
        return operation._inbound_nodes[index]

    def boundary(self, model: Any) -> tuple[Any, Any]:
        graph = self._graph_model(model)
        return graph._inputs_struct, graph._outputs_struct

    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        graph = self._graph_model(model)
        producers = self.output_layers(model) if len(graph.outputs) > 1 else []
        structure = self.map(lambda _: 0, self.boundary(model))
        inputs = [(tensor.name, tensor._keras_history.operation.name) for tensor in graph.inputs]
        return inputs, list(graph.output_names), producers, structure

    def output_layers(self, model: Any) -> list[str]:
        outputs = self._graph_model(model).outputs
        return [str(tensor._keras_history.operation.name) for tensor in outputs]

    def flatten(self, structure: Any) -> list[Any]:
        return list(self.library.tree.flatten(structure))

    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        return self.library.tree.map_structure(function, structure)

    # Layers

    def sublayers(self, layer: Any) -> Sequence[Any]:
        if not getattr(layer, "_layers", None):
            return []
        return list(layer._flatten_layers(include_self=False))

    def weights(self, layer: Any) -> list[Any]:
        return list(getattr(layer, "weights", ()))

    def function_name(self, layer: Any) -> str:
        return "" if isinstance(layer, self.Layer) else self.stock_class(layer)

    def function_strides(self, node: Any) -> Any:
        return getattr(node.operation, "strides", None)

    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[LayerKind]:
        both = channels_last or rank > 1
        return RESIZE_KINDS if both else frozenset({LayerKind.ZERO_PADDING})

    @cached_property
    def misplaces_channels_first_bias(self) -> bool:
        """Whether a bias of shape (1, channels, 1, 1) is added along the last axis if that fits.

        Keras 3.15 on TensorFlow adds any bias that squeezes to a vector as that of a
        `channels_last` map. It is tried once, since patch releases may mend it.
        """
        channels_first_map = np.zeros((1, 2, 1, 2), "float32")
        bias = np.array([1.0, 2.0], "float32").reshape(1, 2, 1, 1)
        added = self.to_array(self.library.ops.add(channels_first_map, bias))
        first_channel = added[0, 0]
        return bool(np.any(first_channel != 1))

    # Copying layers

    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        # The constructor would draw the initial value and enter the variable into a scope.
        new = object.__new__(type(variable))
        own = dict(vars(variable))
        value = own.pop("_value", None)
        new.__dict__.update(copier.copy_items(own))
        if self.tensorflow:
            new.__dict__["_value"] = tf_variables.copied(value)
        else:
            new.__dict__["_value"] = copy.deepcopy(value)
        return new

    def special_handler(self, value: Any, copier: LayerCopier) -> Handler:
        tracked = (
            self.private("src.utils.tracking.TrackedList"),
            self.private("src.utils.tracking.TrackedDict"),
            self.private("src.utils.tracking.TrackedSet"),
        )
        if isinstance(value, self.private("src.utils.tracking.Tracker")):
            return lambda old: self._copy_tracker(old, copier)
        if isinstance(value, tracked):
            return lambda old: self._copy_tracked(old, copier)
        if tf_variables.is_mutable_table(value):
            return lambda old: copier.register(old, tf_variables.copied_table(old))
        return None

    def _copy_tracker(self, old: Any, copier: LayerCopier) -> Any:
        new = copier.register(old, object.__new__(type(old)))
        for key, value in vars(old).items():
            if key != "stored_ids":
                new.__dict__[key] = copier.copy(value)
        # A tracker knows what it has stored by identity: of the copies, not of the originals.
        new.stored_ids = {}
        for name, (_, store) in new.config.items():
            new.stored_ids[name] = {id(item) for item in store}
        return new

    def _copy_tracked(self, old: Any, copier: LayerCopier) -> Any:
        """Copy a tracking container from below.

        Its own methods refuse additions once a layer is built, and would enter the parts into the
        tracker a second time.
        """
        kind: Any = type(old)
        new = copier.register(old, kind.__new__(kind))
        if isinstance(old, dict):
            dict.update(new, copier.copy_items(old))
        elif isinstance(old, list):
            list.extend(new, copier.copy_all(old))
        else:
            set.update(new, copier.copy_all(old))
        new.tracker = copier.copy(old.tracker)
        return new

    def clone_from_config(self, layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config())
        if layer.built:
            new.build_from_config(layer.get_build_config() or {})
        for old, fresh in zip(layer.weights, new.weights, strict=True):
            fresh.assign(old)
        return new

    # Making layers and models

    def _policy(self, layer: Any) -> Any:
        return layer.dtype_policy

    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        # A node enters itself into its layer, into the nodes before it, and into `outputs`.
        node = self.private("src.ops.node.Node")
        node(layer, call_args=args, call_kwargs=kwargs, outputs=outputs)

    def assemble(self, old: Any, graph: NewGraph) -> Any:
        old_functional = self._graph_model(old)
        functional = self.Functional(graph.inputs, graph.outputs, name=old_functional.name)
        self._copy_flags(old_functional, functional)
        functional.output_names = list(old_functional.output_names)
        if not isinstance(old, self.Sequential):
            return functional
        new = self._assemble_sequential(old, functional, graph.layers)
        self._copy_flags(old, new)
        return new

    def _assemble_sequential(self, old: Any, functional: Any, layers: Sequence[Any]) -> Any:
        """Make a Sequential model around a functional one; `add` would call its layers again."""
        new = self.Sequential(name=old.name)
        new._layers.extend(layer for layer in layers if isinstance(layer, self.Layer))
        new._functional = functional
        new._build_shapes_dict = dict(old._build_shapes_dict or {})
        new.built = True
        return new

    def _copy_flags(self, old: Any, new: Any) -> None:
        # The properties `trainable` and `dtype_policy` would set those of every layer as well.
        new.__dict__["_trainable"] = old._trainable
        new.__dict__["_dtype_policy"] = old._dtype_policy
