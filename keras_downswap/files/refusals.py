"""The sentences with which a file is refused, whatever is wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keras_downswap.errors import FileRefused


def unsafe(path: Path, found: str) -> FileRefused:
    """Return the refusal of a file that could do harm when it is loaded."""
    return FileRefused(
        f"{path} was not loaded: {found}; if you trust whoever made it, --trust loads it anyway."
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, at most 300 characters; else its class."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0][:300]


@contextlib.contextmanager
def damage_refused(path: Path) -> Iterator[None]:
    """Turn whatever reading a stranger's bytes may raise into a FileRefused of one sentence."""
    try:
        yield
    except FileRefused:
        raise
    except Exception as error:
        raise FileRefused(
            f"{path} could not be read, it may be damaged or cut short: {error!r}"
        ) from error
