"""What the installed Kerases can be asked."""

from __future__ import annotations

import importlib

import pytest

from keras_downswap.files.format import Origin


def skip_if_newer_than_installed(origin: Origin) -> None:
    """Skip the running test where a file was written by a newer Keras, which an older one need not
    read.
    """
    here = importlib.import_module(origin.keras).__version__
    if _minor(origin.version) > _minor(here):
        pytest.skip(
            f"{origin.path.name} was written by {origin.keras} {origin.version}, "
            f"and {here} is installed"
        )


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
