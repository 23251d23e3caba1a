"""Silences what the frameworks say of a format that the user chose."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_HDF5_ADVICE = "You are saving your model as an HDF5"
# The folder is our temporary one, and the metrics are not saved: both would only confuse.
_NOISE = (_HDF5_ADVICE, "Assets written to", "Compiled the loaded model, but")
_LOGGERS = ("absl", "tensorflow")


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Silence the advice against HDF5, the name of the temporary folder, and talk of metrics."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_HDF5_ADVICE)
        for logger in loggers:
            logger.addFilter(_is_wanted)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NOISE)
