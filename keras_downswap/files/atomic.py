"""Writes a file or folder whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_downswap.errors import FileRefused
from keras_downswap.files.refusals import first_line


def write_whole(path: Path, write: Callable[[Path], Any], check: Callable[[], Any]) -> None:
    """Write under a temporary name in the same folder, then rename; whatever fails, leave no trace.

    Args:
        path: Where the result shall be; what is there is replaced.
        write: Writes to a path that it is given, which has the same ending.
        check: Raises FileRefused where the path may no longer be written: writing takes long, and
            something may have appeared there meanwhile.

    Raises:
        FileRefused: It could not be written; then nothing has changed on disk.
    """
    # In the same folder, since renaming is atomic only within a file system.
    mark = f".{path.stem}.{secrets.token_hex(4)}"
    written = path.with_name(mark + path.suffix.lower())
    replaced = path.with_name(mark + "-old")
    try:
        write(written)
        check()
        # A folder with content cannot be replaced in one step, so the old one steps aside first.
        if path.is_dir():
            os.replace(path, replaced)
        os.replace(written, path)
    except FileRefused:
        raise
    except Exception as error:
        raise FileRefused(
            f"{path} was not written and nothing has changed: {first_line(error)}"
        ) from error
    finally:
        # Also after an interrupt between the two steps: the old folder comes back.
        if os.path.lexists(replaced) and not os.path.lexists(path):
            os.replace(replaced, path)
        _remove(written)
        _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
