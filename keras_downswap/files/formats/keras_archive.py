"""The `.keras` archive: a zip file with the configuration, metadata, and the weights as HDF5."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py

from keras_downswap.errors import FileRefused
from keras_downswap.files.configuration import CONFIG_BYTES, read_json
from keras_downswap.files.format import Format, Origin
from keras_downswap.files.hdf5_contents import vet_declared, vet_hdf5
from keras_downswap.files.refusals import unsafe

_CONFIG = "config.json"
_METADATA = "metadata.json"
_WEIGHTS = "model.weights.h5"
_ASSETS = "assets/"
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of a zip file, and of one without members."""


class KerasArchive(Format):
    """The format of Keras 3, which later versions of Keras 2 write as well."""

    name = "keras"
    words = "a .keras archive"
    endings = (".keras",)

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell from the first bytes whether a file is a zip archive."""
        return head.startswith(_SIGNATURES)

    def identify(self, path: Path) -> Origin:
        """Return what wrote an archive, as its metadata say."""
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for name in (_CONFIG, _METADATA):
                if name not in members:
                    raise FileRefused(
                        f"{path}: a zip archive, but not one of Keras: it has no {name}."
                    )
            metadata = _read_json_member(archive, _METADATA, path)
        version = str(metadata.get("keras_version") or "unknown")
        return self.origin(path, version, backend=None)

    def stored_config(self, path: Path) -> dict[str, Any]:
        """Return the configuration, which is a member of its own."""
        with zipfile.ZipFile(path) as archive:
            return _read_json_member(archive, _CONFIG, path)

    def stored_elements(self, path: Path) -> int:
        """Check the members of an archive; return how many numbers its weights are."""
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                # Of two members with one name, the loader might read the other one.
                if not _is_expected(name) or names.count(name) > 1:
                    raise unsafe(
                        path, f"it holds {name!r}, which Keras would not have written there"
                    )
            vet_declared(sum(member.file_size for member in archive.infolist()), path)
            with archive.open(_WEIGHTS) as weights, h5py.File(weights, "r") as file:
                return vet_hdf5(file, path)


def _is_expected(name: str) -> bool:
    """Tell whether Keras writes a member of that name, and whether it stays in its folder."""
    if ".." in name:
        return False
    return name in (_CONFIG, _METADATA, _WEIGHTS) or name.startswith(_ASSETS)


def _read_json_member(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    # The size is looked at first: a small member may unpack to gigabytes.
    if archive.getinfo(name).file_size > CONFIG_BYTES:
        return read_json(None, path)
    return read_json(archive.read(name), path)


FORMAT = KerasArchive()
