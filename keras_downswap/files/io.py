"""Opens and writes saved models: what wrote a file, is it safe, and is it written whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from keras_downswap.dialects.library import Keras, keras_of
from keras_downswap.errors import FileRefused
from keras_downswap.files import formats
from keras_downswap.files.atomic import write_whole
from keras_downswap.files.format import Format, Origin
from keras_downswap.files.quiet_saving import without_advice
from keras_downswap.files.refusals import damage_refused, first_line
from keras_downswap.files.vetting import vet

_HEAD_BYTES = 8
_KERAS_WORDS: dict[Keras, str] = {"tf_keras": "tf_keras (Keras 2)", "keras": "Keras 3"}


def identify(path: str | Path) -> Origin:
    """Tell from a file's bytes, never from its name, which Keras wrote it and in which format.

    Args:
        path: A file, or the folder of a SavedModel.

    Returns:
        What wrote it. Neither TensorFlow nor Keras is imported, and nothing of the file is run.

    Raises:
        FileRefused: There is no such file, or it is not a whole model saved by Keras 2 or 3.
    """
    path = Path(path)
    if not path.exists():
        raise FileRefused(f"{path}: there is no such file or folder.")
    with damage_refused(path):
        head = _head(path)
        for one in formats.FORMATS:
            if one.recognises(path, head):
                return one.identify(path)
    raise FileRefused(
        f"{path}: expected a model saved by Keras ({formats.format_words()}), found {head!r}..."
    )


def _head(path: Path) -> bytes:
    """Return the first bytes of a file; none for a folder."""
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise FileRefused(f"{path}: the file is empty.")
    return head


def load(path: str | Path, *, trust: bool = False) -> Any:
    """Load a model with the Keras that wrote it, once nothing in it could run a stranger's code.

    Args:
        path: A file, or the folder of a SavedModel; its bytes count, not its ending.
        trust: Skip the vetting, and let code that the file brings along run.

    Returns:
        The model, of tf_keras or of keras, not compiled.

    Raises:
        FileRefused: The file is not a saved model, did not pass, or its Keras could not load it.
    """
    return load_identified(identify(path), trust=trust)


def load_identified(origin: Origin, *, trust: bool) -> Any:
    """Load a model of which is known what wrote it; otherwise as `load`."""
    try:
        if not trust:
            vet(origin)
        model = _load_unvetted(origin, trust=trust)
    except FileRefused:
        raise
    except ImportError as error:
        raise FileRefused(
            f"{origin.path} needs {origin.keras}, which could not be imported: {error}."
        ) from error
    except Exception as error:
        raise FileRefused(
            f"{origin.path}: {origin.keras} could not load it: {first_line(error)}"
        ) from error
    if keras_of(model) is None:
        raise FileRefused(f"{origin.path}: expected a model, found a {type(model).__name__}.")
    if origin.backend == "theano":
        warnings.warn(
            f"{origin.path} was written with Theano, which stores convolution kernels flipped: "
            "as loaded, the model predicts wrongly.",
            stacklevel=3,
        )
    return model


def _load_unvetted(origin: Origin, *, trust: bool) -> Any:
    saved_as = formats.format_named(origin.format)
    path = origin.path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        # Loaders choose by the ending. A file with the ending of another format gets a second name.
        if not path.is_dir() and path.suffix not in saved_as.endings:
            path = Path(shutil.copyfile(path, Path(folder) / f"model{saved_as.endings[0]}"))
        return saved_as.load(origin.keras, path, trust=trust)


def check_target(path: str | Path, overwrite: bool, keras: Keras) -> Format:
    """Return the format that a path's ending asks for, and refuse a path that could not be written.

    Args:
        path: Where a model shall be saved; its ending says the format.
        overwrite: Whether what is there already may be replaced.
        keras: Which Keras the model is of.

    Raises:
        FileRefused: The path cannot be written, with what to do instead.
    """
    path = Path(path)
    saved_as = formats.format_of_ending(path.suffix.lower())
    # To pathlib, a file named `.keras` has no ending.
    is_ending_only = formats.format_of_ending(path.name.lower()) is not None
    if saved_as is None or is_ending_only:
        raise FileRefused(
            f"{path}: expected the ending {formats.ending_words()}, not {path.suffix!r}."
        )
    if keras not in saved_as.writers:
        raise FileRefused(
            f"{path}: {_KERAS_WORDS[keras]} does not save models as {saved_as.words}; "
            "use the ending .keras."
        )
    check_place(path, overwrite, saved_as)
    return saved_as


def check_place(path: Path, overwrite: bool, saved_as: Format | None = None) -> None:
    """Refuse a path that could not be written, or whose present content may not be replaced.

    Args:
        path: Where something shall be written.
        overwrite: Whether what is there already may be replaced.
        saved_as: The format of a model; None for a plain file.

    Raises:
        FileRefused: Its folder is missing, it exists already, or it is not the kind of thing that
            would replace it.
    """
    if not path.parent.is_dir():
        raise FileRefused(
            f"{path} cannot be written: there is no folder {path.parent}; make it first."
        )
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise FileRefused(f"{path} exists already; choose another name or ask to overwrite it.")
    replaceable = not path.is_dir() if saved_as is None else saved_as.may_replace(path)
    if not replaceable:
        expected = "a file" if saved_as is None else saved_as.words
        raise FileRefused(
            f"{path} exists and is not {expected}, so it is not replaced; choose another name."
        )


def save(model: Any, path: str | Path, *, overwrite: bool = False) -> None:
    """Save a model in the format that the path's ending says, whole or not at all.

    Args:
        model: A model of tf_keras or of keras.
        path: Where: .keras, .h5, .hdf5, or no ending for a SavedModel folder (tf_keras only).
        overwrite: Whether to replace what is there already.

    Raises:
        FileRefused: The path cannot be written or the model not saved; then nothing has changed on
            disk.
    """
    keras = keras_of(model)
    if keras is None:
        raise FileRefused(
            f"Expected a model of tf_keras or keras, received a {type(model).__name__}: "
            "it cannot be saved."
        )
    path = Path(path)
    saved_as = check_target(path, overwrite, keras)

    def write(place: Path) -> None:
        with without_advice():
            saved_as.save(model, place)

    write_whole(path, write, lambda: check_target(path, overwrite, keras))


def write_text(path: str | Path, text: str, *, overwrite: bool) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        FileRefused: The path cannot be written; then nothing has changed on disk.
    """
    path = Path(path)
    check_place(path, overwrite)
    write_whole(
        path,
        lambda place: place.write_text(text, "utf-8"),
        lambda: check_place(path, overwrite),
    )
