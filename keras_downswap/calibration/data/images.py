"""Image files as arrays; TensorFlow decodes and resizes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keras_downswap.errors import BadRequest


def read_image(path: Path, height: int, width: int, channels: int) -> NDArray[np.float32]:
    """Decode a PNG, JPEG, BMP or GIF file and resize it, as Keras' loaders do.

    Of an animation the first frame is read. Alpha is dropped, grey is repeated for 3 channels, and
    colours are weighted into grey for 1.

    Returns:
        An array of shape (height, width, channels), in 0..255.

    Raises:
        BadRequest: If the file cannot be read or decoded.
    """
    import tensorflow as tf

    try:
        image = tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except (OSError, tf.errors.InvalidArgumentError) as error:
        raise BadRequest(f"'{path}' cannot be read as an image: remove or repair it") from error
    # Colours may have alpha as the fourth channel, grey as the second.
    colours = 3 if image.shape[-1] >= 3 else 1
    image = tf.cast(image[..., :colours], "float32")
    if colours < channels:
        image = tf.image.grayscale_to_rgb(image)
    elif colours > channels:
        image = tf.image.rgb_to_grayscale(image)
    resized: NDArray[np.float32] = tf.image.resize(image, (height, width)).numpy()
    return resized
