"""Keras 2 (`tf_keras`)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.copying import tf_variables as tf_state
from keras_downswap.dialects.copying.deep_copy import LayerCopier, Uncopyable


class Keras2(Dialect):
    """The dialect of `tf_keras`, tested with the versions that pyproject.toml names."""

    root = "tf_keras"
    without_data_format = frozenset({"Cropping1D", "ZeroPadding1D"})

    def __init__(self) -> None:
        self.tf = sys.modules["tensorflow"]
        self.Layer = self.module("src.engine.base_layer").Layer
        self.Functional = self.module("src.engine.functional").Functional
        self.functional_like = self.module("src.engine.functional").has_functional_like_constructor
        self.Sequential = self.module("src.engine.sequential").Sequential
        self.KerasTensor = self.module("src.engine.keras_tensor").KerasTensor
        self.Node = self.module("src.engine.node").Node
        autocast = self.module("src.mixed_precision.autocast_variable")
        self.AutoCastVariable = autocast.AutoCastVariable
        self.autocast = autocast.create_autocast_variable

    def is_layer(self, value: Any) -> bool:
        return isinstance(value, self.Layer)

    def function_name(self, layer: Any) -> str:
        return str(getattr(layer, "symbol", "")) if self.stock_class(layer) == "TFOpLambda" else ""

    def function_strides(self, node: Any) -> Any:
        rest = dict(enumerate(node.call_args))
        return node.call_kwargs.get("strides", rest.get(2))

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, self.tf.Variable)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.KerasTensor)

    def is_constant(self, value: Any) -> bool:
        return isinstance(
            value,
            np.generic | self.tf.Tensor | self.tf.DType | self.tf.TensorShape | self.tf.TypeSpec,
        )

    def has_graph(self, layer: Any) -> bool:
        if not isinstance(layer, self.Functional) or not getattr(layer, "_is_graph_network", False):
            return False
        return type(layer).call in (self.Functional.call, self.Sequential.call)

    def output_layers(self, model: Any) -> list[str]:
        return [str(t._keras_history.layer.name) for t in model.outputs]

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, self.Sequential)

    def is_compiled(self, model: Any) -> bool:
        return bool(model._is_compiled)

    def nodes(self, model: Any) -> list[Any]:
        depths = model._nodes_by_depth
        return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]

    def node_layer(self, node: Any) -> Any:
        return node.layer

    def node_arguments(self, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(node.call_args), node.call_kwargs

    def node_outputs(self, node: Any) -> Any:
        return node.outputs

    def flatten(self, structure: Any) -> list[Any]:
        return list(self.tf.nest.flatten(structure))

    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        return self.tf.nest.map_structure(function, structure)

    def boundary(self, model: Any) -> tuple[Any, Any]:
        return model._nested_inputs, model._nested_outputs

    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[str]:
        return frozenset({"ZeroPadding", "Cropping"} if channels_last or rank > 1 else ())

    def sublayers(self, layer: Any) -> Sequence[Any]:
        inside = getattr(layer, "_self_tracked_trackables", None)
        return list(layer._flatten_layers(recursive=True, include_self=False)) if inside else []

    def run_layer(self, layer: Any, value: Any) -> Any:
        parts = self.map(self.tf.convert_to_tensor, value)
        return (
            layer(*parts) if self.function_name(layer) and isinstance(parts, list) else layer(parts)
        )

    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return layer(*args, **kwargs)

    @property
    def on_tensorflow(self) -> bool:
        return True

    def backend_variable(self, variable: Any) -> Any:
        return variable._variable if isinstance(variable, self.AutoCastVariable) else variable

    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        made = self.tf.convert_to_tensor(value)
        return made if dtype is None else self.tf.cast(made, dtype)

    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        return self.tf.reshape(value, shape)

    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        seen = self.tf.shape(value)
        return tuple(seen[axis] if n is None else n for axis, n in enumerate(value.shape))

    def merge_time(self, value: Any) -> Any:
        folded, mask = super().merge_time(value), getattr(value, "_keras_mask", None)
        if mask is not None:
            folded._keras_mask = super().merge_time(mask)
        return folded

    def split_time(self, value: Any, like: Any) -> Any:
        """Hand on the mask as TimeDistributed does: the inner one, else what the outer one says of each step."""
        made, mask = super().split_time(value, like), getattr(value, "_keras_mask", None)
        outer = getattr(like, "_keras_mask", None)
        if mask is not None:
            made._keras_mask = super().split_time(mask, like)
        elif outer is not None:
            made._keras_mask = self.tf.reduce_any(outer, axis=tuple(range(2, len(outer.shape))))
        return made

    def to_array(self, value: Any) -> np.ndarray[Any, Any]:
        return np.asarray(value.numpy())

    def node_count(self, layer: Any) -> tuple[int, int]:
        return len(layer._inbound_nodes), len(layer._outbound_nodes)

    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        made = self.output_layers(model) if len(model.outputs) > 1 else []
        structure = self.map(lambda _: 0, self.boundary(model))
        return list(model.input_names), list(model.output_names), made, structure

    def weights(self, layer: Any) -> list[Any]:
        """Leave out the vocabularies that preprocessing layers list among their weights."""
        return [weight for weight in layer.weights if self.is_variable(weight)]

    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        if isinstance(variable, self.AutoCastVariable):
            return self.autocast(copier.copy(variable._variable))
        new = tf_state.copied(variable)
        for key, value in vars(variable).items():
            if key.startswith("_keras") or key not in vars(new):
                new.__dict__[key] = value
        return new

    def special_handler(self, value: Any, copier: LayerCopier) -> Callable[[Any], Any] | None:
        name = type(value).__name__
        if name == "ListWrapper":
            return lambda old: copier.register(old, type(old)([copier.copy(v) for v in old]))
        if name in ("_DictWrapper", "_TupleWrapper"):
            return lambda old: copier.register(old, type(old)(copier.copy(old.__wrapped__)))
        if name == "ObjectIdentityDictionary":
            return lambda old: self._identities(old, copier)
        if tf_state.is_mutable_table(value):
            return lambda old: copier.register(old, tf_state.copied_table(old))
        return None

    def _identities(self, old: Any, copier: LayerCopier) -> Any:
        """Copy a layer's counts of references; what cannot be copied is dropped by the layer itself, or stops it."""
        new = copier.register(old, type(old)())
        for key in old:
            with contextlib.suppress(Uncopyable), copier.all_or_nothing():
                new[copier.copy(key)] = old[key]
        return new

    def admit_other_sizes(self, layer: Any) -> None:
        if self.stock_class(layer) == "TimeDistributed":
            layer.input_spec = type(layer.input_spec)(ndim=len(layer.input_spec.shape))

    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        self.Node(layer, call_args=args, call_kwargs=kwargs, outputs=outputs)

    def producing_node(self, tensor: Any) -> Any:
        return tensor.node

    def clone_from_config(self, layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config())
        if layer.built and layer._build_input_shape is not None:
            new.build(layer._build_input_shape)
        for old, fresh in zip(layer.weights, new.weights, strict=True):
            fresh.assign(old)
        if hasattr(new, "finalize_state"):
            new.finalize_state()
        return new

    def assemble(
        self, old: Any, inputs: Any, outputs: Any, layers: Sequence[Any], nodes: Sequence[Any]
    ) -> Any:
        if isinstance(old, self.Sequential):
            new = self.Sequential(name=old.name)
            new.inputs, new.outputs = self.flatten(inputs), self.flatten(outputs)
            new.built = True
            new._has_explicit_input_shape = old._has_explicit_input_shape
            new._inferred_input_shape = old._inferred_input_shape
            new._init_graph_network(new.inputs, new.outputs)
            new._graph_initialized = True
        else:
            new = self.Functional(inputs, outputs, name=old.name)
        self._insert_losses(old, new, layers, nodes)
        new.__dict__["_trainable"] = old._trainable
        new._set_dtype_policy(old._dtype_policy)
        new.output_names = list(old.output_names)
        return new

    def array(self, variable: Any) -> np.ndarray[Any, Any]:
        return tf_state.array(variable)

    def _insert_losses(
        self, old: Any, new: Any, layers: Sequence[Any], nodes: Sequence[Any]
    ) -> None:
        """Attach what `add_loss` and `add_metric` hung into the graph beside its outputs."""
        inside = {id(node) for depth in new._nodes_by_depth.values() for node in depth}
        beside = [node for node in nodes if id(node) not in inside]
        if beside:
            known = {id(layer) for layer in new.layers}
            added = {id(layer): layer for layer in layers if id(layer) not in known}
            place = {layer.name: at for at, layer in enumerate(old.layers)}
            in_order = sorted(added.values(), key=lambda layer: place.get(layer.name, len(place)))
            new._insert_layers(in_order, relevant_nodes=beside)

    def takes_a_graph(self, cls: type) -> bool:
        return bool(self.functional_like(cls))

    def _policy(self, layer: Any) -> Any:
        return layer._dtype_policy

    def assign(self, target: Any, value: Any) -> None:
        target.assign(value)
