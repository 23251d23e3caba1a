"""A random model in words, printable, which either Keras can build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support import laws
from support.random_layers import Layer, Spec


@dataclass(frozen=True)
class Step:
    """One call: the layer that the key stands for throughout the model, on tensors by their
    numbers.
    """

    key: int
    layer: Layer | Recipe
    on: tuple[int, ...]
    call: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A model in words.

    Attributes:
        inputs: Its inputs, the first tensors.
        steps: Its calls, which number the tensors that they make.
        outputs: Numbers of the tensors that are outputs.
        form: What inputs and outputs are in, of `bare`, `list` and `dict`; or `sequential`.
        batch: The batch size that the inputs state.
        loss: Number of the tensor to which `tf_keras` adds a loss.
        frozen: Whether the model is not trainable.
        cut: Where the model is a part of the one around it, cut out between two tensors: their
            numbers there.
    """

    inputs: tuple[Spec, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    form: tuple[str, str] = ("bare", "bare")
    batch: int | None = None
    loss: int | None = None
    frozen: bool = False
    cut: tuple[int, int] | None = None

    def build(self, K: Any) -> Any:
        """Return the model, with all weights moved by up to a half."""
        model, rng = self.make(K, {}), np.random.default_rng(5)
        for layer in {id(layer): layer for _, layer in laws.parts(model)}.values():
            old = layer.get_weights()
            layer.set_weights(
                [
                    w + rng.uniform(-0.5, 0.5, w.shape).astype(w.dtype)
                    if w.dtype.kind == "f"
                    else w
                    for w in old
                ]
            )
        return model

    def make(self, K: Any, made: dict[int, Any], around: Sequence[Any] = ()) -> Any:
        """Return the model; `made` holds the layers by their keys, `around` the tensors of the
        model around it.
        """
        if self.cut is not None:
            return K.Model(*(around[i] for i in self.cut))
        tensors = [
            K.Input(
                tuple(n if isinstance(n, int) else None for n in spec.shape),
                batch_size=self.batch,
                dtype=spec.dtype,
                name=f"in_{i}" if self.form[0] == "dict" else None,
            )
            for i, spec in enumerate(self.inputs)
        ]
        import tensorflow as tf

        inputs, layers = list(tensors), []
        for step in self.steps:
            if step.key not in made:
                made[step.key] = step.layer.make(K, made, tensors)
            layers.append(made[step.key])
            if self.form[0] != "sequential":
                given = [tensors[i] for i in step.on]
                form = step.layer.form[0] if isinstance(step.layer, Recipe) else "bare"
                tensors += tf.nest.flatten(layers[-1](_packed(given, form, "in"), **step.call))
        if self.form[0] == "sequential":
            model = K.Sequential([*inputs, *layers])
        else:
            outputs = [tensors[i] for i in self.outputs]
            model = K.Model(
                _packed(inputs, self.form[0], "in"), _packed(outputs, self.form[1], "out")
            )
            if self.loss is not None and K.__name__ == "tf_keras":
                model.add_loss(tf.reduce_mean(tensors[self.loss]))
        if self.frozen:
            model.trainable = False
        return model

    def after(self, specs: tuple[Spec, ...]) -> tuple[Spec, ...] | None:
        """Return what comes out for these inputs; None where they do not fit."""
        if len(specs) != len(self.inputs) or not all(map(_takes, self.inputs, specs)):
            return None
        tensors = list(specs)
        for step in self.steps:
            made = step.layer.after(tuple(tensors[i] for i in step.on))
            if made is None:
                return None
            tensors += made
        return tuple(tensors[i] for i in self.outputs)

    def flat(self) -> Iterator[tuple[int, Step]]:
        """Yield (depth, step) of every call, those in nested models included."""
        for step in self.steps:
            yield 0, step
            if isinstance(step.layer, Recipe):
                yield from ((depth + 1, inner) for depth, inner in step.layer.flat())

    def samples(self, model: Any) -> list[Any]:
        """Return random inputs, several where lengths are unknown."""
        unknown = next(
            (n for spec in self.inputs for n in spec.shape if isinstance(n, tuple)), (1,)
        )
        return [laws.sample_for(model, batch=2, length=n) for n in unknown]


def _packed(tensors: list[Any], form: str, name: str) -> Any:
    if form == "dict":
        return {f"{name}_{i}": tensor for i, tensor in enumerate(tensors)}
    return tensors[0] if form != "list" and len(tensors) == 1 else tensors


def _takes(own: Spec, given: Spec) -> bool:
    """Tell whether an input takes a tensor."""
    fits = all(isinstance(n, tuple) or n == m for n, m in zip(own.shape, given.shape, strict=False))
    return len(own.shape) == len(given.shape) and own.dtype == given.dtype and fits


def takes_again(layer: Layer | Recipe, first: tuple[Spec, ...], specs: tuple[Spec, ...]) -> bool:
    """Tell whether a layer that was built for some tensors has the weights for others."""
    if isinstance(layer, Recipe) or len(specs) > 1:
        return isinstance(layer, Recipe)
    old, new = first[0].shape, specs[0].shape
    if len(old) != len(new) or first[0].dtype != specs[0].dtype:
        return False
    if layer.kind.startswith(("Conv", "Depthwise", "Separable", "Dense")):
        at = 0 if layer.arguments.get("data_format") == "channels_first" else -1
        return old[at] == new[at]
    weightless = (
        "Max",
        "Average",
        "ReLU",
        "LeakyReLU",
        "ELU",
        "Activation",
        "Dropout",
        "Gaussian",
        "Rescaling",
    )
    return old == new or layer.kind.startswith(weightless)
