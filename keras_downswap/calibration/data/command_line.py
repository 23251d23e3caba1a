"""Data that a command line names: an array file, a folder of images, a function."""

from __future__ import annotations

import importlib
import os
import random
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_downswap.calibration.data.images import read_image
from keras_downswap.calibration.data.input_specs import InputSpec
from keras_downswap.errors import BadRequest
from keras_downswap.ir.types import Array

ARRAY_SUFFIXES = (".npy", ".npz")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
IMAGES_OF_BATCH = 32
"""How many images a batch from a folder holds, at most."""
ZIP_SIGNATURE = b"PK"


def load(place: str, specs: Sequence[InputSpec]) -> Any:
    """Return the data that a command line names, in a form that `Data.of` accepts.

    - `FILE.npy`: the array, read from disk where it is used; `FILE.npz`: a dict of its arrays.
    - a folder: a callable that yields batches of its images (`IMAGE_SUFFIXES`, also in folders
      below, in an order that is drawn once), resized to the model's input, as float32 in 0..255. A
      model that does not scale its input itself needs a `.npy` instead.
    - `MODULE:FUNCTION`: what the function returns when called without arguments. The current
      directory is searched for the module, and stays on `sys.path`, for what the function imports
      later.

    Args:
        place: The words of the command line.
        specs: The inputs of the model.

    Raises:
        BadRequest: If there is no such place or it cannot be read, or if a folder is given for a
            model with anything but one image of a known size as its input.
    """
    path = Path(place)
    if path.is_dir():
        return _images(path, specs)
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _arrays(path)
    if ":" in place and not path.exists():
        return _returned(place)
    problem = "does not exist"
    if path.exists():
        problem = f"cannot be read, having the extension '{path.suffix}'"
    raise BadRequest(
        f"data '{place}' {problem}: "
        "give a .npy or .npz file, a folder of images, or module:function"
    )


def _arrays(path: Path) -> Any:
    if not path.exists():
        raise BadRequest(f"data '{path}' does not exist: give the path of a .npy or .npz file")
    try:
        # Opened here, since NumPy does not close a broken archive that it opened itself.
        with path.open("rb") as file:
            # By content, as NumPy reads it: an archive may be named .npy.
            is_archive = file.read(2) == ZIP_SIGNATURE
            if is_archive:
                file.seek(0)
                archive = np.load(file, allow_pickle=False)
                return {name: archive[name] for name in archive.files}
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise BadRequest(
            f"data '{path}' cannot be read ({error}): "
            "save plain arrays, without pickled objects, with np.save or np.savez"
        ) from error


@dataclass(frozen=True)
class _ImageSize:
    height: int
    width: int
    channels: int
    channels_last: bool


def _images(folder: Path, specs: Sequence[InputSpec]) -> Callable[[], Iterator[Array]]:
    size = _image_size(specs)
    paths = []
    for path in sorted(folder.rglob("*")):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        if is_image and not path.name.startswith("."):
            paths.append(path)
    if not paths:
        raise BadRequest(
            f"folder '{folder}' holds no image: "
            f"give one with files that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    # Folders are often one for each class: in their order the first samples would be all alike.
    random.Random(0).shuffle(paths)

    def batches() -> Iterator[Array]:
        for start in range(0, len(paths), IMAGES_OF_BATCH):
            images = []
            for path in paths[start : start + IMAGES_OF_BATCH]:
                images.append(read_image(path, size.height, size.width, size.channels))
            batch = np.stack(images)
            yield batch if size.channels_last else np.moveaxis(batch, -1, 1)

    return batches


def _image_size(specs: Sequence[InputSpec]) -> _ImageSize:
    """Return the size of the images that are a model's only input.

    Raises:
        BadRequest: If its inputs are anything else.
    """
    if len(specs) == 1 and len(specs[0].shape) == 4:
        _, first, second, third = specs[0].shape
        # Where both could be channels, they are last, as is usual.
        channels_last = third in (1, 3) or first not in (1, 3)
        height, width, channels = first, second, third
        if not channels_last:
            channels, height, width = first, second, third
        if height and width and channels in (1, 3):
            return _ImageSize(height, width, channels, channels_last)
    received = ", ".join(f"'{spec.name}' of shape {spec.shape}" for spec in specs)
    raise BadRequest(
        "a folder of images needs a model with one input, an image of known height and width with "
        f"1 or 3 channels; received {received}: give a .npy or .npz file, or module:function"
    )


def _returned(place: str) -> Any:
    """Return what a function returns, given as MODULE:FUNCTION."""
    name, _, attribute = place.rpartition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a module may raise anything while it is imported
        raise BadRequest(
            f"module '{name}' of '{place}' cannot be imported: {_described(error)}"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        problem = "is not callable" if hasattr(module, attribute) else "does not exist"
        raise BadRequest(
            f"'{attribute}' in module '{name}' {problem}: name a function without arguments"
        )
    try:
        return function()
    except Exception as error:  # likewise
        raise BadRequest(
            f"'{place}' was called without arguments and raised {_described(error)}"
        ) from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
