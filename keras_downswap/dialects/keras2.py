"""Keras 2 (`tf_keras`)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_downswap.dialects.base import Dialect, NewGraph
from keras_downswap.dialects.compatibility import check_once, find
from keras_downswap.dialects.copying import tf_variables
from keras_downswap.dialects.copying.deep_copy import Handler, LayerCopier, Uncopyable
from keras_downswap.dialects.structure import producers_first
from keras_downswap.ir.facts import RESIZE_KINDS, LayerKind
from keras_downswap.ir.types import Array


class Keras2(Dialect):
    """The dialect of `tf_keras`, tested with the versions that pyproject.toml names."""

    root = "tf_keras"
    without_data_format = frozenset({"Cropping1D", "ZeroPadding1D"})

    def __init__(self) -> None:
        check_once(self.root)
        self.tf = sys.modules["tensorflow"]
        self.Layer = self.library.layers.Layer
        self.Sequential = self.library.Sequential
        self.Functional = self.private("src.engine.functional.Functional")
        self.KerasTensor = self.private("src.engine.keras_tensor.KerasTensor")
        self.AutoCastVariable = self.private(
            "src.mixed_precision.autocast_variable.AutoCastVariable"
        )

    # Layers called on tensors

    @property
    def on_tensorflow(self) -> bool:
        return True

    def run_layer(self, layer: Any, value: Any) -> Any:
        tensors = self.map(self.tf.convert_to_tensor, value)
        # A function in the graph accepts its tensors as separate arguments, a layer as one list.
        if self.function_name(layer) and isinstance(tensors, list):
            return layer(*tensors)
        return layer(tensors)

    def call_layer(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return layer(*args, **kwargs)

    # Tensors

    def to_tensor(self, value: Any, dtype: str | None = None) -> Any:
        tensor = self.tf.convert_to_tensor(value)
        return tensor if dtype is None else self.tf.cast(tensor, dtype)

    def to_array(self, value: Any) -> Array:
        return np.asarray(value.numpy())

    def dynamic_shape(self, value: Any) -> tuple[Any, ...]:
        known = value.shape
        lengths = self.tf.shape(value)
        return tuple(lengths[axis] if n is None else n for axis, n in enumerate(known))

    def reshape(self, value: Any, shape: Sequence[Any]) -> Any:
        return self.tf.reshape(value, shape)

    def merge_time(self, value: Any) -> Any:
        """Merge the axis of time into the batch, of the mask too.

        A mask of Keras 2 is an attribute of the tensor, which `tf.reshape` does not hand on:
        without it, what follows would compute with the steps that are to be ignored.
        """
        merged = super().merge_time(value)
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            merged._keras_mask = super().merge_time(mask)
        return merged

    def split_time(self, value: Any, like: Any) -> Any:
        """Undo `merge_time`, and hand on the mask as a TimeDistributed layer does.

        That is the mask which the wrapped layer gave its output. Where it gave none, a step counts
        if the outer mask keeps anything of it, whatever that mask says of the step's inside.
        """
        split = super().split_time(value, like)
        mask = getattr(value, "_keras_mask", None)
        outer = getattr(like, "_keras_mask", None)
        if mask is not None:
            split._keras_mask = super().split_time(mask, like)
        elif outer is not None:
            inner_axes = tuple(range(2, len(outer.shape)))
            split._keras_mask = self.tf.reduce_any(outer, axis=inner_axes)
        return split

    # Variables

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, self.tf.Variable)

    def backend_variable(self, variable: Any) -> Any:
        return variable._variable if isinstance(variable, self.AutoCastVariable) else variable

    def array(self, variable: Any) -> Array:
        return tf_variables.array(variable)

    def assign(self, target: Any, value: Any) -> None:
        target.assign(value)

    # Telling things apart

    def is_layer(self, value: Any) -> bool:
        return isinstance(value, self.Layer)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.KerasTensor)

    def is_constant(self, value: Any) -> bool:
        tf = self.tf
        constants = (np.generic, tf.Tensor, tf.DType, tf.TensorShape, tf.TypeSpec)
        return isinstance(value, constants)

    def has_graph(self, layer: Any) -> bool:
        if not isinstance(layer, self.Functional):
            return False
        # A Sequential model that knows no input shape is of the class Functional and has no graph.
        if not getattr(layer, "_is_graph_network", False):
            return False
        return type(layer).call in (self.Functional.call, self.Sequential.call)

    def is_sequential(self, model: Any) -> bool:
        return isinstance(model, self.Sequential)

    def is_compiled(self, model: Any) -> bool:
        return bool(model._is_compiled)

    def has_functional_constructor(self, cls: type) -> bool:
        return bool(self.private("src.engine.functional.has_functional_like_constructor")(cls))

    # Graphs

    def nodes(self, model: Any) -> list[Any]:
        return producers_first(model._nodes_by_depth)

    def node_layer(self, node: Any) -> Any:
        return node.layer

    def node_arguments(self, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(node.call_args), node.call_kwargs

    def node_outputs(self, node: Any) -> Any:
        return node.outputs

    def layer_nodes(self, layer: Any) -> list[Any]:
        return list(layer._inbound_nodes)

    def node_count(self, layer: Any) -> tuple[int, int]:
        return len(layer._inbound_nodes), len(layer._outbound_nodes)

    def producing_node(self, tensor: Any) -> Any:
        return tensor.node

    def boundary(self, model: Any) -> tuple[Any, Any]:
        return model._nested_inputs, model._nested_outputs

    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        producers = self.output_layers(model) if len(model.outputs) > 1 else []
        structure = self.map(lambda _: 0, self.boundary(model))
        return list(model.input_names), list(model.output_names), producers, structure

    def output_layers(self, model: Any) -> list[str]:
        return [str(tensor._keras_history.layer.name) for tensor in model.outputs]

    def flatten(self, structure: Any) -> list[Any]:
        return list(self.tf.nest.flatten(structure))

    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        return self.tf.nest.map_structure(function, structure)

    # Layers

    def sublayers(self, layer: Any) -> Sequence[Any]:
        # Walking into a layer that tracks nothing costs more than this look, and most do not.
        if not getattr(layer, "_self_tracked_trackables", None):
            return []
        return list(layer._flatten_layers(recursive=True, include_self=False))

    def weights(self, layer: Any) -> list[Any]:
        """Leave out the vocabularies that preprocessing layers list among their weights."""
        return [weight for weight in layer.weights if self.is_variable(weight)]

    def function_name(self, layer: Any) -> str:
        if self.stock_class(layer) != "TFOpLambda":
            return ""
        return str(getattr(layer, "symbol", ""))

    def function_strides(self, node: Any) -> Any:
        by_position = dict(enumerate(node.call_args))
        return node.call_kwargs.get("strides", by_position.get(2))

    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[LayerKind]:
        return RESIZE_KINDS if channels_last or rank > 1 else frozenset()

    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        if isinstance(variable, self.AutoCastVariable):
            wrap = self.private("src.mixed_precision.autocast_variable.create_autocast_variable")
            return wrap(copier.copy(variable._variable))
        new = tf_variables.copied(variable)
        # TensorFlow's copy has what TensorFlow put there, and lacks what Keras added.
        for key, value in vars(variable).items():
            if key.startswith("_keras") or key not in vars(new):
                new.__dict__[key] = value
        return new

    def special_handler(self, value: Any, copier: LayerCopier) -> Handler:
        """Return how to copy the wrappers in which TensorFlow's tracking puts containers.

        Each wrapper keeps the plain container besides its own state; a copy attribute by attribute
        would let the two come apart, so each is made anew around a copied plain one.
        """
        kind = type(value)
        if kind is find("tensorflow", "python.trackable.data_structures.ListWrapper"):
            return lambda old: copier.register(old, kind(copier.copy_all(old)))
        if kind is find("tensorflow", "python.trackable.data_structures._DictWrapper"):
            return lambda old: copier.register(old, kind(copier.copy(old.__wrapped__)))
        if kind is find("tensorflow", "python.trackable.data_structures._TupleWrapper"):
            return lambda old: copier.register(old, kind(copier.copy(old.__wrapped__)))
        by_identity = (
            self.private("src.utils.object_identity.ObjectIdentityDictionary"),
            find("tensorflow", "python.util.object_identity.ObjectIdentityDictionary"),
        )
        if kind in by_identity:
            return lambda old: self._copy_identities(old, copier)
        if tf_variables.is_mutable_table(value):
            return lambda old: copier.register(old, tf_variables.copied_table(old))
        return None

    def _copy_identities(self, old: Any, copier: LayerCopier) -> Any:
        """Copy a layer's counts of references to what it tracks.

        A key that cannot be copied is left out: where it matters, the same value stands in an
        attribute of the layer as well, and stops the copy there.
        """
        new = copier.register(old, type(old)())
        for key in old:
            with contextlib.suppress(Uncopyable), copier.all_or_nothing():
                new[copier.copy(key)] = old[key]
        return new

    def clone_from_config(self, layer: Any) -> Any:
        new = type(layer).from_config(layer.get_config())
        if layer.built and layer._build_input_shape is not None:
            new.build(layer._build_input_shape)
        for old, fresh in zip(layer.weights, new.weights, strict=True):
            fresh.assign(old)
        # A preprocessing layer prepares what it computes with from its weights here.
        if hasattr(new, "finalize_state"):
            new.finalize_state()
        return new

    # Making layers and models

    def _policy(self, layer: Any) -> Any:
        return layer._dtype_policy

    def admit_other_sizes(self, layer: Any) -> None:
        # A TimeDistributed layer insists on the lengths of its first call; rank is all it needs.
        if self.stock_class(layer) == "TimeDistributed":
            known = layer.input_spec
            layer.input_spec = type(known)(ndim=len(known.shape))

    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        # A node enters itself into its layer, into the nodes before it, and into `outputs`.
        node = self.private("src.engine.node.Node")
        node(layer, call_args=args, call_kwargs=kwargs, outputs=outputs)

    def assemble(self, old: Any, graph: NewGraph) -> Any:
        if isinstance(old, self.Sequential):
            new = self._assemble_sequential(old, graph)
        else:
            new = self.Functional(graph.inputs, graph.outputs, name=old.name)
        self._insert_losses(old, new, graph)
        # The property `trainable` would set every layer's flag as well.
        new.__dict__["_trainable"] = old._trainable
        new._set_dtype_policy(old._dtype_policy)
        new.output_names = list(old.output_names)
        return new

    def _assemble_sequential(self, old: Any, graph: NewGraph) -> Any:
        """Make a Sequential model around tensors that exist; `add` would call its layers again."""
        new = self.Sequential(name=old.name)
        new.inputs = self.flatten(graph.inputs)
        new.outputs = self.flatten(graph.outputs)
        new.built = True
        new._has_explicit_input_shape = old._has_explicit_input_shape
        new._inferred_input_shape = old._inferred_input_shape
        new._init_graph_network(new.inputs, new.outputs)
        new._graph_initialized = True
        return new

    def _insert_losses(self, old: Any, new: Any, graph: NewGraph) -> None:
        """Attach what `add_loss` and `add_metric` hung into the graph beside its outputs.

        No output depends on those calls, so that a model made from inputs and outputs alone would
        lose them, and with them a part of the loss that it is trained with.
        """
        reached = {id(node) for depth in new._nodes_by_depth.values() for node in depth}
        beside = [node for node in graph.nodes if id(node) not in reached]
        if not beside:
            return
        known = {id(layer) for layer in new.layers}
        added = {id(layer): layer for layer in graph.layers if id(layer) not in known}
        position = {layer.name: index for index, layer in enumerate(old.layers)}
        last = len(position)
        in_order = sorted(added.values(), key=lambda layer: position.get(layer.name, last))
        new._insert_layers(in_order, relevant_nodes=beside)
