"""Which dialect a model belongs to, and the one object of each dialect."""

from __future__ import annotations

from functools import cache
from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.library import Keras, keras_of
from keras_downswap.errors import UnreadableModel


def dialect_of(model: Any) -> Dialect:
    """Return the dialect of a model, read off its class; neither Keras is imported for it.

    Raises:
        UnreadableModel: If the value is a model of neither Keras.
    """
    # A layer is told that it has no graph, which says more than that it is no model.
    keras = keras_of(model, base="Layer")
    if keras is None:
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise UnreadableModel(f"expected a model of tf_keras or of keras; received {kind}")
    return _dialect(keras)


@cache
def _dialect(keras: Keras) -> Dialect:
    if keras == "tf_keras":
        from keras_downswap.dialects.keras2 import Keras2

        return Keras2()
    from keras_downswap.dialects.keras3 import Keras3

    return Keras3()
