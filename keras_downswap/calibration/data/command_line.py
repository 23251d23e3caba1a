"""What a command line names as data: an array file, a folder of images, a function."""

from __future__ import annotations

import importlib
import os
import random
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_downswap.calibration.data.images import read_image
from keras_downswap.calibration.data.input_specs import InputSpec
from keras_downswap.errors import BadRequest
from keras_downswap.ir.types import Array

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
AT_ONCE = 32
"""How many images a batch from a folder holds, at most."""


def load(place: str, feeds: Sequence[InputSpec]) -> Any:
    """Return the data that a command line names, in a form that `Data.of` takes.

    - `FILE.npy`: the array, read from disk where it is used; `FILE.npz`: a dict of its arrays.
    - a folder: a callable that yields batches of its images (`IMAGES`, also in folders below, in an
    order that is drawn
      once), resized to the model's input, as float32 in 0..255. A model that does not scale its
      input itself needs a `.npy` instead.
    - `MODULE:FUNCTION`: what the function returns when called without arguments. The current
    directory is searched for
      the module, and stays on `sys.path`, for what the function imports later.

    Raises:
        BadRequest: If there is no such place or it cannot be read, or if a folder is given for a
            model that takes anything but one image of a known size.
    """
    path = Path(place)
    if path.is_dir():
        return _images(path, feeds)
    if path.suffix.lower() in (".npy", ".npz"):
        return _arrays(path)
    if ":" in place and not path.exists():
        return _returned(place)
    problem = (
        f"cannot be read, having the extension '{path.suffix}'"
        if path.exists()
        else "does not exist"
    )
    raise BadRequest(
        f"data '{place}' {problem}: give a .npy or .npz file, a folder of images, or module:function"
    )


def _arrays(path: Path) -> Any:
    if not path.exists():
        raise BadRequest(f"data '{path}' does not exist: give the path of a .npy or .npz file")
    try:
        with path.open("rb") as file:  # NumPy does not close a broken archive that it opened itself
            if file.read(2) == b"PK":
                file.seek(0)
                found = np.load(file, allow_pickle=False)
                return {name: found[name] for name in found.files}
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise BadRequest(
            f"data '{path}' cannot be read ({error}): save plain arrays, without pickled objects, with np.save or "
            f"np.savez"
        ) from error


def _images(folder: Path, feeds: Sequence[InputSpec]) -> Callable[[], Iterator[Array]]:
    height, width, channels, last = _image_size(feeds)
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file()
    )
    paths = [path for path in found if not path.name.startswith(".")]
    if not paths:
        raise BadRequest(
            f"folder '{folder}' holds no image: give one with files that end in {', '.join(IMAGES)}"
        )

    random.Random(0).shuffle(paths)

    def batches() -> Iterator[Array]:
        for start in range(0, len(paths), AT_ONCE):
            batch = np.stack(
                [
                    read_image(path, height, width, channels)
                    for path in paths[start : start + AT_ONCE]
                ]
            )
            yield batch if last else np.moveaxis(batch, -1, 1)

    return batches


def _image_size(feeds: Sequence[InputSpec]) -> tuple[int, int, int, bool]:
    """Return height, width, channels, and whether the channels come last."""
    shapes = [feed.shape for feed in feeds]
    if len(shapes) == 1 and len(shapes[0]) == 4:
        _, a, b, c = shapes[0]
        last = c in (1, 3) or a not in (1, 3)
        height, width, channels = (a, b, c) if last else (b, c, a)
        if height and width and channels in (1, 3):
            return height, width, channels, last
    told = ", ".join(f"'{feed.name}' of shape {feed.shape}" for feed in feeds)
    raise BadRequest(
        f"a folder of images needs a model with one input, an image of known height and width with 1 or 3 channels; "
        f"received {told}: give a .npy or .npz file, or module:function"
    )


def _returned(place: str) -> Any:
    name, _, attribute = place.rpartition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a module may raise anything while it is imported
        raise BadRequest(
            f"module '{name}' of '{place}' cannot be imported: {_told(error)}"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        problem = "is not callable" if hasattr(module, attribute) else "does not exist"
        raise BadRequest(
            f"'{attribute}' in module '{name}' {problem}: name a function without arguments"
        )
    try:
        return function()
    except Exception as error:
        raise BadRequest(
            f"'{place}' was called without arguments and raised {_told(error)}"
        ) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
