"""Opens and writes saved models: what wrote a file, is it safe, and no half-written file is ever left behind."""

import os
import secrets
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from keras_downswap.dialects import storage
from keras_downswap.dialects.storage import Origin
from keras_downswap.errors import FileRefused
from keras_downswap.files.vetting import (
    damage_refused,
    entries,
    read_config,
    read_json,
    read_member,
    vet,
)

__all__ = ["Origin", "check_place", "check_target", "identify", "load", "save", "vet", "write_text"]

_ENDINGS: dict[str, storage.Format] = {
    ".keras": "keras",
    ".h5": "h5",
    ".hdf5": "h5",
    "": "savedmodel",
}


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
        if path.is_dir():
            return _identify_folder(path)
        with path.open("rb") as file:
            head = file.read(8)
        if not head:
            raise FileRefused(f"{path}: the file is empty.")
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _identify_archive(path)
        if h5py.is_hdf5(path) or head == b"\x89HDF\r\n\x1a\n":
            return _identify_hdf5(path)
    raise FileRefused(
        f"{path}: expected a model saved by Keras (.keras, HDF5 or SavedModel), found {head!r}..."
    )


def _identify_folder(path: Path) -> Origin:
    if not (path / "saved_model.pb").is_file():
        hint = (
            "; it looks like an unpacked .keras archive: zip it again"
            if (path / "config.json").is_file()
            else ""
        )
        raise FileRefused(
            f"{path}: expected a SavedModel folder, found no saved_model.pb in it{hint}."
        )
    note = storage.saved_model_root(path)
    if note is None:
        raise FileRefused(
            f"{path}: a SavedModel that Keras did not write, or an export of Keras 3: it has no layers."
        )
    root = read_json(note, path)
    return Origin(
        path,
        "tf_keras",
        "savedmodel",
        str(root.get("keras_version", "unknown")),
        root.get("backend"),
    )


def _identify_archive(path: Path) -> Origin:
    with zipfile.ZipFile(path) as archive:
        missing = {"metadata.json", "config.json"} - set(archive.namelist())
        if missing:
            raise FileRefused(
                f"{path}: a zip archive, but not one of Keras: it has no {sorted(missing)[0]}."
            )
        version = str(
            read_json(read_member(archive, "metadata.json"), path).get("keras_version") or "unknown"
        )
    return Origin(path, _generation(version, path, "keras"), "keras", version, None)


def _identify_hdf5(path: Path) -> Origin:
    with h5py.File(path, "r") as file:
        notes = {k: _plain(file.attrs.get(k)) for k in ("keras_version", "backend", "model_config")}
        weights = "layer_names" in file.attrs or not {"layers", "model_weights", "vars"}.isdisjoint(
            file
        )
    if notes["model_config"] is None and weights:
        raise FileRefused(
            f"{path}: weights only, no architecture; expected a whole model, as model.save writes."
        )
    if notes["model_config"] is None:
        raise FileRefused(f"{path}: an HDF5 file, but not one of Keras: it has no model_config.")
    version = notes["keras_version"] or "unknown"
    return Origin(path, _generation(version, path, "h5"), "h5", version, notes["backend"])


def _plain(note: Any) -> str | None:
    text = note.decode("utf-8") if isinstance(note, bytes) else note
    return text if isinstance(text, str) else None


def _generation(version: str, path: Path, saved_as: storage.Format) -> storage.Keras:
    """Tell tf_keras from keras by the version, or where there is none by how the shapes of inputs are written."""
    major = version.partition(".")[0]
    if major in ("2", "3"):
        return "tf_keras" if major == "2" else "keras"
    if version == "unknown":
        keys = {key for _, entry in entries(read_config(path, saved_as)) for key in entry}
        if "border_mode" not in keys and not keys.isdisjoint({"batch_shape", "batch_input_shape"}):
            return "keras" if "batch_shape" in keys else "tf_keras"
    old = "Keras 1 or older" if major in ("0", "1") else "a version unknown here"
    raise FileRefused(
        f"{path}: expected a file of Keras 2 or 3, found keras_version {version!r}, {old}; load it with the Keras that "
        "wrote it, or with Keras 2.2, and save it again."
    )


