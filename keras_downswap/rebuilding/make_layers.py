"""Makes the layers that a rule asked for, from the settings and weights of those they replace."""

from __future__ import annotations

import warnings
from typing import Any

from keras_downswap.dialects.copying.deep_copy import LayerCopier
from keras_downswap.dialects.describe import activation_name
from keras_downswap.dialects.layer_arguments import class_name_of, constructor_arguments
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.replacement import Make, MakeConv

NOT_TAKEN = frozenset({"dtype", "name"})
"""Settings of a layer that one made like it does not take."""
POINTWISE_KERNEL = "pointwise_kernel"
"""The kernel of a separable convolution that no swap changes."""


def make(step: Make, name: str, reading: Reading, copier: LayerCopier) -> Any:
    """Make the layer that a rule asked for, wrapped as the one beside it.

    Its weights follow with `fill` once it is built.
    """
    dialect = reading.dialect
    beside = reading.layers[step.beside]
    inner = dialect.unwrapped(beside)
    if inner is beside:
        return _bare(step, name, inner, reading, copier)
    inner_name = name if step.name != beside.name else inner.name
    frozen = False
    if isinstance(step, MakeConv):
        frozen = step.frozen
        if step.like is not None:
            inner_name = dialect.unwrapped(reading.layers[step.like]).name
    made = _bare(step, str(inner_name), inner, reading, copier)
    trainable = beside.trainable and not frozen
    return type(beside)(made, name=name, dtype=dialect.policy(beside), trainable=trainable)


def _bare(step: Make, name: str, beside: Any, reading: Reading, copier: LayerCopier) -> Any:
    """Make a layer without a wrapper."""
    dialect = reading.dialect
    class_name = class_name_of(step)
    arguments: dict[str, Any] = {"name": name, "dtype": dialect.policy(beside)}
    if isinstance(step, MakeConv):
        if step.frozen:
            arguments["trainable"] = False
        if step.like is not None:
            like = dialect.unwrapped(reading.layers[step.like])
            arguments |= _live_arguments(like, copier)
    arguments |= constructor_arguments(step)
    activation = getattr(beside, "activation", None)
    if activation is not None and arguments.get("activation") == activation_name(activation):
        # The function itself: a name would not find one that the user wrote.
        arguments["activation"] = copier.copy(activation)
    if class_name in dialect.without_data_format:
        arguments.pop("data_format", None)
    return dialect.layer_class(class_name)(**arguments)


def _live_arguments(layer: Any, copier: LayerCopier) -> dict[str, Any]:
    """Return the constructor arguments of a layer as live copies: closures and objects survive."""
    with warnings.catch_warnings():
        # Keras warns of what serialization would lose: nothing is serialized here.
        warnings.simplefilter("ignore")
        config = layer.get_config()
    arguments = {}
    for key, value in config.items():
        if key in NOT_TAKEN:
            continue
        if key.endswith(("_regularizer", "_constraint")) or key == "activation":
            arguments[key] = copier.copy(getattr(layer, key))
        elif key.endswith("_initializer"):
            # The weights are set later; drawing them would cost time and move seeds.
            arguments[key] = "zeros"
        else:
            arguments[key] = value
    return arguments


def kernels(layer: Any) -> dict[str, Any]:
    """Return the kernels of a convolution by their names; the first is the one that slides."""
    found = {}
    for name in ("depthwise_kernel", POINTWISE_KERNEL):
        kernel = getattr(layer, name, None)
        if kernel is not None:
            found[name] = kernel
    return found or {"kernel": layer.kernel}


def fill(made: Any, step: Make, reading: Reading, copier: LayerCopier) -> None:
    """Move the weights of the layer that a new one succeeds, or set its fixed kernel."""
    if not isinstance(step, MakeConv):
        return
    dialect = reading.dialect
    new = dialect.unwrapped(made)
    if step.fixed is not None:
        (kernel,) = kernels(new).values()
        dialect.assign(kernel, step.fixed(tuple(kernel.shape)))
    if step.like is None:
        return
    old = dialect.unwrapped(reading.layers[step.like])
    for key, value in vars(old).items():
        if key.endswith("_initializer"):
            setattr(new, key, copier.copy(value))
    for (key, before), after in zip(kernels(old).items(), kernels(new).values(), strict=True):
        if step.kernel is None or key == POINTWISE_KERNEL:
            dialect.assign(after, before)
        else:
            dialect.assign(after, step.kernel(dialect.array(before)))
    if old.use_bias:
        bias = old.bias
        if step.bias is not None:
            bias = step.bias(dialect.array(bias))
        dialect.assign(new.bias, bias)
