"""The SavedModel folder of TensorFlow: a graph, its variables, and Keras' note of the layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_downswap.dialects.config_names import LOOKUP_LAYERS
from keras_downswap.dialects.library import Keras, library
from keras_downswap.dialects.own_names import application_classes
from keras_downswap.errors import FileRefused
from keras_downswap.files.configuration import read_json
from keras_downswap.files.format import Format, Origin
from keras_downswap.files.protobuf import fields, messages
from keras_downswap.files.refusals import unsafe

_GRAPH_FILE = "saved_model.pb"
_METADATA_FILE = "keras_metadata.pb"
_IDENTIFIER = b"_tf_keras_"
"""With this begin the identifiers of the objects that Keras noted."""


class SavedModel(Format):
    """A folder with layers inside, which only Keras 2 writes."""

    name = "savedmodel"
    words = "a SavedModel folder"
    endings = ("",)
    writers = ("tf_keras",)

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell whether a path is a folder."""
        return path.is_dir()

    def identify(self, path: Path) -> Origin:
        """Return what wrote a folder, as Keras' note in it says."""
        if not (path / _GRAPH_FILE).is_file():
            hint = ""
            if (path / "config.json").is_file():
                hint = "; it looks like an unpacked .keras archive: zip it again"
            raise FileRefused(
                f"{path}: expected a SavedModel folder, found no {_GRAPH_FILE} in it{hint}."
            )
        note = _root_note(path)
        if note is None:
            raise FileRefused(
                f"{path}: a SavedModel that Keras did not write, or an export of Keras 3: "
                "it has no layers."
            )
        root = read_json(note, path)
        version = str(root.get("keras_version", "unknown"))
        # Whatever version it notes: Keras 3 writes no such folders.
        return Origin(path, "tf_keras", self.name, version, root.get("backend"))

    def stored_config(self, path: Path) -> dict[str, Any]:
        """Return the configuration of the outermost model, from Keras' note of it."""
        root = read_json(_root_note(path), path)
        config: dict[str, Any] = root.get("model_config") or {}
        if not isinstance(config.get("config"), dict):
            raise unsafe(
                path,
                "its model is a class of its author's own, which only the stored graph can run",
            )
        return config

    def stored_elements(self, path: Path) -> int:
        """Return how many bytes the variables take; they are read as numbers and nothing else."""
        return sum(part.stat().st_size for part in (path / "variables").glob("*"))

    def unsafe_entry(self, entry: dict[str, Any]) -> str | None:
        """Refuse lookup layers: their tables are assets of the graph, which is never read."""
        if entry.get("class_name") in LOOKUP_LAYERS:
            return "has a lookup table, which only the SavedModel's own graph can fill"
        return None

    def load(self, keras: Keras, path: Path, *, trust: bool) -> Any:
        """Load a model; without trust from its configuration and its variables alone."""
        if trust:
            return super().load(keras, path, trust=True)
        return _load_without_graph(keras, path)

    def save(self, model: Any, path: Path) -> None:
        """Write a folder; the path's missing ending does not say so to every version."""
        model.save(str(path), save_format="tf")

    def may_replace(self, path: Path) -> bool:
        """Tell whether a path is a SavedModel folder: no other folder is ever replaced."""
        return path.is_dir() and (path / _GRAPH_FILE).is_file()


def _load_without_graph(keras: Keras, folder: Path) -> Any:
    """Build a model from its configuration and variables; none of its stored functions is read."""
    models = library(keras).models
    root = json.loads(_root_note(folder) or "{}", object_hook=_as_tuple)
    model = models.model_from_config(
        root["model_config"], custom_objects=application_classes(keras)
    )
    if not model.built:
        model.build(root["build_input_shape"])
    status = model.load_weights(str(folder / "variables" / "variables"))
    # Every variable of the model must get its value. The file may hold more: the optimizer's.
    status.assert_existing_objects_matched()
    status.expect_partial()
    return model


def _as_tuple(entry: dict[str, Any]) -> Any:
    """Return a tuple for the JSON object that stands for one; any other object as it is."""
    is_tagged = entry.get("class_name") in ("__tuple__", "TensorShape")
    if is_tagged and entry.get("items") is not None:
        return tuple(entry["items"])
    return entry


def _root_note(folder: Path) -> str | None:
    """Return what Keras noted of the outermost model, without handing any byte to TensorFlow.

    Since TensorFlow 2.5 the note is in a file of its own, before that inside the graph's.

    Returns:
        The note, as JSON text, or None where Keras did not write the folder.

    Raises:
        ValueError: The file is not a protocol buffer, or is cut short.
    """
    metadata = folder / _METADATA_FILE
    if metadata.is_file():
        note = _note_in_metadata(metadata.read_bytes())
    else:
        note = _note_in_graph((folder / _GRAPH_FILE).read_bytes())
    return note.decode("utf-8") or None


# The field numbers are those of saved_metadata.proto (Keras), and of saved_model.proto,
# meta_graph.proto and saved_object_graph.proto (TensorFlow).


def _note_in_metadata(content: bytes) -> bytes:
    for node in messages(content, 1):
        # Field 2 is the number of the object. A number of 0, the root's, is not written.
        if not any(fields(node, 2)):
            return _first(node, 5)
    return b""


def _note_in_graph(content: bytes) -> bytes:
    note = b""
    for object_graph in messages(content, 2, 7):
        root = _first(object_graph, 1)
        for user_object in messages(root, 4):
            if _first(user_object, 1).startswith(_IDENTIFIER):
                note = _first(user_object, 3)
    return note


def _first(message: bytes | memoryview, number: int) -> bytes:
    """Return the first message or text of a field; nothing where there is none."""
    return bytes(next(messages(message, number), b""))


FORMAT = SavedModel()