def load(path: str | Path, *, trust: bool = False) -> Any:
    """Load a model with the Keras that wrote it, not compiled, once nothing in it could run a stranger's code.

    Args:
        path: A file, or the folder of a SavedModel; its bytes count, not its ending.
        trust: Skip the vetting, and let code that the file brings along run.

    Returns:
        The model, of tf_keras or of keras.

    Raises:
        FileRefused: The file is not a saved model, did not pass, or its Keras could not load it.
    """
    origin = identify(path)
    try:
        if not trust:
            vet(origin)
        with tempfile.TemporaryDirectory() as folder:
            named = _with_true_ending(origin, Path(folder))
            model = storage.load_model(origin.keras, named, origin.format, trust=trust)
        storage.keras_of(model)
    except FileRefused:
        raise
    except ImportError as error:
        raise FileRefused(
            f"{origin.path} needs {origin.keras}, which could not be imported: {error}."
        ) from error
    except Exception as error:
        raise FileRefused(
            f"{origin.path}: {origin.keras} could not load it: {_first_line(error)}"
        ) from error
    if origin.backend == "theano":
        kernels = "with Theano, which stores convolution kernels flipped: as loaded, the model predicts wrongly"
        warnings.warn(f"{origin.path} was written {kernels}.", stacklevel=2)
    return model


def _with_true_ending(origin: Origin, folder: Path) -> Path:
    """Give a file whose ending lies a second name, since the loaders choose by ending."""
    path = origin.path.absolute()
    if origin.format == "savedmodel" or _ENDINGS.get(path.suffix) == origin.format:
        return path
    return Path(shutil.copyfile(path, folder / f"model.{origin.format}"))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def check_target(path: str | Path, overwrite: bool, keras: storage.Keras) -> storage.Format:
    """Tell the format that a path's ending asks for, and refuse a path that could not be written.

    Args:
        path: Where a model shall be saved: .keras, .h5, .hdf5, or no ending for a SavedModel
            folder.
        overwrite: Whether what is there already may be replaced.
        keras: Which Keras the model is of.

    Returns:
        The format.

    Raises:
        FileRefused: The path cannot be written, with what to do instead.
    """
    path = Path(path)
    saved_as = _ENDINGS.get(path.suffix.lower())
    if saved_as is None or path.name.lower() in _ENDINGS:
        raise FileRefused(
            f"{path}: expected the ending .keras, .h5, .hdf5 or none (SavedModel), not {path.suffix!r}."
        )
    if saved_as == "savedmodel" and keras == "keras":
        raise FileRefused(
            f"{path}: Keras 3 does not save models as a SavedModel folder; use the ending .keras."
        )
    check_place(path, overwrite, folder=saved_as == "savedmodel")
    return saved_as


def check_place(path: Path, overwrite: bool, *, folder: bool = False) -> None:
    """Refuse a path that could not be written, or whose present content may not be replaced.

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
    if path.is_dir() != folder or (folder and not (path / "saved_model.pb").is_file()):
        wanted = "SavedModel folder" if folder else "file"
        raise FileRefused(
            f"{path} exists and is no {wanted}, so it is not replaced; choose another name."
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
    saved_as = check_target(path, overwrite, storage.keras_of(model))

    def write(beside: Path) -> None:
        storage.save_model(model, beside, saved_as)

    _write_beside(Path(path), write, lambda: check_target(path, overwrite, storage.keras_of(model)))


def write_text(path: str | Path, text: str, *, overwrite: bool) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        FileRefused: The path cannot be written; then nothing has changed on disk.
    """
    target = Path(path)
    check_place(target, overwrite)
    _write_beside(
        target,
        lambda beside: beside.write_text(text, "utf-8"),
        lambda: check_place(target, overwrite),
    )


def _write_beside(path: Path, write: Callable[[Path], Any], check: Callable[[], Any]) -> None:
    """Write under a temporary name in the same folder, check again, rename; whatever fails, leave no trace."""
    mark = f".{path.stem}.{secrets.token_hex(4)}"
    beside, aside = path.with_name(mark + path.suffix.lower()), path.with_name(mark + "-old")
    try:
        write(beside)
        check()
        if path.is_dir():
            os.replace(path, aside)
        os.replace(beside, path)
    except FileRefused:
        raise
    except Exception as error:
        raise FileRefused(
            f"{path} was not written and nothing has changed: {_first_line(error)}"
        ) from error
    finally:
        if os.path.lexists(aside) and not os.path.lexists(path):
            os.replace(aside, path)
        for left in (beside, aside):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
