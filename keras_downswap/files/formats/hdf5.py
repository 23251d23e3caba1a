"""HDF5, the older format of one file, which both Kerases write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from keras_downswap.errors import FileRefused
from keras_downswap.files.configuration import read_json
from keras_downswap.files.format import Format, Origin
from keras_downswap.files.hdf5_contents import vet_hdf5

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_WEIGHT_GROUPS = {"layers", "model_weights", "vars"}
"""Groups of which one is at the top of a file of weights, whichever Keras wrote it."""


class Hdf5(Format):
    """A file with the configuration as an attribute, as JSON, and the weights as datasets."""

    name = "h5"
    words = "an HDF5 file"
    endings = (".h5", ".hdf5")

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell from the first bytes whether a file is HDF5."""
        if head.startswith(_SIGNATURE):
            return True
        # HDF5 may also begin after 512, 1024, 2048, ... bytes of something else. In a zip archive
        # that is the weights, which Keras does not compress: the file still is an archive.
        return not head.startswith(b"PK") and path.is_file() and h5py.is_hdf5(path)

    def identify(self, path: Path) -> Origin:
        """Return what wrote a file, as its attributes say."""
        with h5py.File(path, "r") as file:
            config = _text(file.attrs.get("model_config"))
            version = _text(file.attrs.get("keras_version"))
            backend = _text(file.attrs.get("backend"))
            has_weights = "layer_names" in file.attrs or not _WEIGHT_GROUPS.isdisjoint(file)
        if config is None and has_weights:
            raise FileRefused(
                f"{path}: weights only, no architecture; "
                "expected a whole model, as model.save writes."
            )
        if config is None:
            raise FileRefused(
                f"{path}: an HDF5 file, but not one of Keras: it has no model_config."
            )
        return self.origin(path, version or "unknown", backend)

    def stored_config(self, path: Path) -> dict[str, Any]:
        """Return the configuration, which is an attribute of the file."""
        with h5py.File(path, "r") as file:
            return read_json(file.attrs.get("model_config"), path)

    def stored_elements(self, path: Path) -> int:
        """Check the datasets of a file; return how many numbers they are."""
        with h5py.File(path, "r") as file:
            return vet_hdf5(file, path)


def _text(attribute: Any) -> str | None:
    """Return an attribute as text (Keras 2.0 wrote bytes); None where it is something else."""
    if isinstance(attribute, bytes):
        return attribute.decode("utf-8")
    return attribute if isinstance(attribute, str) else None


FORMAT = Hdf5()
