"""Checks the contents of an HDF5 file: it keeps to itself, and it is as large as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from keras_downswap.files.refusals import unsafe

DECLARED_BYTES = 256 << 20
"""Bytes that any file may declare, however small it is."""
DECLARED_RATIO = 100
"""Above that, bytes that a file may declare for each byte that it has: Keras does not compress."""


def vet_declared(declared: int, path: Path) -> None:
    """Refuse a file whose contents would need far more memory than the file is large.

    Args:
        declared: How many bytes its contents have, as the file says.
        path: The file.

    Raises:
        FileRefused: The file declares too much.
    """
    size = path.stat().st_size
    if declared > DECLARED_BYTES and declared > DECLARED_RATIO * size:
        raise unsafe(path, f"it has {size:,} bytes but declares {declared:,}")


def vet_hdf5(file: h5py.File, path: Path) -> int:
    """Check that an open HDF5 file reads nothing from elsewhere.

    Args:
        file: The open file, which may be a member of the archive at `path`.
        path: What to name in a refusal.

    Returns:
        How many numbers it stores.

    Raises:
        FileRefused: It links or refers to another place, or declares too much.
    """
    elements = 0
    declared = 0
    for dataset in _datasets(file, path):
        # Two more ways to values outside: raw files ("external") and other datasets ("virtual").
        if dataset.external or dataset.is_virtual:
            raise unsafe(path, f"{dataset.name!r} reads its values from another file")
        elements += dataset.size
        declared += dataset.nbytes
    vet_declared(declared, path)
    return elements


def _datasets(file: h5py.File, path: Path) -> Iterator[Any]:
    """Yield each dataset once; refuse any link but a hard one."""
    groups: list[Any] = [file]
    # A hard link may lead back to a group that contains it. Addresses tell what was visited.
    visited: set[int] = set()
    while groups:
        group = groups.pop()
        for name in group:
            # Looked at before it is followed: opening an external link would open another file.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise unsafe(path, f"the group {group.name!r} links {name!r} to another place")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in visited:
                continue
            visited.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item
