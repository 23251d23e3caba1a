"""How each Keras stores a model: its own names, its loader, its saver. Frameworks are imported only when called."""

import contextlib
import functools
import importlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keras_downswap.errors import FileRefused

Keras = Literal["tf_keras", "keras"]
Format = Literal["keras", "h5", "savedmodel"]

_BASES = (
    "layers.Layer", "initializers.Initializer", "regularizers.Regularizer", "constraints.Constraint", "losses.Loss",
    "metrics.Metric", "optimizers.Optimizer", "optimizers.legacy.Optimizer", "mixed_precision.Policy", "Operation",
    "optimizers.schedules.LearningRateSchedule", "dtype_policies.DTypePolicy", "dtype_policies.DTypePolicyMap",
    "quantizers.Quantizer", "random.SeedGenerator",
)  # fmt: skip
_OUTSIDE = (
    ".src.utils.",
    ".src.export.",
    ".src.feature_column.",
    ".src.testing",
    ".feature_space",
    ".distillation.",
)
_OLD_CLASSES = ("BatchNormalizationV1", "BatchNormalizationV2", "InputSpec")
_ACTIVATION_LAYERS = {"ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"}
_OLD_WORDS = {
    "activation": {"leaky_relu", "log_softmax", "relu6", "silu"} | _ACTIVATION_LAYERS,
    "initializer": {"zero", "one", "normal", "uniform"},
    "regularizer": {"l1_l2"},
    "constraint": {"maxnorm", "nonneg", "unitnorm"},
}


@dataclass(frozen=True)
class Origin:
    """What wrote a file, told from its bytes.

    Attributes:
        path: The file or folder.
        keras: Which Keras wrote it, and so must load it.
        format: "keras" (a zip archive), "h5" or "savedmodel" (a folder).
        version: The version of Keras that wrote it, or "unknown".
        backend: The backend it noted, such as "tensorflow" or "theano"; None where it noted none.
    """

    path: Path
    keras: Keras
    format: Format
    version: str
    backend: str | None


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


def _reach(root: Any, dotted: str) -> Any:
    """Follow a dotted path of attributes; None where it breaks off."""
    for part in filter(None, dotted.split(".")):
        root = getattr(root, part, None)
    return root


def _family(base: type) -> set[type]:
    nearest: list[type] = type.__subclasses__(base)
    return {base}.union(*map(_family, nearest))


def _own_classes(keras: Keras) -> set[type]:
    """Every class of the library's own that a configuration may name; none that loading a file has made."""
    library = importlib.import_module(keras)
    bases = [base for base in (_reach(library, name) for name in _BASES) if isinstance(base, type)]
    kin: set[type] = set().union(*map(_family, bases))
    inside = {
        c
        for c in kin
        if c.__module__.startswith(keras + ".") and not any(s in c.__module__ for s in _OUTSIDE)
    }
    return {c for c in inside if vars(sys.modules[c.__module__]).get(c.__name__) is c}


@functools.lru_cache
def own_names(keras: Keras) -> OwnNames:
    """Compute one Keras' own names from the installed library; nothing that a user registered is among them."""
    library, classes = importlib.import_module(keras), _own_classes(keras)
    pairs = {
        (module, c.__name__)
        for c in classes
        for module in (c.__module__, c.__module__.removeprefix("tf_"))
    }
    for note in ("_keras_api_names", "_keras_api_names_v1", "_api_export_path"):
        noted = [c.__dict__.get(note, ()) for c in classes]
        exported = {
            name for names in noted for name in ([names] if isinstance(names, str) else names)
        }
        pairs |= {(name.rpartition(".")[0], name.rpartition(".")[2]) for name in exported}
    words = {kind: _public(getattr(library, kind + "s")) | old for kind, old in _OLD_WORDS.items()}
    if keras == "tf_keras":
        pairs |= {
            ("tensorflow.python.ops.init_ops_v2", name)
            for name in words["initializer"]
            if name[0].isupper()
        }
    activations = words["activation"] - _ACTIVATION_LAYERS
    modules = (
        "builtins",
        "keras.activations",
        f"{keras}.src.activations",
        "keras.src.activations.activations",
    )
    custom = "Custom>CustomScaleLayer" if keras == "tf_keras" else "CustomScaleLayer"
    return OwnNames(
        pairs=frozenset(pairs),
        classes=frozenset({name for _, name in pairs} | {custom, *_OLD_CLASSES}),
        functions=frozenset((module, name) for module in modules for name in activations),
        words={kind: frozenset(found) for kind, found in words.items()},
    )


