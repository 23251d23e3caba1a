"""Which Keras a model is of, and the package of that Keras, imported only when asked for."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from keras_downswap.dialects.compatibility import check_once

Keras = Literal["tf_keras", "keras"]


def keras_of(value: Any, base: str = "Model") -> Keras | None:
    """Return the Keras of which a value is a model, read off its class.

    Args:
        value: Anything.
        base: The class of that Keras of which it must be, `Model` or `Layer`.

    Returns:
        None for anything else.
    """
    for cls in type(value).__mro__:
        package = cls.__module__.partition(".")[0]
        if cls.__name__ != base:
            continue
        # Spelt out twice, so that the type checker sees a literal.
        if package == "tf_keras":
            return "tf_keras"
        if package == "keras":
            return "keras"
    return None


def library(keras: Keras) -> Any:
    """Import a Keras and return its package.

    Raises:
        ImportError: If it is not installed.
        UnsupportedKeras: If the installed version lacks what this package needs.
    """
    package = importlib.import_module(keras)
    check_once(keras)
    return package
