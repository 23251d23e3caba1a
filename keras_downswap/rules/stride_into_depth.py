"""A stride becomes channels: every s-th cell goes into channels of its own.

    conv_s(x; w)[j] = conv_1(y; w')[j],    y[j, i] = x[j*s + i],  w'[t, i] = w[t*s + i]

with zeros after the kernel up to a multiple of s, ceil(k / s) taps in all. Keras has no
space-to-depth layer, so Reshape and Permute do it, which need the lengths: a convolution of unknown
lengths stays.
"""

from functools import partial
from math import ceil, prod

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import FittedPadding, Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import folded
from keras_downswap.ir.replacement import MakePermute, MakeReshape
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, OPEN, conv, strided_conv
from keras_downswap.rulekit.fixed_kernels import depth_of
from keras_downswap.rulekit.layers import Layers, conv_layer, padding_layers
from keras_downswap.rulekit.preconditions import require_bias_in_place, require_conv
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.rule import Refused, require
from keras_downswap.rulekit.windows import known_leads, windows_with_lengths


@rule(targets=["space_to_depth"], promise=Promise.EXACT, anchors=is_strided_conv)
@swaps(MAP, strided_conv())
@swaps(ODD, conv(size=7, strides=3))
@refuses(MAP, strided_conv(groups=2), reason="looks at channels in groups")
@refuses(OPEN, strided_conv(padding="valid"), reason="Reshape needs it")
def stride_into_depth(graph: Graph, conv: Call) -> Replacement:
    """Strided convolution -> space-to-depth (Reshape, Permute), convolution."""
    require_conv(conv)
    ordinary = conv.conv.kind is LayerKind.CONV and conv.conv.groups == 1
    require(ordinary, f"{conv.label} looks at channels in groups, which space-to-depth would mix")
    require(conv.windows[0].dilation == 1, f"{conv.label} is dilated")
    require_bias_in_place(graph, conv)

    strides = tuple(window.stride for window in conv.windows)
    taps = [ceil(window.size / window.stride) for window in conv.windows]
    leads = known_leads(graph, conv)
    fits = []
    blocks = []
    for axis, (window, length) in enumerate(windows_with_lengths(graph, conv)):
        if length is None:
            unknown = f"an unknown length (spatial axis {axis}), and Keras' Reshape needs it"
            raise Refused(f"{conv.label} has {unknown}")
        # The stride-1 convolution over blocks has as many outputs as before, so it needs:
        count = window.law(length) + taps[axis] - 1
        # Blocks start at the first tap of a window, so padding shifts them by the lead.
        before = leads[axis]
        after = count * window.stride - length - before
        fits.append(FittedPadding(before, after, frozenset()))
        blocks.append(count)
    layers = _space_to_depth(conv, blocks, strides, depth_of(graph, conv))
    dense = [Window(count) for count in taps]
    new = conv_layer(conv, dense, "valid", partial(folded, stride=strides))
    return replace_call(conv, *padding_layers(conv, fits), *layers, new)


def _space_to_depth(conv: Call, blocks: list[int], strides: tuple[int, ...], depth: int) -> Layers:
    """Return the layers that move each block of cells into channels, cells before old channels.

    Each spatial axis is split into (block, cell in the block); then the cells of all axes go next
    to the channels.
    """
    rank = len(blocks)
    split: list[int] = []
    for block, stride in zip(blocks, strides, strict=True):
        split += [block, stride]
    moved_depth = prod(strides) * depth
    # Permute counts the axes after the batch axis from 1.
    if conv.channels_last:
        target = [*split, depth]
        final = [*blocks, moved_depth]
        block_axes = range(1, 2 * rank, 2)
        cell_axes = range(2, 2 * rank + 1, 2)
        order = [*block_axes, *cell_axes, 2 * rank + 1]
    else:
        # The cells go before the channels here too: the folded kernel counts them in that order.
        target = [depth, *split]
        final = [moved_depth, *blocks]
        cell_axes = range(3, 2 * rank + 2, 2)
        block_axes = range(2, 2 * rank + 1, 2)
        order = [*cell_axes, 1, *block_axes]
    name = conv.name
    beside = conv.layer
    apart = MakeReshape(f"{name}_blocks", beside, LayerKind.RESHAPE, tuple(target))
    permuted = MakePermute(f"{name}_cells", beside, LayerKind.PERMUTE, tuple(order))
    together = MakeReshape(f"{name}_depth", beside, LayerKind.RESHAPE, tuple(final))
    if rank == 1 and conv.channels_last:
        # The cells of the one axis stand before the channels already.
        return (together,)
    return (apart, permuted, together)
