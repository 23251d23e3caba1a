"""Every private name of a Keras or of TensorFlow that this package uses, and what for.

Private is what begins with an underscore, what only a path through `src` or `python` leads to, and
what belongs to that. A framework may move such a name in any version. Each is therefore listed
here once: `compatibility.py` looks for all of them when a Keras is first used, and a test compares
this table with what the package's syntax trees use. The public interface is used wherever it gives
the same object.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrivateName:
    """A name that its framework does not promise to keep.

    Attributes:
        name: A path below the framework's root, such as `src.engine.node.Node`; or, with an owner,
            the name of an attribute.
        purpose: What it is used for, to be read after "is needed".
        owner: The path of the class or module that defines the attribute or whose code sets it;
            empty where `name` is a path itself.
        since: The first version that has it; empty for the oldest known one.
        until: The last version that has it; empty for the newest known one and those to come.
    """

    name: str
    purpose: str
    owner: str = ""
    since: str = ""
    until: str = ""

    def __str__(self) -> str:
        """Return the name after its owner."""
        return f"{self.owner}.{self.name}" if self.owner else self.name


def _attributes_of(owner: str, **purposes: str) -> tuple[PrivateName, ...]:
    """List several attributes of one owner."""
    return tuple(PrivateName(name, purpose, owner) for name, purpose in purposes.items())


KERAS_2 = (
    PrivateName("src.engine.functional.Functional", "to recognise and make models with a graph"),
    PrivateName(
        "src.engine.functional.has_functional_like_constructor",
        "to know whether a saved model of a class would load",
    ),
    PrivateName("src.engine.keras_tensor.KerasTensor", "to recognise symbolic tensors"),
    PrivateName("src.engine.node.Node", "to record a call without running it"),
    PrivateName(
        "src.mixed_precision.autocast_variable.AutoCastVariable",
        "to copy the variables of layers in mixed precision",
    ),
    PrivateName(
        "src.mixed_precision.autocast_variable.create_autocast_variable",
        "to copy the variables of layers in mixed precision",
    ),
    PrivateName(
        "_variable",
        "to reach the variable that casts by itself in mixed precision",
        "src.mixed_precision.autocast_variable.AutoCastVariable",
    ),
    *_attributes_of(
        "src.engine.node.Node",
        layer="to read which layer a call calls",
        call_args="to read the arguments of a call",
        call_kwargs="to read the arguments of a call",
        outputs="to read the tensors that a call produced",
        _keras_history="to find the layer that produced a tensor",
    ),
    PrivateName(
        "node", "to find the call that produced a tensor", "src.engine.keras_tensor.KerasTensor"
    ),
    *_attributes_of(
        "src.engine.functional.Functional",
        _nodes_by_depth="to read a model's calls, producers first",
        _nested_inputs="to read the structure of a model's inputs",
        _nested_outputs="to read the structure of a model's outputs",
        _is_graph_network="to tell a model with a graph from one that only has its class",
        _init_graph_network="to give a new Sequential model its graph",
        _insert_layers="to attach what add_loss and add_metric put beside the outputs",
    ),
    *_attributes_of(
        "src.engine.sequential.Sequential",
        _graph_initialized="to mark the graph of a new Sequential model as made",
        _has_explicit_input_shape="to give a new Sequential model its input shape",
        _inferred_input_shape="to give a new Sequential model its input shape",
    ),
    PrivateName(
        "src.utils.object_identity.ObjectIdentityDictionary",
        "to copy a layer's counts of references",
    ),
    PrivateName("_is_compiled", "to know whether to compile the copy", "src.engine.training.Model"),
    *_attributes_of(
        "src.engine.base_layer.Layer",
        _inbound_nodes="to order the calls of a shared layer, and to see that none was added",
        _outbound_nodes="to see that no call was added to the original",
        _inbound_nodes_value="to start a copied layer without calls",
        _outbound_nodes_value="to start a copied layer without calls",
        _self_tracked_trackables="to know whether a layer holds others",
        _flatten_layers="to list the layers inside a layer",
        _trainable="to copy whether a model is trained, and leave its layers' own flags alone",
        _dtype_policy="to copy the dtype policy",
        _set_dtype_policy="to give a new model the dtype policy",
        _build_input_shape="to build a layer that is made anew from its configuration",
        _keras_mask="to pass masks on where the axis of time is merged into the batch",
        _keras_api_names="to recognise the classes that a saved model names",
        _keras_api_names_v1="to recognise the classes that an old saved model names",
    ),
    PrivateName(
        "_adapt_function",
        "to leave out a compiled function that holds on to the original layer",
        "src.engine.base_preprocessing_layer.PreprocessingLayer",
    ),
)
"""Of tf_keras; paths are below `tf_keras`."""

KERAS_3 = (
    PrivateName("src.models.functional.Functional", "to recognise and make models with a graph"),
    PrivateName(
        "src.models.functional.functional_like_constructor",
        "to know whether a saved model of a class would load",
    ),
    PrivateName("src.ops.node.Node", "to record a call without running it"),
    PrivateName("src.backend.Variable", "to recognise variables"),
    PrivateName("src.utils.tracking.Tracker", "to copy what keeps account of a layer's parts"),
    PrivateName("src.utils.tracking.TrackedList", "to copy the lists of a layer"),
    PrivateName("src.utils.tracking.TrackedDict", "to copy the dicts of a layer"),
    PrivateName("src.utils.tracking.TrackedSet", "to copy the sets of a layer"),
    PrivateName("_value", "to copy the variable of the backend", "src.backend.Variable"),
    *_attributes_of(
        "src.utils.tracking.Tracker",
        config="to enter the copies of a layer's parts into the copied tracker",
        stored_ids="to enter the copies of a layer's parts into the copied tracker",
    ),
    PrivateName(
        "tracker", "to give copied lists the copied tracker", "src.utils.tracking.TrackedList"
    ),
    *_attributes_of(
        "src.ops.node.Node",
        operation="to read which layer a call calls",
        arguments="to read the arguments of a call",
        outputs="to read the tensors that a call produced",
        _keras_history="to find the layer that produced a tensor",
    ),
    PrivateName(
        "_keras_mask",
        "to copy a symbolic tensor without its mask, which belongs to the original's graph",
        "src.backend.common.masking",
    ),
    *_attributes_of(
        "src.models.functional.Functional",
        _nodes_by_depth="to read a model's calls, producers first",
        _inputs_struct="to read the structure of a model's inputs",
        _outputs_struct="to read the structure of a model's outputs",
    ),
    PrivateName(
        "_functional",
        "to reach the graph of a Sequential model",
        "src.models.sequential.Sequential",
    ),
    *_attributes_of(
        "src.ops.operation.Operation",
        _inbound_nodes="to order the calls of a shared layer, and to see that none was added",
        _outbound_nodes="to see that no call was added to the original",
    ),
    *_attributes_of(
        "src.layers.layer.Layer",
        _layers="to know whether a layer holds others, and to give a Sequential model its own",
        _flatten_layers="to list the layers inside a layer",
        _losses="to take back the losses that running a layer adds",
        _loss_ids="to take back the losses that running a layer adds",
        _trainable="to copy whether a model is trained, and leave its layers' own flags alone",
        _dtype_policy="to copy the dtype policy",
        _build_shapes_dict="to give a new Sequential model the shapes that it was built for",
        _api_export_path="to recognise the classes that a saved model names",
    ),
)
"""Of Keras 3; paths are below `keras`."""

_RESOURCES = "python.ops.resource_variable_ops"

TENSORFLOW = (
    PrivateName(f"{_RESOURCES}.ResourceVariable", "to copy variables"),
    PrivateName(f"{_RESOURCES}.eager_safe_variable_handle", "to copy variables quickly"),
    PrivateName("python.framework.ops.uid", "to give a copied variable a number of its own"),
    *_attributes_of(
        f"{_RESOURCES}.ResourceVariable",
        _in_graph_mode="to tell eager variables, which are copied quickly, from others",
        _caching_device="to tell plain variables, which are copied quickly, from others",
        _distribute_strategy="to tell plain variables, which are copied quickly, from others",
        _constraint="to tell plain variables, which are copied quickly, from others",
        _handle="to give a copied variable storage of its own",
        _handle_name="to copy the name of a variable",
        _unique_id="to give a copied variable a number of its own",
        _shape="to copy the shape of a variable",
        _parent_trackable="to tie the storage of a copied variable to it",
        _name="to copy the name of a variable's storage",
    ),
    PrivateName("python.ops.lookup_ops.MutableHashTable", "to copy lookup tables"),
    PrivateName(
        "_default_value", "to copy lookup tables", "python.ops.lookup_ops.MutableHashTable"
    ),
    PrivateName("python.trackable.data_structures.ListWrapper", "to copy the lists of a layer"),
    PrivateName("python.trackable.data_structures._DictWrapper", "to copy the dicts of a layer"),
    PrivateName("python.trackable.data_structures._TupleWrapper", "to copy the tuples of a layer"),
    PrivateName(
        "python.util.object_identity.ObjectIdentityDictionary",
        "to copy counts of references that TensorFlow keeps",
    ),
    *_attributes_of(
        "python.trackable.base.Trackable",
        _self_unconditional_checkpoint_dependencies="to copy the list of what is saved of a layer",
        _self_unconditional_dependency_names="to copy the list of what is saved of a layer",
        _self_unconditional_deferred_dependencies="to leave out checkpoints yet to be restored",
        _self_name_based_restores="to leave out checkpoints yet to be restored",
    ),
)
"""Of TensorFlow, on which either Keras may run; paths are below `tensorflow`."""

TABLE = {"tf_keras": KERAS_2, "keras": KERAS_3, "tensorflow": TENSORFLOW}
"""The private names of each framework, by the module that is its root."""

PREFIXES = {
    "_keras": "what Keras 2 adds to a variable that TensorFlow made",
    "_self_": "what TensorFlow's tracking adds to an object, to save it",
}
"""Beginnings of attribute names by which what a framework added is recognised."""
