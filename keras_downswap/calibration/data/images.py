"""Image files as arrays; TensorFlow decodes and resizes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_downswap.errors import BadRequest


def read_image(path: Path, height: int, width: int, channels: int) -> np.ndarray[Any, Any]:
    """Decode a PNG, JPEG, BMP or GIF file (of an animation, the first frame) and resize it, as Keras' loaders do.

    Alpha is dropped, grey is repeated for 3 channels, and colours are weighted into grey for 1.

    Returns:
        A float32 array of shape (height, width, channels), in 0..255.

    Raises:
        BadRequest: If the file cannot be read or decoded.
    """
    import tensorflow as tf

    try:
        image = tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except (OSError, tf.errors.InvalidArgumentError) as error:
        raise BadRequest(f"'{path}' cannot be read as an image: remove or repair it") from error
    image = tf.cast(image[..., : 3 if image.shape[-1] >= 3 else 1], "float32")
    if image.shape[-1] < channels:
        image = tf.image.grayscale_to_rgb(image)
    elif image.shape[-1] > channels:
        image = tf.image.rgb_to_grayscale(image)
    resized: np.ndarray[Any, Any] = tf.image.resize(image, (height, width)).numpy()
    return resized
