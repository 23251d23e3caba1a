"""What both Kerases have in common: what a dialect must tell and do, and how it makes layers."""

from __future__ import annotations

import copy
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_downswap.dialects.describe import Description, describe
from keras_downswap.dialects.reading import Reading, read
from keras_downswap.dialects.twin import NODES, Twins
from keras_downswap.graph import Role
from keras_downswap.rule import Make


class Dialect(ABC):
    """One Keras. Everything that knows its internals is a method here or in a subclass."""

    root: str

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

    def recompile(self, old: Any, new: Any) -> tuple[list[str], list[str]]:
        """Compile a new model like the old one.

        Returns:
            What the user may know of it, and what was lost; both empty where the old one was not compiled.
        """
        if not self.is_compiled(old):
            return [], []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                new.compile_from_config(old.get_compile_config())
        except Exception as error:  # noqa: BLE001 (losses and metrics may be anything)
            return [], [
                f"the new model is not compiled, since the original's compile arguments do not rebuild: {error}"
            ]
        if not self.is_compiled(new):
            return [], ["the new model is not compiled, since its class has a `compile` of its own: call that again"]
        return ["the new model is compiled like the original, with a fresh optimizer state"], []

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
    def layers_in_front(self, rank: int, channels_last: bool) -> frozenset[str]:
        """Return which of `ZeroPadding` and `Cropping` exist for a rank and data format."""

    def unwrapped(self, layer: Any) -> Any:
        """Return the layer that a stock TimeDistributed layer calls at each step; any other layer itself."""
        return layer.layer if self.stock_class(layer) == "TimeDistributed" else layer

    @abstractmethod
    def sublayers(self, layer: Any) -> Sequence[Any]:
        """Return all layers inside an opaque layer."""

    def read(self, model: Any) -> Reading:
        """Read a model, and every model nested in it, into graphs.

        Raises:
            UnreadableModel: If the model has no graph.
        """
        return read(self, model)

    def describe(self, layer: Any, rank: int, class_name: str | None = None) -> Description:
        """Describe a layer, as if of a stock class, called on one tensor of a rank (batch and channels counted).

        Of a TimeDistributed layer, what it wraps is described, and the rank is what that sees.
        """
        layer = self.unwrapped(layer)
        facts = self._describe(layer, rank, class_name)
        if facts.role is Role.CONV and layer.use_bias and not facts.channels_last and self.bias_goes_astray:
            facts.settings["bias_goes_astray"] = True
        return facts

    @property
    def bias_goes_astray(self) -> bool:
        """Whether a bias of shape (1, channels, 1, 1) is added along the last axis where that is as long."""
        return False

    def _describe(self, layer: Any, rank: int, class_name: str | None) -> Description:
        last = getattr(layer, "data_format", "channels_last") == "channels_last"
        return describe(layer, class_name or self.stock_class(layer), rank, self.layers_in_front(rank - 2, last))

    def shape(self, tensor: Any) -> tuple[int | None, ...]:
        """Return the shape of a symbolic tensor; empty where even the rank is unknown."""
        shape = tensor.shape
        return tuple(shape) if getattr(shape, "rank", 0) is not None else ()

    def dtype(self, tensor: Any) -> str:
        """Return the dtype name of a symbolic tensor."""
        return str(getattr(tensor.dtype, "name", tensor.dtype))

    @abstractmethod
    def run(self, layer: Any, value: Any) -> Any:
        """Call a layer at inference on a backend tensor or an array."""

    @abstractmethod
    def result(self, value: Any) -> np.ndarray[Any, Any]:
        """Return a backend tensor as an array."""

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
    def copy_variable(self, variable: Any, twins: Twins) -> Any:
        """Return a new variable of the same value and properties."""

    @abstractmethod
    def special_handler(self, value: Any, twins: Twins) -> Callable[[Any], Any] | None:
        """Return how to copy a container of this Keras' own; None for any other value."""

    @abstractmethod
    def graft(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """Record a call of a layer that made the given fresh tensors, without running it."""

    @abstractmethod
    def maker(self, tensor: Any) -> Any:
        """Return the node that made a symbolic tensor."""

    def fresh(self, tensor: Any) -> Any:
        """Return a new symbolic tensor of the same spec and name, made by no layer yet."""
        new = copy.copy(tensor)
        for key in ("_keras_history", "_keras_mask"):
            new.__dict__.pop(key, None)
        return new

    @abstractmethod
    def clone_from_config(self, layer: Any) -> Any:
        """Return a layer rebuilt from the configuration, with the weights of the old one."""

    def sharing_twin(self, layer: Any) -> Any:
        """Return another object of the layer's class that shares all its attributes but the nodes."""
        new = object.__new__(type(layer))
        new.__dict__.update((key, [] if key in NODES else value) for key, value in vars(layer).items())
        return new

    @abstractmethod
    def assemble(self, old: Any, inputs: Any, outputs: Any, layers: Sequence[Any], nodes: Sequence[Any]) -> Any:
        """Return a new model of the old one's kind from new tensors; `layers` and their `nodes` in call order."""

    @abstractmethod
    def takes_a_graph(self, cls: type) -> bool:
        """Tell whether a model class has the constructor of a functional model, by which Keras saves and loads it."""

    @abstractmethod
    def policy(self, layer: Any) -> Any:
        """Return the dtype policy of a layer."""

    @abstractmethod
    def assign(self, target: Any, value: Any) -> None:
        """Assign a variable's or an array's value to a variable."""

    @abstractmethod
    def array(self, variable: Any) -> np.ndarray[Any, Any]:
        """Return the value of a variable."""

    def make(self, step: Make, name: str, reading: Reading, twins: Twins) -> Any:
        """Make the layer that a rule asked for, wrapped as that beside it; weights follow with `fill` once built."""
        beside = reading.layers[step.beside]
        inner = self.unwrapped(beside)
        if inner is beside:
            return self._make(step, name, inner, reading, twins)
        own = name if step.like is None else self.unwrapped(reading.layers[step.like]).name
        flags = {"dtype": self.policy(beside), "trainable": beside.trainable}
        return type(beside)(self._make(step, str(own), inner, reading, twins), name=name, **flags)

    def _make(self, step: Make, name: str, beside: Any, reading: Reading, twins: Twins) -> Any:
        layers = self.module("src.layers")
        cls = getattr(layers, f"{step.kind}{step.rank}D" if step.rank else step.kind)
        settings: dict[str, Any] = {"name": name, "dtype": self.policy(beside)}
        if step.like is not None:
            settings |= self._settings_of(self.unwrapped(reading.layers[step.like]), twins)
        settings |= step.settings
        if "data_format" in settings and f"{step.kind}{step.rank}D" in self.without_data_format:
            del settings["data_format"]
        return cls(**settings)

    without_data_format: frozenset[str]

    def _settings_of(self, layer: Any, twins: Twins) -> dict[str, Any]:
        """Return the constructor arguments of a layer as live copies, so that closures and objects survive."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what serialization would lose: nothing is serialized here
            config = {key: value for key, value in layer.get_config().items() if key not in ("dtype", "name")}
        for key in config:
            if key.endswith(("_regularizer", "_constraint")) or key == "activation":
                config[key] = twins.copy(getattr(layer, key))
            elif key.endswith("_initializer"):
                config[key] = "zeros"
        return config

    def fill(self, new: Any, step: Make, reading: Reading, twins: Twins) -> None:
        """Move the weights of the layer that a new one stands for, and its initializers."""
        if step.like is None:
            return
        old, new = self.unwrapped(reading.layers[step.like]), self.unwrapped(new)
        for key in ("kernel_initializer", "bias_initializer"):
            setattr(new, key, twins.copy(getattr(old, key)))
        self.assign(new.kernel, old.kernel if step.kernel is None else step.kernel(self.array(old.kernel)))
        if old.use_bias:
            self.assign(new.bias, old.bias)
