"""The interface of a dialect: what is read of a model, what tensors do, and how models are made."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_downswap.dialects.compatibility import find
from keras_downswap.dialects.copying.deep_copy import NODES, Handler, LayerCopier
from keras_downswap.dialects.structure import ModelStructure


@dataclass(frozen=True)
class NewGraph:
    """Recorded calls of which a model is to be made.

    Attributes:
        inputs: The structure of the model's input tensors.
        outputs: The structure of its output tensors.
        layers: Its layers in the order of their calls; a shared layer stands there for each call.
        nodes: Those calls.
    """

    inputs: Any
    outputs: Any
    layers: Sequence[Any]
    nodes: Sequence[Any]


class Dialect(ModelStructure):
    """One Keras: `TensorOperations`, `ModelStructure`, and here copying and making."""

    without_data_format: frozenset[str]

    @property
    def library(self) -> Any:
        """This Keras' root module, which is imported already wherever there is a model of it."""
        return sys.modules[self.root]

    def private(self, path: str) -> Any:
        """Return an object of this Keras that the table of private names lists.

        Raises:
            UnsupportedKeras: If the installed version has no such object.
        """
        return find(self.root, path)

    # Copying layers

    @abstractmethod
    def copy_variable(self, variable: Any, copier: LayerCopier) -> Any:
        """Return a new variable of the same value and properties."""

    @abstractmethod
    def special_handler(self, value: Any, copier: LayerCopier) -> Handler:
        """Return how to copy a container of this Keras' own; None for any other value."""

    def unconnected_tensor(self, tensor: Any) -> Any:
        """Return a new symbolic tensor of the same spec and name, produced by no layer yet."""
        new = copy.copy(tensor)
        # The copied history would lead from the new graph into the original one.
        for key in ("_keras_history", "_keras_mask"):
            new.__dict__.pop(key, None)
        return new

    @abstractmethod
    def clone_from_config(self, layer: Any) -> Any:
        """Return a layer rebuilt from the configuration, with the weights of the old one."""

    def copy_sharing_state(self, layer: Any) -> Any:
        """Return another object of the layer's class that shares every attribute but the nodes."""
        new = object.__new__(type(layer))
        for key, value in vars(layer).items():
            new.__dict__[key] = [] if key in NODES else value
        return new

    # Making layers and models

    def layer_class(self, name: str) -> Any:
        """Return a stock layer class by its name, such as `MaxPooling2D`."""
        return getattr(self.library.layers, name)

    def policy(self, layer: Any) -> Any:
        """Return the dtype policy of a layer; of a function in the graph, its output's dtype."""
        if not self.function_name(layer):
            return self._policy(layer)
        node = self.layer_nodes(layer)[0]
        outputs = self.flatten(self.node_outputs(node))
        return self.dtype(outputs[0])

    @abstractmethod
    def _policy(self, layer: Any) -> Any: ...

    def admit_other_sizes(self, layer: Any) -> None:
        """Let a layer be called on other lengths than those that it was built for."""
        return

    @abstractmethod
    def record_call(self, layer: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """Record a call of a layer that produced the given unconnected tensors; nothing is run."""

    @abstractmethod
    def assemble(self, old: Any, graph: NewGraph) -> Any:
        """Return a new model of the old one's kind, names and flags."""
