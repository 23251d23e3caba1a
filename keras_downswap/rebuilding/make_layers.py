"""Makes the layers that a rule asked for, out of the settings and weights of the layers that they stand for."""

from __future__ import annotations

import warnings
from typing import Any

from keras_downswap.dialects.copying.deep_copy import LayerCopier
from keras_downswap.dialects.describe import activation_name
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.replacement import Make


def make(step: Make, name: str, reading: Reading, copier: LayerCopier) -> Any:
    """Make the layer that a rule asked for, wrapped as that beside it; weights follow with `fill` once it is built."""
    dialect = reading.dialect
    beside = reading.layers[step.beside]
    inner = dialect.unwrapped(beside)
    if inner is beside:
        return _bare(step, name, inner, reading, copier)
    own = name if step.name != beside.name else inner.name
    if step.like is not None:
        own = dialect.unwrapped(reading.layers[step.like]).name
    flags = {"dtype": dialect.policy(beside), "trainable": beside.trainable and not step.frozen}
    return type(beside)(_bare(step, str(own), inner, reading, copier), name=name, **flags)


def _bare(step: Make, name: str, beside: Any, reading: Reading, copier: LayerCopier) -> Any:
    dialect = reading.dialect
    kind = f"{step.kind}{step.rank}D" if step.rank else step.kind
    settings: dict[str, Any] = {"name": name, "dtype": dialect.policy(beside)}
    if step.frozen:
        settings["trainable"] = False
    if step.like is not None:
        settings |= _settings_of(dialect.unwrapped(reading.layers[step.like]), copier)
    settings |= step.settings
    own = getattr(beside, "activation", None)
    if own is not None and settings.get("activation") == activation_name(own):
        settings["activation"] = copier.copy(own)
    if kind in dialect.without_data_format:
        settings.pop("data_format", None)
    return dialect.layer_class(kind)(**settings)


def _settings_of(layer: Any, copier: LayerCopier) -> dict[str, Any]:
    """Return the constructor arguments of a layer as live copies, so that closures and objects survive."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of what serialization would lose: nothing is serialized here
        config = {
            key: value for key, value in layer.get_config().items() if key not in ("dtype", "name")
        }
    for key in config:
        if key.endswith(("_regularizer", "_constraint")) or key == "activation":
            config[key] = copier.copy(getattr(layer, key))
        elif key.endswith("_initializer"):
            config[key] = "zeros"
    return config


def kernels(layer: Any) -> dict[str, Any]:
    """Return the kernels of a convolution by their names; the first is the one that slides."""
    names = [
        name
        for name in ("depthwise_kernel", "pointwise_kernel")
        if getattr(layer, name, None) is not None
    ]
    return {name: getattr(layer, name) for name in names or ["kernel"]}


def fill(made: Any, step: Make, reading: Reading, copier: LayerCopier) -> None:
    """Move the weights of the layer that a new one stands for, and its initializers; or set its fixed kernel."""
    dialect = reading.dialect
    if step.fixed is not None:
        (kernel,) = kernels(dialect.unwrapped(made)).values()
        dialect.assign(kernel, step.fixed(tuple(kernel.shape)))
    if step.like is None:
        return
    old, new = dialect.unwrapped(reading.layers[step.like]), dialect.unwrapped(made)
    for key in [key for key in vars(old) if key.endswith("_initializer")]:
        setattr(new, key, copier.copy(getattr(old, key)))
    for (key, before), after in zip(kernels(old).items(), kernels(new).values(), strict=True):
        verbatim = step.kernel is None or key == "pointwise_kernel"
        dialect.assign(
            after, before if verbatim or step.kernel is None else step.kernel(dialect.array(before))
        )
    if old.use_bias:
        dialect.assign(
            new.bias, old.bias if step.bias is None else step.bias(dialect.array(old.bias))
        )
