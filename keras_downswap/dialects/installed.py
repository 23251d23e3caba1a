"""Which dialect a model belongs to, and the one object of each dialect."""

from __future__ import annotations

from functools import cache
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.errors import UnreadableModel


def dialect_of(model: Any) -> Dialect:
    """Return the dialect of a model, read off its class; neither Keras is imported for it.

    Raises:
        UnreadableModel: If the value is a model of neither Keras.
    """
    for cls in type(model).__mro__:
        root = cls.__module__.split(".")[0]
        if root in ("tf_keras", "keras") and cls.__name__ in ("Layer", "Model"):
            return _dialect(root)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise UnreadableModel(f"expected a model of tf_keras or of keras; received {kind}")


@cache
def _dialect(root: str) -> Dialect:
    if root == "tf_keras":
        from keras_downswap.dialects.keras2 import Keras2

        return Keras2()
    from keras_downswap.dialects.keras3 import Keras3

    return Keras3()