def _public(space: Any) -> set[str]:
    return {name for name in dir(space) if name[0] != "_"} - {"get", "serialize", "deserialize"}


def keras_of(model: Any) -> Keras:
    """Tell which Keras a model is of, from the modules of its classes.

    Raises:
        FileRefused: The object is a model of neither.
    """
    for cls in type(model).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in ("tf_keras", "keras") and cls.__name__ == "Model":
            return "tf_keras" if package == "tf_keras" else "keras"
    raise FileRefused(
        f"Expected a model of tf_keras or keras, received a {type(model).__name__}: it cannot be saved."
    )


def load_model(keras: Keras, path: Path, saved_as: Format, *, trust: bool) -> Any:
    """Load a file, not compiled, with the Keras that wrote it.

    Args:
        keras: Which Keras wrote it.
        path: The file, named with the ending of its format, or the SavedModel's folder.
        saved_as: Its format.
        trust: Let the file's own code run.
    """
    own = {c.__name__: c for c in _own_classes(keras) if ".applications." in c.__module__}
    if saved_as == "savedmodel" and not trust:
        return _load_without_graph(path, own)
    models = importlib.import_module(keras).models
    return models.load_model(str(path), custom_objects=own, compile=False, safe_mode=not trust)


def _load_without_graph(folder: Path, own: dict[str, type]) -> Any:
    """Build a SavedModel from its configuration and its variables; none of its stored functions is ever read."""
    models = importlib.import_module("tf_keras").models
    root = json.loads(saved_model_root(folder) or "{}", object_hook=_untagged)
    model = models.model_from_config(root["model_config"], custom_objects=own)
    if not model.built:
        model.build(root["build_input_shape"])
    status = model.load_weights(str(folder / "variables" / "variables"))
    status.assert_existing_objects_matched()
    status.expect_partial()
    return model


def _untagged(entry: dict[str, Any]) -> Any:
    tag = entry.get("class_name")
    return (
        tuple(entry["items"])
        if tag in ("__tuple__", "TensorShape") and entry.get("items") is not None
        else entry
    )


def save_model(model: Any, path: Path, saved_as: Format) -> None:
    """Write a model with the Keras that it is of, in a format that its path's ending says.

    Raises:
        Exception: Whatever the saver raises.
    """
    with _without_advice():
        if saved_as == "savedmodel":
            model.save(str(path), save_format="tf")
        else:
            model.save(str(path))


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the advice against HDF5, which the user chose, the temporary folder's name, and talk of metrics."""

    def wanted(record: logging.LogRecord) -> bool:
        noise = (
            "You are saving your model as an HDF5",
            "Assets written to",
            "Compiled the loaded model, but",
        )
        return not record.getMessage().startswith(noise)

    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are saving your model as an HDF5")
        for logger in loggers:
            logger.addFilter(wanted)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(wanted)


def saved_model_root(folder: Path) -> str | None:
    """Read what Keras noted of the outermost model of a SavedModel, without handing any byte to TensorFlow.

    Since TensorFlow 2.5 the note lies in keras_metadata.pb, before that inside saved_model.pb.

    Returns:
        The note, as JSON text, or None where Keras did not write the folder.

    Raises:
        ValueError: The file is not a protocol buffer, or is cut short.
    """
    apart, found = folder / "keras_metadata.pb", b""
    if apart.is_file():
        roots = (node for node in _within(apart.read_bytes(), 1) if not any(_within(node, 2)))
        found = next(_within(next(roots, b""), 5), b"")
    else:
        for graph in _within((folder / "saved_model.pb").read_bytes(), 2, 7):
            for thing in _within(next(_within(graph, 1), b""), 4):
                if bytes(next(_within(thing, 1), b"")).startswith(b"_tf_keras_"):
                    found = next(_within(thing, 3), b"")
    return bytes(found).decode("utf-8") or None


def _within(message: Any, number: int, *inner: int) -> Iterator[Any]:
    """Yield the payloads at a path of field numbers of a protocol buffer message, bytes-like or integers."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        kind = key & 7
        if kind not in (0, 1, 2, 5):
            raise ValueError(f"wire type {kind} is not used in this file format")
        value, at = _varint(view, at) if kind in (0, 2) else (8 if kind == 1 else 4, at)
        end = at if kind == 0 else at + value
        if end > len(view):
            raise ValueError("the protocol buffer is cut short")
        if key >> 3 == number:
            payload = value if kind == 0 else view[at:end]
            yield from _within(payload, *inner) if inner else (payload,)
        at = end


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(view[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("the protocol buffer is cut short")
