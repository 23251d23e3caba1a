"""What a trap is: how its model is built in either Keras, and which rules must take it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Build = Callable[[Any], Any]
SQUARE = (16, 16, 3)
FIRST = {"data_format": "channels_first"}
COPIED, COMPOSED = "pool_into_stride", "average_pool_into_kernel"
AVERAGED = "average_pool_into_depthwise"


@dataclass(frozen=True)
class Trap:
    """One model of the zoo.

    Attributes:
        build: Makes the model, handed either Keras.
        rules: The rules that take its sites under `to="strided_conv"`; None where that depends on
            the backend.
        only: The one Keras that has the feature, where the other has not.
        backends: The Keras 3 backends on which the model can be built.
        loses: Whether the swap must warn that something could not be carried over.
    """

    build: Build
    rules: tuple[str, ...] | None = ()
    only: str | None = None
    backends: tuple[str, ...] = ("tensorflow", "jax", "torch")
    loses: bool = False

    def __call__(self, K: Any) -> Any:
        """Return the model, its weights moved by up to a half."""
        return randomised(self.build)(K)


def ops(K: Any) -> Any:
    """Return the functions that either Keras takes into its graph."""
    return K.ops if hasattr(K, "ops") else importlib.import_module("tensorflow")


def nn(K: Any) -> Any:
    """Return those of them that TensorFlow keeps in a module of their own: relu, softmax, pools."""
    return K.ops if hasattr(K, "ops") else importlib.import_module("tensorflow").nn


TRAPS: dict[str, Trap] = {}


def trap(
    *rules: str, **facts: Any
) -> Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]:
    """Register a function of (Keras, its layers) that returns a model, or the inputs and outputs of
    one.
    """

    def register(graph: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def build(K: Any) -> Any:
            made = graph(K, K.layers)
            return K.Model(*made) if isinstance(made, tuple) else made

        if graph.__name__ in TRAPS:
            raise ValueError(f"two traps are named {graph.__name__}")
        TRAPS[graph.__name__] = Trap(build, rules, **facts)
        return graph

    return register


def randomised(build: Build) -> Build:
    """Move weights by up to a half: zeros and ones (biases, statistics, scales) too; variances stay
    positive.
    """

    def wrapped(K: Any) -> Any:
        model, rng = build(K), np.random.default_rng(5)
        for layer in model.layers:
            old = (
                layer.get_weights()
                if type(layer).__name__ not in ("Normalization", "StringLookup")
                else []
            )
            new = [
                w + rng.uniform(-0.5, 0.5, w.shape).astype(w.dtype) if w.dtype.kind == "f" else w
                for w in old
            ]
            layer.set_weights(new or layer.get_weights())
        return model

    return wrapped


def pair(
    L: Any,
    x: Any,
    pool: str = "Max",
    filters: int = 4,
    names: tuple[str | None, str | None] = (None, None),
) -> Any:
    """Return a `same` convolution of a map and a pool of two after it."""
    conv = L.Conv2D(filters, 3, padding="same", name=names[0])
    return getattr(L, f"{pool}Pooling2D")(2, name=names[1])(conv(x))
