"""Importing a Keras without its greetings."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from typing import Literal


def import_quietly(keras: Literal["tf_keras", "keras"]) -> None:
    """Import a Keras quietly, for command lines.

    TensorFlow's native code writes to file descriptor 2 while it loads, whatever its log level, so
    the descriptor itself is put aside for that time; what was written is shown if the import fails.

    Raises:
        ImportError: If that Keras, or TensorFlow, cannot be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if keras in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        failed = True
        try:
            importlib.import_module(keras)
            failed = False
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                aside.seek(0)
                os.write(2, aside.read())
