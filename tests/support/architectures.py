"""Small networks built after their papers, channels last, by the Keras handed in as `K` (`keras` or
`tf_keras`).
"""

from typing import Any

import numpy as np

Shape = tuple[int | None, int | None, int]


def squeezenet_1_1(K: Any, input_shape: Shape = (64, 64, 3), classes: int = 10) -> Any:
    """Builds SqueezeNet v1.1 (Iandola et al. 2016): a strided stem and three overlapping pools, two
    after fires.

    Args:
        K: The Keras module to build with.
        input_shape: Height, width and channels; at least 31 x 31, or None.
        classes: Length of the softmax output.

    Returns:
        An untrained functional model, (batch, height, width, channels) to (batch, classes).
    """
    layers = K.layers
    image = K.Input(input_shape, name="image")
    x = layers.Conv2D(64, 3, strides=2, padding="valid", activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = _fire(K, x, 16, 64, "fire2")
    x = _fire(K, x, 16, 64, "fire3")
    x = layers.MaxPooling2D(3, strides=2, name="pool3")(x)
    x = _fire(K, x, 32, 128, "fire4")
    x = _fire(K, x, 32, 128, "fire5")
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    for number, squeeze in enumerate((48, 48, 64, 64), start=6):
        x = _fire(K, x, squeeze, 4 * squeeze, f"fire{number}")
    x = layers.Dropout(0.5, name="drop9")(x)
    x = layers.Conv2D(classes, 1, activation="relu", name="conv10")(x)
    x = layers.GlobalAveragePooling2D(name="pool10")(x)
    x = layers.Activation("softmax", name="prob")(x)
    return K.Model(image, x, name="squeezenet_1_1")


def _fire(K: Any, x: Any, squeeze: int, expand: int, name: str) -> Any:
    layers = K.layers
    x = layers.Conv2D(squeeze, 1, activation="relu", name=f"{name}_squeeze1x1")(x)
    narrow = layers.Conv2D(expand, 1, activation="relu", name=f"{name}_expand1x1")(x)
    wide = layers.Conv2D(expand, 3, padding="same", activation="relu", name=f"{name}_expand3x3")(x)
    return layers.Concatenate(name=f"{name}_concat")([narrow, wide])


def fishnet_like(
    K: Any, input_shape: Shape = (32, 32, 3), classes: int = 10, width: int = 16
) -> Any:
    """Builds a small network after FishNet (Sun et al. 2018): tail, body, head; max pools, no
    strided convolution.

    Args:
        K: The Keras module to build with.
        input_shape: Height, width and channels; height and width multiples of 4, or None.
        classes: Length of the softmax output.
        width: Channels of the tail's first stage, a multiple of 4; the next two stages have 2 and 4
            times as many.

    Returns:
        An untrained functional model, (batch, height, width, channels) to (batch, classes). Its
        channel reductions are frozen 1x1 convolutions named `*_reduce`.

    Raises:
        ValueError: If the two pools cannot halve the map, or the reductions the channels, without a
            remainder.
    """
    if width % 4 or any(length is not None and length % 4 for length in input_shape[:2]):
        raise ValueError(
            "fishnet_like: expected a height, a width and a `width` that are multiples of 4 "
            "(it halves them twice), "
            f"received input_shape={input_shape}, width={width}; round them to multiples of 4"
        )
    image = K.Input(input_shape, name="image")
    x = K.layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem_conv")(image)
    tail1 = _residual(K, x, width, "tail1")
    tail2 = _residual(K, _halve(K, tail1, "tail1"), 2 * width, "tail2")
    tail3 = _residual(K, _halve(K, tail2, "tail2"), 4 * width, "tail3")
    x = _double(K, _refine(K, tail3, "body3"), "body3")
    body2 = _join(K, x, tail2, "body2")
    x = _double(K, _refine(K, body2, "body2"), "body2")
    body1 = _refine(K, _join(K, x, tail1, "body1"), "body1")
    x = _halve(K, _residual(K, body1, body1.shape[-1], "head1"), "head1")
    x = _join(K, x, body2, "head2")
    x = _halve(K, _residual(K, x, x.shape[-1], "head2"), "head2")
    x = _join(K, x, tail3, "head3")
    x = _residual(K, x, x.shape[-1], "head3")
    x = _norm_relu(K, x, "top")
    x = K.layers.GlobalAveragePooling2D(name="top_pool")(x)
    x = K.layers.Dense(classes, activation="softmax", name="top_dense")(x)
    return K.Model(image, x, name="fishnet_like")


def _halve(K: Any, x: Any, name: str) -> Any:
    return K.layers.MaxPooling2D(2, strides=2, name=f"{name}_pool")(x)


def _double(K: Any, x: Any, name: str) -> Any:
    return K.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(x)


def _join(K: Any, x: Any, lateral: Any, name: str) -> Any:
    transfer = _residual(K, lateral, lateral.shape[-1], f"{name}_transfer")
    return K.layers.Concatenate(name=f"{name}_concat")([x, transfer])


def _residual(K: Any, x: Any, filters: int, name: str) -> Any:
    active = _norm_relu(K, x, f"{name}_pre")
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = K.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_shortcut")(active)
    return K.layers.Add(name=f"{name}_add")([shortcut, _bottleneck(K, active, filters, name)])


def _refine(K: Any, x: Any, name: str) -> Any:
    deep = _bottleneck(K, _norm_relu(K, x, f"{name}_pre"), x.shape[-1] // 2, name)
    return K.layers.Add(name=f"{name}_add")(
        [_sum_adjacent_channels(K, x, 2, f"{name}_reduce"), deep]
    )


def _bottleneck(K: Any, active: Any, filters: int, name: str) -> Any:
    layers = K.layers
    inner = max(filters // 4, 1)
    x = layers.Conv2D(inner, 1, use_bias=False, name=f"{name}_conv1")(active)
    x = _norm_relu(K, x, f"{name}_mid1")
    x = layers.Conv2D(inner, 3, padding="same", use_bias=False, name=f"{name}_conv2")(x)
    x = _norm_relu(K, x, f"{name}_mid2")
    return layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_conv3")(x)


def _norm_relu(K: Any, x: Any, name: str) -> Any:
    return K.layers.ReLU(name=f"{name}_relu")(K.layers.BatchNormalization(name=f"{name}_bn")(x))


def _sum_adjacent_channels(K: Any, x: Any, group: int, name: str) -> Any:
    """Law: out[c] = x[group*c] + ... + x[group*c + group-1], as a frozen 1x1 kernel of zeros and
    ones.
    """
    kept = x.shape[-1] // group
    reduce = K.layers.Conv2D(kept, 1, use_bias=False, trainable=False, name=name)
    reduced = reduce(x)
    reduce.set_weights(
        [np.repeat(np.eye(kept, dtype=np.float32), group, axis=0)[np.newaxis, np.newaxis]]
    )
    return reduced


def resnet_d(
    K: Any,
    input_shape: Shape = (64, 64, 3),
    classes: int = 10,
    width: int = 16,
    blocks: tuple[int, ...] = (1, 2, 1),
) -> Any:
    """Builds a small ResNet-D (He et al. 2019, "Bag of tricks"): a deep stem, strides on the 3x3,
    pooled shortcuts.

    Args:
        K: The Keras module to build with.
        input_shape: Height, width and channels; any height and width, or None.
        classes: Length of the softmax output.
        width: Bottleneck channels of the first stage, even; doubled by each later stage. A stage
            gives out four times its bottleneck.
        blocks: Residual blocks in each stage; every stage but the first halves the map.

    Returns:
        An untrained functional model, (batch, height, width, channels) to (batch, classes).
    """
    image = K.Input(input_shape, name="image")
    x = _conv_norm_relu(K, image, width // 2, 3, 2, "stem1")
    x = _conv_norm_relu(K, x, width // 2, 3, 1, "stem2")
    x = _conv_norm_relu(K, x, width, 3, 1, "stem3")
    x = K.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block_d(K, x, width * 2**stage, stride, f"stage{stage + 1}_block{block + 1}")
    x = K.layers.GlobalAveragePooling2D(name="top_pool")(x)
    x = K.layers.Dense(classes, activation="softmax", name="top_dense")(x)
    return K.Model(image, x, name="resnet_d")


def _block_d(K: Any, x: Any, inner: int, stride: int, name: str) -> Any:
    deep = _conv_norm_relu(K, x, inner, 1, 1, f"{name}_1")
    deep = _conv_norm_relu(K, deep, inner, 3, stride, f"{name}_2")
    deep = _conv_norm(K, deep, 4 * inner, 1, 1, f"{name}_3")
    shortcut = x
    if stride > 1:
        shortcut = K.layers.AveragePooling2D(
            2, strides=2, padding="same", name=f"{name}_shortcut_pool"
        )(shortcut)
    if x.shape[-1] != 4 * inner:
        shortcut = _conv_norm(K, shortcut, 4 * inner, 1, 1, f"{name}_shortcut")
    return K.layers.ReLU(name=f"{name}_relu")(K.layers.Add(name=f"{name}_add")([shortcut, deep]))


def _conv_norm(K: Any, x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    conv = K.layers.Conv2D(
        filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
    )
    return K.layers.BatchNormalization(name=f"{name}_bn")(conv(x))


def _conv_norm_relu(K: Any, x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    return K.layers.ReLU(name=f"{name}_relu")(_conv_norm(K, x, filters, kernel, stride, name))
