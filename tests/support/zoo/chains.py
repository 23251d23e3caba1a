"""Chains: every kind of convolution, pool and elementwise layer in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.zoo.trap import AVERAGED, COMPOSED, COPIED, SQUARE, TRAPS, Build, Trap
from support.zoo.trap import FIRST as CF

HALF = {"dtype": "mixed_float16"}


CHAINS: dict[str, tuple[tuple[Any, ...], Callable[[Any], list[Any]]]] = {
    "article_pair": (
        (32, 32, 3),
        lambda L: [L.Conv2D(32, (3, 3), activation="relu"), L.MaxPooling2D((2, 2))],
    ),
    "conv_norm_relu_max": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(2)],
    ),
    "conv_average": (SQUARE, lambda L: [L.Conv2D(4, 3, padding="same"), L.AveragePooling2D(2)]),
    "conv_norm_average": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.BatchNormalization(), L.AveragePooling2D(2)],
    ),
    "conv_average_same_padded": (
        (15, 15, 3),
        lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(2, padding="same")],
    ),
    "odd_sizes": ((33, 33, 3), lambda L: [L.Conv2D(4, 3, padding="same"), L.MaxPooling2D(2)]),
    "odd_sizes_average": (
        (33, 31, 3),
        lambda L: [L.Conv2D(4, (2, 5), padding="same"), L.AveragePooling2D((3, 2))],
    ),
    "unknown_sizes": (
        (None, None, 3),
        lambda L: [
            L.Conv2D(4, 3, padding="same"),
            L.MaxPooling2D(2),
            L.Conv2D(4, 3),
            L.AveragePooling2D(2),
        ],
    ),
    "unknown_sizes_strided": (
        (None, None, 3),
        lambda L: [
            L.Conv2D(4, 3, 2, padding="same"),
            L.ReLU(),
            L.Conv2D(4, 2, 2),
            L.MaxPooling2D(3, 2),
        ],
    ),
    "channels_first_average": (
        (3, 17, 16),
        lambda L: [L.Conv2D(4, 3, **CF), L.AveragePooling2D(2, **CF)],
    ),
    "channels_first_max": (
        (3, 33, 33),
        lambda L: [
            L.Conv2D(4, 3, padding="same", **CF),
            L.BatchNormalization(axis=1),
            L.MaxPooling2D(2, **CF),
        ],
    ),
    "channels_first_strided": (
        (3, 17, 17),
        lambda L: [L.Conv2D(4, 3, 2, padding="same", **CF), L.ReLU(), L.BatchNormalization(axis=1)],
    ),
    "channels_first_as_wide_as_deep": (
        (3, 8, 8),
        lambda L: [
            L.Conv2D(4, 3, padding="same", **CF),
            L.AveragePooling2D(2, **CF),
            L.Conv2D(2, 3, 2, "same", **CF),
        ],
    ),
    "channels_first_probed_as_wide_as_deep": (
        (3, 3, 16),
        lambda L: [L.Conv2D(4, (3, 2), (3, 2), **CF)],
    ),
    "channels_first_row": (
        (4, 17),
        lambda L: [L.Conv1D(4, 3, padding="same", **CF), L.MaxPooling1D(2, **CF)],
    ),
    "groups": ((16, 16, 4), lambda L: [L.Conv2D(8, 3, groups=2), L.AveragePooling2D(2)]),
    "strided_conv_then_pool": (
        (17, 17, 3),
        lambda L: [L.Conv2D(4, 5, 2, padding="same"), L.MaxPooling2D(2)],
    ),
    "strided_conv_then_average": (
        (19, 19, 3),
        lambda L: [L.Conv2D(4, 3, 2), L.AveragePooling2D(2)],
    ),
    "causal_row": (
        (21, 4),
        lambda L: [L.Conv1D(4, 3, padding="causal"), L.ReLU(), L.MaxPooling1D(2)],
    ),
    "causal_average": (
        (21, 4),
        lambda L: [L.Conv1D(4, 3, 2, padding="causal"), L.AveragePooling1D(2)],
    ),
    "volume": (
        (9, 8, 10, 2),
        lambda L: [
            L.Conv3D(2, 3, padding="same"),
            L.AveragePooling3D(2),
            L.Conv3D(2, 2),
            L.MaxPooling3D((1, 2, 2)),
        ],
    ),
    "anisotropic_pool": (
        (20, 21, 3),
        lambda L: [L.Conv2D(4, (3, 5)), L.MaxPooling2D((2, 3), (3, 2))],
    ),
    "overlapping_pool": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.MaxPooling2D(3, 2, "same"), L.AveragePooling2D(3, 2)],
    ),
    "pool_strides_far": (SQUARE, lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(2, 3)]),
    "pool_without_stride": (SQUARE, lambda L: [L.Conv2D(4, 3), L.AveragePooling2D(4, 1)]),
    "subsampling_pool": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, padding="same"), L.ELU(), L.MaxPooling2D(1, 2)],
    ),
    "dilated": ((20, 20, 3), lambda L: [L.Conv2D(4, 3, dilation_rate=2), L.MaxPooling2D(2)]),
    "dilated_average": (
        (20, 20, 3),
        lambda L: [L.Conv2D(4, 3, dilation_rate=(2, 3)), L.AveragePooling2D(2)],
    ),
    "pool_after_pool": (
        (32, 32, 3),
        lambda L: [L.Conv2D(4, 3), L.MaxPooling2D(2), L.MaxPooling2D(2)],
    ),
    "strided_only": (
        (17, 18, 3),
        lambda L: [L.Conv2D(4, 3, (2, 3), "same", activation="relu"), L.Conv2D(4, 1, 2)],
    ),
    "other_convolutions": (
        (17, 17, 4),
        lambda L: [
            L.DepthwiseConv2D(3, 2),
            L.SeparableConv2D(4, 3, 2),
            L.Conv2DTranspose(4, 3, 2),
            L.MaxPooling2D(2),
        ],
    ),
    "depthwise_max": (
        (17, 17, 4),
        lambda L: [L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"), L.MaxPooling2D(2)],
    ),
    "depthwise_average": (
        (18, 17, 4),
        lambda L: [
            L.DepthwiseConv2D((3, 2), padding="same"),
            L.BatchNormalization(),
            L.AveragePooling2D(2),
        ],
    ),
    "separable_average": (
        (17, 17, 3),
        lambda L: [
            L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
            L.AveragePooling2D(2),
        ],
    ),
    "separable_row": (
        (21, 3),
        lambda L: [L.SeparableConv1D(4, 3, 2), L.AveragePooling1D(3, 2), L.ReLU()],
    ),
    "depthwise_row": (
        (21, 3),
        lambda L: [L.DepthwiseConv1D(3, padding="same"), L.MaxPooling1D(1, 2)],
    ),
    "depthwise_dilated": (
        (20, 20, 3),
        lambda L: [L.DepthwiseConv2D(3, dilation_rate=2), L.AveragePooling2D(2)],
    ),
    "depthwise_unequal_strides": (
        (20, 20, 3),
        lambda L: [L.DepthwiseConv2D(3), L.AveragePooling2D((2, 3))],
    ),
    "separable_strided": (
        (18, 17, 3),
        lambda L: [L.SeparableConv2D(4, 3, 2, padding="same", use_bias=False)],
    ),
    "global_pools": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, 2), L.ReLU(), L.AveragePooling2D(7), L.GlobalMaxPooling2D()],
    ),
    "frozen": (
        SQUARE,
        lambda L: [
            L.Conv2D(4, 3, trainable=False),
            L.BatchNormalization(trainable=False),
            L.AveragePooling2D(2),
        ],
    ),
    "half": (
        SQUARE,
        lambda L: [
            L.Conv2D(4, 3, **HALF),
            L.AveragePooling2D(2, **HALF),
            L.Conv2D(4, 3, 2, **HALF),
        ],
    ),
    "half_then_float": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, 2, **HALF), L.ReLU(dtype="float32"), L.Conv2D(4, 3)],
    ),
    "pool_that_casts": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.MaxPooling2D(2, 1, dtype="float64"), L.ReLU()],
    ),
    "lambda_activation": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3, activation=lambda x: x * x), L.MaxPooling2D(1, 2)],
    ),
    "own_activation": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.Activation(lambda x: x * 0.5), L.MaxPooling2D(2)],
    ),
    "stem_of_resnet": (
        (33, 32, 3),
        lambda L: [
            L.ZeroPadding2D(3),
            L.Conv2D(4, 7, 2),
            L.BatchNormalization(),
            L.ReLU(),
            L.ZeroPadding2D(1),
            L.MaxPooling2D(3, 2),
        ],
    ),
    "padded_further_on": (
        (20, 21, 3),
        lambda L: [L.Conv2D(4, 3), L.ReLU(), L.ZeroPadding2D(((0, 1), (2, 0))), L.MaxPooling2D(2)],
    ),
    "padded_average": (
        SQUARE,
        lambda L: [L.Conv2D(4, 3), L.ZeroPadding2D(1), L.AveragePooling2D(2)],
    ),
    "averages_before_conv": (
        (33, 36, 3),
        lambda L: [
            L.ReLU(),
            L.AveragePooling2D(2),
            L.AveragePooling2D(2),
            L.Conv2D(4, 3, padding="same"),
        ],
    ),
    "seeds": (
        SQUARE,
        lambda L: [
            L.RandomFlip(seed=3),
            L.Conv2D(4, 3),
            L.Dropout(0.5),
            L.GaussianNoise(1.0),
            L.MaxPooling2D(2),
        ],
    ),
    "repeated_layer": (
        SQUARE,
        lambda L: [(twice := L.Conv2D(3, 3, padding="same")), twice, L.MaxPooling2D(2)],
    ),
}


def chain(shape: tuple[Any, ...], layers: Callable[[Any], list[Any]], sequential: bool) -> Build:
    def build(K: Any) -> Any:
        x = inputs = K.Input(shape)
        if sequential:
            return K.Sequential([inputs, *layers(K.layers)])
        for layer in layers(K.layers):
            x = layer(x)
        return K.Model(inputs, x)

    return build


COPIES = (
    "article_pair",
    "conv_norm_relu_max",
    "conv_average_same_padded",
    "odd_sizes",
    "unknown_sizes_strided",
    "channels_first_max",
    "channels_first_row",
    "depthwise_max",
    "strided_conv_then_pool",
    "causal_row",
    "anisotropic_pool",
    "own_activation",
    "seeds",
    "stem_of_resnet",
    "padded_further_on",
)
COMPOSITIONS = (
    "conv_average",
    "conv_norm_average",
    "odd_sizes_average",
    "channels_first_average",
    "groups",
    "strided_conv_then_average",
    "causal_average",
    "pool_strides_far",
    "pool_without_stride",
    "dilated_average",
    "frozen",
    "half",
    "depthwise_average",
    "separable_average",
    "separable_row",
    "depthwise_dilated",
)
RULES: dict[str, tuple[str, ...] | None] = {
    "channels_first_as_wide_as_deep": None,
    **dict.fromkeys(("lambda_activation", "depthwise_unequal_strides"), (AVERAGED,)),
    **dict.fromkeys(COPIES, (COPIED,)),
    **dict.fromkeys(COMPOSITIONS, (COMPOSED,)),
    **dict.fromkeys(("unknown_sizes", "volume"), (COPIED, COMPOSED)),
    "overlapping_pool": (f"{COPIED} + {COMPOSED}",),
    "pool_after_pool": (f"{COPIED} + {COPIED}",),
    "padded_average": (AVERAGED,),
    "averages_before_conv": ("average_pool_into_next_kernel + average_pool_into_next_kernel",),
    "subsampling_pool": ("pool_of_one_into_stride",),
    "depthwise_row": ("pool_of_one_into_stride",),
}

BACKENDS: dict[str, dict[str, Any]] = {"pool_that_casts": {"backends": ("tensorflow",)}}
"""JAX has no float64 unless it is asked for."""

for name, parts in CHAINS.items():
    TRAPS[name] = Trap(
        chain(*parts, sequential=False), RULES.get(name, ()), **BACKENDS.get(name, {})
    )
for name in ("article_pair", "repeated_layer", "pool_that_casts"):
    facts = BACKENDS.get(name, {})
    TRAPS[f"sequential_{name}"] = Trap(
        chain(*CHAINS[name], sequential=True), RULES.get(name, ()), **facts
    )
