"""What is read of a model: its layers, nodes and symbolic tensors, and what a layer computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_downswap.dialects.describe import Description, describe, has_channels_last
from keras_downswap.dialects.tensors import TensorOperations
from keras_downswap.ir.facts import ConvFacts, LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.kernel_math import binomial

BLUR_TOLERANCE = 1e-3
"""How far a kernel may be from a binomial one, which low precision rounds, and still blur."""


def producers_first(nodes_by_depth: Mapping[int, list[Any]]) -> list[Any]:
    """Return the nodes of a graph in order, from their lists by distance to the outputs."""
    nodes: list[Any] = []
    for depth in sorted(nodes_by_depth, reverse=True):
        nodes += nodes_by_depth[depth]
    return nodes


class ModelStructure(TensorOperations):
    """Models of one Keras, as they are read."""

    root: str

    # Telling things apart

    @abstractmethod
    def is_layer(self, value: Any) -> bool:
        """Tell whether a value is a layer (or, in Keras 3, another operation)."""

    @abstractmethod
    def is_tensor(self, value: Any) -> bool:
        """Tell whether a value is a symbolic tensor."""

    @abstractmethod
    def is_constant(self, value: Any) -> bool:
        """Tell whether a value is immutable, so that a copy may share it."""

    @abstractmethod
    def has_graph(self, layer: Any) -> bool:
        """Tell whether a layer is a model that runs a graph which can be walked.

        One with a `call` of its own is not: its graph is not what it computes.
        """

    @abstractmethod
    def is_sequential(self, model: Any) -> bool:
        """Tell whether a model is Sequential, and so accepts other sizes than it states."""

    @abstractmethod
    def is_compiled(self, model: Any) -> bool:
        """Tell whether a model is compiled."""

    def stock_class(self, layer: Any) -> str:
        """Return the name of the layer's class if it is this Keras' own, else an empty string."""
        return type(layer).__name__ if self.is_stock(type(layer)) else ""

    def is_batch_norm(self, layer: Any) -> bool:
        """Tell whether a layer is a stock BatchNormalization."""
        return self.stock_class(layer) == LayerKind.BATCH_NORMALIZATION.value

    def is_stock(self, cls: type) -> bool:
        """Tell whether a class is this Keras' own."""
        return cls.__module__.split(".")[0] == self.root

    @abstractmethod
    def has_functional_constructor(self, cls: type) -> bool:
        """Tell whether a model class is constructed from inputs and outputs.

        A Keras saves and loads a model of such a class as a graph; any other class would build a
        model of its own when it is loaded.
        """

    # Graphs

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
        """Return the structure of tensors that a node produced."""

    @abstractmethod
    def layer_nodes(self, layer: Any) -> list[Any]:
        """Return every node that calls a layer, of whatever model, in the order of the calls."""

    @abstractmethod
    def node_count(self, layer: Any) -> tuple[int, int]:
        """Return how many inbound and outbound nodes a layer has."""

    @abstractmethod
    def producing_node(self, tensor: Any) -> Any:
        """Return the node that produced a symbolic tensor."""

    @abstractmethod
    def boundary(self, model: Any) -> tuple[Any, Any]:
        """Return the nested structures of a model's inputs and of its outputs."""

    @abstractmethod
    def boundary_names(self, model: Any) -> tuple[Any, ...]:
        """Return names and structure of inputs and outputs.

        Where there are several outputs, the names of the layers that produce them are among these.
        """

    @abstractmethod
    def output_layers(self, model: Any) -> list[str]:
        """Return the names of the layers that produce the outputs; a saved file names them so."""

    @abstractmethod
    def flatten(self, structure: Any) -> list[Any]:
        """Return the leaves of a nested structure."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        """Apply a function to the leaves of a nested structure."""

    def shape(self, tensor: Any) -> tuple[int | None, ...]:
        """Return the shape of a symbolic tensor; empty where even the rank is unknown."""
        shape = tensor.shape
        return tuple(shape) if getattr(shape, "rank", 0) is not None else ()

    def dtype(self, tensor: Any) -> str:
        """Return the dtype name of a symbolic tensor."""
        return str(getattr(tensor.dtype, "name", tensor.dtype))

    # Layers

    def unwrapped(self, layer: Any) -> Any:
        """Return the layer that a stock TimeDistributed wraps; any other layer itself."""
        return layer.layer if self.stock_class(layer) == "TimeDistributed" else layer

    @abstractmethod
    def sublayers(self, layer: Any) -> Sequence[Any]:
        """Return all layers inside an opaque layer that the Keras tracks."""

    @abstractmethod
    def weights(self, layer: Any) -> list[Any]:
        """Return the variables of a layer."""

    @abstractmethod
    def function_name(self, layer: Any) -> str:
        """Return the name of the function that a node calls; empty where it calls a layer."""

    @abstractmethod
    def function_strides(self, node: Any) -> Any:
        """Return the strides with which a node calls a convolution function, or None."""

    # What a layer computes

    @abstractmethod
    def resizing_layers(self, rank: int, channels_last: bool) -> frozenset[LayerKind]:
        """Return which of `ZeroPadding` and `Cropping` exist for a rank and data format."""

    @property
    def misplaces_channels_first_bias(self) -> bool:
        """Whether a bias of shape (1, channels, 1, 1) is added along the last axis if that fits."""
        return False

    def describe(self, layer: Any, rank: int, class_name: str | None = None) -> Description:
        """Describe a layer called on one tensor.

        Args:
            layer: The layer; of a TimeDistributed layer, what it wraps is described.
            rank: Rank of the tensor that the layer is called on, batch and channels counted.
            class_name: The stock class as which it is described; its own if None.
        """
        layer = self.unwrapped(layer)
        found = self._describe(layer, rank, class_name)
        if not isinstance(found.facts, ConvFacts):
            return found
        channels_first = not found.channels_last
        misplaces = channels_first and layer.use_bias and self.misplaces_channels_first_bias
        facts = replace(
            found.facts,
            misplaces_channels_first_bias=misplaces,
            is_binomial_blur=self._is_binomial_blur(layer, found.facts, found.windows),
        )
        return replace(found, facts=facts)

    def _describe(self, layer: Any, rank: int, class_name: str | None) -> Description:
        channels_last = has_channels_last(layer)
        resizing = self.resizing_layers(rank - 2, channels_last)
        return describe(layer, class_name or self.stock_class(layer), rank, resizing)

    def _is_binomial_blur(self, layer: Any, facts: ConvFacts, windows: Sequence[Window]) -> bool:
        """Tell whether a layer convolves each channel with a binomial kernel of 2s - 1 taps."""
        strided = any(window.stride > 1 for window in windows)
        sized = all(window.size == 2 * window.stride - 1 for window in windows)
        if not (strided and sized):
            return False
        if layer.use_bias or not layer.built or facts.kind is LayerKind.SEPARABLE_CONV:
            return False
        depthwise = getattr(layer, "depthwise_kernel", None)
        kernel = layer.kernel if depthwise is None else depthwise
        per_channel = kernel.shape[-2] if facts.kind is LayerKind.CONV else kernel.shape[-1]
        if per_channel != 1:
            return False
        blur = binomial(tuple(kernel.shape))
        return bool(np.allclose(self.array(kernel), blur, rtol=0, atol=BLUR_TOLERANCE))
