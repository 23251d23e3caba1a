"""What each Keras calls its own classes and functions in the configuration of a saved model."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_downswap.dialects.library import Keras, library

_BASES = (
    "layers.Layer", "initializers.Initializer", "regularizers.Regularizer",
    "constraints.Constraint", "losses.Loss", "metrics.Metric", "optimizers.Optimizer",
    "optimizers.legacy.Optimizer", "mixed_precision.Policy", "Operation",
    "optimizers.schedules.LearningRateSchedule", "dtype_policies.DTypePolicy",
    "dtype_policies.DTypePolicyMap", "quantizers.Quantizer", "random.SeedGenerator",
)  # fmt: skip
"""Classes whose subclasses a configuration may name."""
_OUTSIDE = (
    ".src.utils.", ".src.export.", ".src.feature_column.", ".src.testing", ".feature_space",
    ".distillation.",
)  # fmt: skip
"""Parts of the library whose classes reach outside the model (files, exports), or are for tests."""
_EXPORT_MARKS = ("_keras_api_names", "_keras_api_names_v1", "_api_export_path")
"""Private attributes in which the two Kerases keep the public names of a class."""
_OLD_CLASSES = ("BatchNormalizationV1", "BatchNormalizationV2", "InputSpec")
_ACTIVATION_LAYERS = {"ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"}
_OLD_WORDS = {
    "activation": {"leaky_relu", "log_softmax", "relu6", "silu"} | _ACTIVATION_LAYERS,
    "initializer": {"zero", "one", "normal", "uniform"},
    "regularizer": {"l1_l2"},
    "constraint": {"maxnorm", "nonneg", "unitnorm"},
}
"""Words that older versions wrote, and that the installed one still reads."""
_NOT_WORDS = {"get", "serialize", "deserialize"}


@dataclass(frozen=True)
class OwnNames:
    """What one Keras calls its own classes and functions in a saved configuration.

    Attributes:
        pairs: (module, class name) of every class, under its public and its private module.
        classes: Class names alone, as the older formats write them.
        functions: (module, function name) of the activation functions.
        words: For "activation", "initializer", "regularizer" and "constraint", the strings that
            name one.
    """

    pairs: frozenset[tuple[str, str]]
    classes: frozenset[str]
    functions: frozenset[tuple[str, str]]
    words: Mapping[str, frozenset[str]]


@functools.lru_cache
def own_names(keras: Keras) -> OwnNames:
    """Compute the names of one Keras from the library, without those that a user registered."""
    words = _words(keras)
    pairs = _named_classes(_own_classes(keras))
    if keras == "tf_keras":
        # Old files name the initializers by the module of TensorFlow that Keras took them from.
        for name in words["initializer"]:
            if name[0].isupper():
                pairs.add(("tensorflow.python.ops.init_ops_v2", name))
    custom = "Custom>CustomScaleLayer" if keras == "tf_keras" else "CustomScaleLayer"
    classes = {name for _, name in pairs}
    classes |= {custom, *_OLD_CLASSES}
    return OwnNames(
        pairs=frozenset(pairs),
        classes=frozenset(classes),
        functions=frozenset(_activation_functions(keras, words["activation"])),
        words=words,
    )


def application_classes(keras: Keras) -> dict[str, type]:
    """Return the classes of `keras.applications` by name, which no loader finds by itself."""
    own = _own_classes(keras)
    return {cls.__name__: cls for cls in own if ".applications." in cls.__module__}


def _own_classes(keras: Keras) -> set[type]:
    """Return every class that a configuration may name; none that loading a file has made."""
    package = library(keras)
    found: set[type] = set()
    for path in _BASES:
        base = _attribute(package, path)
        if isinstance(base, type):
            found |= _with_subclasses(base)
    return {cls for cls in found if _is_of_library(cls, keras)}


def _is_of_library(cls: type, keras: Keras) -> bool:
    module = cls.__module__
    if not module.startswith(keras + "."):
        return False
    if any(part in module for part in _OUTSIDE):
        return False
    # A class revived from a SavedModel bears the module of the class that it stands for. It is
    # told apart because the module itself holds another class, or none, under that name.
    return vars(sys.modules[module]).get(cls.__name__) is cls


def _with_subclasses(base: type) -> set[type]:
    found = {base}
    nearest: list[type] = type.__subclasses__(base)
    for cls in nearest:
        found |= _with_subclasses(cls)
    return found


def _attribute(root: Any, dotted: str) -> Any:
    """Follow a dotted path of attributes; None where it breaks off."""
    for name in dotted.split("."):
        root = getattr(root, name, None)
    return root


def _named_classes(classes: set[type]) -> set[tuple[str, str]]:
    """Return (module, name) of classes under each of their modules, private and public."""
    pairs: set[tuple[str, str]] = set()
    for cls in classes:
        # tf_keras calls itself `keras` in the files that it writes.
        pairs.add((cls.__module__, cls.__name__))
        pairs.add((cls.__module__.removeprefix("tf_"), cls.__name__))
        for exported in _exported_names(cls):
            module, _, name = exported.rpartition(".")
            pairs.add((module, name))
    return pairs


def _exported_names(cls: type) -> set[str]:
    found: set[str] = set()
    for mark in _EXPORT_MARKS:
        # From the class's own __dict__: a subclass would inherit the public name of its base.
        names = cls.__dict__.get(mark, ())
        found |= {names} if isinstance(names, str) else set(names)
    return found


def _words(keras: Keras) -> dict[str, frozenset[str]]:
    """Return, for each kind of setting, the strings that name one of the library's own."""
    package = library(keras)
    found: dict[str, frozenset[str]] = {}
    for kind, old in _OLD_WORDS.items():
        module = getattr(package, kind + "s")
        public = {name for name in dir(module) if name[0] != "_"}
        found[kind] = frozenset((public - _NOT_WORDS) | old)
    return found


def _activation_functions(keras: Keras, words: frozenset[str]) -> set[tuple[str, str]]:
    modules = (
        "builtins",
        "keras.activations",
        f"{keras}.src.activations",
        "keras.src.activations.activations",
    )
    names = words - _ACTIVATION_LAYERS
    return {(module, name) for module in modules for name in names}
