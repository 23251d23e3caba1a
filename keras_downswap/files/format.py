"""What a format of saved models must answer, and what is known of a file: its origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_downswap.dialects.library import Keras, library
from keras_downswap.dialects.own_names import application_classes
from keras_downswap.errors import FileRefused
from keras_downswap.files.configuration import entries


@dataclass(frozen=True)
class Origin:
    """What wrote a file, as its bytes say.

    Attributes:
        path: The file or folder.
        keras: Which Keras wrote it, and so must load it.
        format: The name of its format: "keras" (a zip archive), "h5" or "savedmodel" (a folder).
        version: The version of Keras that wrote it, or "unknown".
        backend: The backend it noted, such as "tensorflow" or "theano"; None where it noted none.
    """

    path: Path
    keras: Keras
    format: str
    version: str
    backend: str | None


class Format(ABC):
    """One format in which Keras saves whole models.

    Attributes:
        name: A short name, as in `Origin.format`.
        words: What users call it, with its article.
        endings: The endings of its files, the one that loaders expect first. An empty one stands
            for a path without an ending.
        writers: Which Keras saves models in it.
    """

    name: str
    words: str
    endings: tuple[str, ...]
    writers: tuple[Keras, ...] = ("tf_keras", "keras")

    # Reading without Keras

    @abstractmethod
    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell whether a path is of this format.

        Args:
            path: The file or folder, which exists.
            head: The first eight bytes of a file; empty for a folder.
        """

    @abstractmethod
    def identify(self, path: Path) -> Origin:
        """Return what wrote a file of this format.

        Raises:
            FileRefused: It holds no whole model of Keras 2 or 3.
        """

    @abstractmethod
    def stored_config(self, path: Path) -> dict[str, Any]:
        """Return the configuration that a file holds, as it is.

        Raises:
            FileRefused: It holds none.
        """

    @abstractmethod
    def stored_elements(self, path: Path) -> int:
        """Check what a file holds besides its configuration.

        Returns:
            How many numbers it stores (its bytes, where they cannot be told apart).

        Raises:
            FileRefused: It reaches outside itself, or declares far more than it holds.
        """

    def unsafe_entry(self, entry: dict[str, Any]) -> str | None:
        """Return what about an entry of a configuration only the file's own code could load."""
        return None

    def read_config(self, path: Path) -> dict[str, Any]:
        """Return the configuration of the whole model, without what only compiling would use.

        Raises:
            FileRefused: There is no configuration, or it is not one of a model.
        """
        config = self.stored_config(path)
        if "class_name" not in config:
            raise FileRefused(
                f"{path}: its configuration names no class; expected that of a Keras model."
            )
        return {key: value for key, value in config.items() if key != "compile_config"}

    # Loading and saving with Keras

    def load(self, keras: Keras, path: Path, *, trust: bool) -> Any:
        """Load a model, not compiled.

        Args:
            keras: Which Keras wrote it.
            path: The file, named with an ending of this format, or the folder.
            trust: Let the file's own code run.
        """
        return library(keras).models.load_model(
            str(path),
            custom_objects=application_classes(keras),
            compile=False,
            safe_mode=not trust,
        )

    def save(self, model: Any, path: Path) -> None:
        """Write a model with the Keras that it is of; the path has an ending of this format."""
        model.save(str(path))

    def may_replace(self, path: Path) -> bool:
        """Tell whether what lies at a path is of the kind that saving would replace."""
        return not path.is_dir()

    def origin(self, path: Path, version: str, backend: str | None) -> Origin:
        """Return the origin of a file of a version, of which the Keras is yet to be found.

        Raises:
            FileRefused: It is of neither Keras 2 nor 3.
        """
        keras = self._keras_of_version(path, version)
        return Origin(path, keras, self.name, version, backend)

    def _keras_of_version(self, path: Path, version: str) -> Keras:
        major = version.partition(".")[0]
        if major == "2":
            return "tf_keras"
        if major == "3":
            return "keras"
        keras = self._keras_of_config(path) if version == "unknown" else None
        if keras is not None:
            return keras
        age = "Keras 1 or older" if major in ("0", "1") else "a version unknown here"
        raise FileRefused(
            f"{path}: expected a file of Keras 2 or 3, found keras_version {version!r}, {age}; "
            "load it with the Keras that wrote it, or with Keras 2.2, and save it again."
        )

    def _keras_of_config(self, path: Path) -> Keras | None:
        """Return the Keras that wrote a file which notes no version, as far as its keys say."""
        keys: set[str] = set()
        for _, entry in entries(self.read_config(path)):
            keys.update(entry)
        # `padding` was `border_mode` in Keras 1. The shape of inputs changed its key in Keras 3.
        if "border_mode" in keys:
            return None
        if "batch_shape" in keys:
            return "keras"
        if "batch_input_shape" in keys:
            return "tf_keras"
        return None
