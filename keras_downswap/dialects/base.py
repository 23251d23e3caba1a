"""What both Kerases have in common: what a dialect must tell and do, and how it makes layers."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_downswap.dialects.copying.deep_copy import NODES, LayerCopier
from keras_downswap.dialects.describe import Description, describe
from keras_downswap.dialects.tensors import TensorOperations
from keras_downswap.ir.graph import Role
from keras_downswap.ir.kernel_math import binomial


class Dialect(TensorOperations):
    """One Keras. Everything that knows its internals is a method here or in a subclass."""

    root: str
    without_data_format: frozenset[str]

    def module(self, path: str) -> Any:
        """Return a module of this Keras that is already imported, by its path below the root."""
        return sys.modules[f"{self.root}.{path}"]

    # Telling things apart

    @abstractmethod
    def is_layer(self, value: Any) -> bool:
        """Tell whether a value is a layer (or, in Keras 3, another operation)."""

    @abstractmethod
    def function_name(self, layer: Any) -> str:
        """Return the name of the function that a node calls; empty where it calls a layer."""

    @abstractmethod
    def function_strides(self, node: Any) -> Any:
        """Return the strides with which a node calls a convolution function, or None."""

    @abstractmethod
    def is_variable(self, value: Any) -> bool:
        """Tell whether a value is a variable of any kind."""

    @abstractmethod
    def is_tensor(self, value: Any) -> bool:
        """Tell whether a value is a symbolic tensor."""

    @abstractmethod
    def is_constant(self, value: Any) -> bool:
        """Tell whether a value is immutable, so that a copy may share it."""

    @abstractmethod
    def has_graph(self, layer: Any) -> bool:
        """Tell whether a layer is a model that runs a graph which can be walked; its own `call` would hide it."""

    @abstractmethod
    def is_sequential(self, model: Any) -> bool:
        """Tell whether a model is Sequential, and so takes inputs of other sizes than it states."""

    @abstractmethod
    def output_layers(self, model: Any) -> list[str]:
        """Return the names of the layers that make the outputs, by which a saved file names them."""

    @abstractmethod
    def is_compiled(self, model: Any) -> bool:
        """Tell whether a model is compiled."""

    def stock_class(self, layer: Any) -> str:
        """Return the name of the layer's class if it is this Keras' own, else an empty string."""
        return type(layer).__name__ if self.is_stock(type(layer)) else ""

    def is_stock(self, cls: type) -> bool:
        """Tell whether a class is this Keras' own."""
        return cls.__module__.split(".")[0] == self.root

    # Reading

    @abstractmethod
    def nodes(self, model: Any) -> list[Any]:
        """Return the nodes of a model's own graph, producers first."""

    @abstractmethod
    def node_layer(self, node: Any) -> Any:
        """Return the layer that a node calls."""

    @abstractmethod
    def node_arguments(self, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a node's call."""

    @abstractmethod
    def node_outputs(self, node: Any) -> Any:
        """Return the structure of tensors that a node made."""

    @abstractmethod
    def flatten(self, structure: Any) -> list[Any]:
        """Return the leaves of a nested structure."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        """Apply a function to the leaves of a nested structure."""

    @abstractmethod
    def boundary(self, model: Any) -> tuple[Any, Any]:
        """Return the nested structures of a model's inputs and of its outputs."""

    @abstractmethod
    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[str]:
        """Return which of `ZeroPadding` and `Cropping` exist for a rank and data format."""

    def unwrapped(self, layer: Any) -> Any:
        """Return the layer that a stock TimeDistributed layer calls at each step; any other layer itself."""
        return layer.layer if self.stock_class(layer) == "TimeDistributed" else layer

    @abstractmethod
    def sublayers(self, layer: Any) -> Sequence[Any]:
        """Return all layers inside an opaque layer."""

    def describe(self, layer: Any, rank: int, class_name: str | None = None) -> Description:
        """Describe a layer, as if of a stock class, called on one tensor of a rank (batch and channels counted).

        Of a TimeDistributed layer, what it wraps is described, and the rank is what that sees.
        """
        layer = self.unwrapped(layer)
        facts = self._describe(layer, rank, class_name)
        if (
            facts.role is Role.CONV
            and layer.use_bias
            and not facts.channels_last
            and self.misplaces_channels_first_bias
        ):
            facts.settings["misplaces_channels_first_bias"] = True
        if facts.role is Role.CONV and self._blurs(layer, facts):
            facts.settings["blurs"] = True
        return facts

    def _blurs(self, layer: Any, facts: Description) -> bool:
        """Tell whether a layer is a convolution of each channel with a binomial kernel of 2s - 1 taps and stride s."""
        sized = any(w.stride > 1 for w in facts.windows) and all(
            w.size == 2 * w.stride - 1 for w in facts.windows
        )
        if (
            not sized
            or layer.use_bias
            or not layer.built
            or facts.settings["kind"] == "SeparableConv"
        ):
            return False
        own = getattr(layer, "depthwise_kernel", None)
        kernel = layer.kernel if own is None else own
        if kernel.shape[-2 if facts.settings["kind"] == "Conv" else -1] != 1:
            return False
        return bool(
            np.allclose(self.array(kernel), binomial(tuple(kernel.shape)), rtol=0, atol=1e-3)
        )

    @property
    def misplaces_channels_first_bias(self) -> bool:
        """Whether a bias of shape (1, channels, 1, 1) is added along the last axis where that is as long."""
        return False

    def _describe(self, layer: Any, rank: int, class_name: str | None) -> Description:
        last = getattr(layer, "data_format", "channels_last") == "channels_last"
        return describe(
            layer, class_name or self.stock_class(layer), rank, self.resizing_layers(rank - 2, last)
        )

    def shape(self, tensor: Any) -> tuple[int | None, ...]:
        """Return the shape of a symbolic tensor; empty where even the rank is unknown."""
        shape = tensor.shape
        return tuple(shape) if getattr(shape, "rank", 0) is not None else ()

    def dtype(self, tensor: Any) -> str:
        """Return the dtype name of a symbolic tensor."""
        return str(getattr(tensor.dtype, "name", tensor.dtype))

    def trained_weights(self, layer: Any) -> list[Any]:
        """Return the weights of a layer that training would move, were it not frozen."""
        names = ("depthwise_kernel", "pointwise_kernel", "kernel", "bias", "gamma", "beta")
        found = [vars(layer).get(f"_{name}", getattr(layer, name, None)) for name in names]
        return [
            variable for variable in found if variable is not None and self.is_variable(variable)
        ]

    @property
    @abstractmethod
    def on_tensorflow(self) -> bool:
        """Whether this Keras runs on TensorFlow."""

    @abstractmethod
    def backend_variable(self, variable: Any) -> Any:
        """Return the backend's own variable."""

    @abstractmethod
    def node_count(self, layer: Any) -> tuple[int, int]:
        """Return how many inbound and outbound nodes a layer has."""

    @abstractmethod
    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        """Return names and structure of inputs and outputs; layer names of the outputs where there are several."""

    @abstractmethod
    def weights(self, layer: Any) -> list[Any]:
        """Return the variables of a layer."""

    def same_bits(self, a: Any, b: Any) -> bool:
        """Tell whether two variables hold the same bits."""
        x, y = self.array(a), self.array(b)
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        if x.dtype.kind in "OSU" or x.dtype.itemsize not in (1, 2, 4, 8):
            return bool(x.tolist() == y.tolist())
        if x.nbytes < 1 << 16:
            return bool(x.tobytes() == y.tobytes())
        bits = f"u{x.dtype.itemsize}"
        return bool((np.ravel(x).view(bits) == np.ravel(y).view(bits)).all())

    # Copying and making

    @abstractmethod
    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        """Return a new variable of the same value and properties."""

    @abstractmethod
    def special_handler(self, value: Any, copier: LayerCopier) -> Callable[[Any], Any] | None:
        """Return how to copy a container of this Keras' own; None for any other value."""

    def admit_other_sizes(self, layer: Any) -> None:
        """Let a layer be called on other lengths than those that it was built for."""
        return

    @abstractmethod
    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """Record a call of a layer that made the given fresh tensors, without running it."""

    @abstractmethod
    def producing_node(self, tensor: Any) -> Any:
        """Return the node that made a symbolic tensor."""

    def unconnected_tensor(self, tensor: Any) -> Any:
        """Return a new symbolic tensor of the same spec and name, made by no layer yet."""
        new = copy.copy(tensor)
        for key in ("_keras_history", "_keras_mask"):
            new.__dict__.pop(key, None)
        return new

    @abstractmethod
    def clone_from_config(self, layer: Any) -> Any:
        """Return a layer rebuilt from the configuration, with the weights of the old one."""

    def copy_sharing_state(self, layer: Any) -> Any:
        """Return another object of the layer's class that shares all its attributes but the nodes."""
        new = object.__new__(type(layer))
        new.__dict__.update(
            (key, [] if key in NODES else value) for key, value in vars(layer).items()
        )
        return new

    @abstractmethod
    def assemble(
        self, old: Any, inputs: Any, outputs: Any, layers: Sequence[Any], nodes: Sequence[Any]
    ) -> Any:
        """Return a new model of the old one's kind from new tensors; `layers` and their `nodes` in call order."""

    @abstractmethod
    def takes_a_graph(self, cls: type) -> bool:
        """Tell whether a model class has the constructor of a functional model, by which Keras saves and loads it."""

    def policy(self, layer: Any) -> Any:
        """Return the dtype policy of a layer; of a function in the graph, which has none, the dtype that it makes."""
        if self.function_name(layer):
            return self.dtype(self.flatten(self.node_outputs(layer._inbound_nodes[0]))[0])
        return self._policy(layer)

    @abstractmethod
    def _policy(self, layer: Any) -> Any: ...

    @abstractmethod
    def assign(self, target: Any, value: Any) -> None:
        """Assign a variable's or an array's value to a variable."""

    @abstractmethod
    def array(self, variable: Any) -> np.ndarray[Any, Any]:
        """Return the value of a variable."""
