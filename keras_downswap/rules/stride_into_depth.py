"""A stride becomes channels: every s-th cell goes into channels of its own, and a stride-1 convolution reads those.

    conv_s(x; w)[j] = conv_1(y; w')[j],    y[j, i] = x[j*s + i],  w'[t, i] = w[t*s + i]

with zeros behind the kernel up to a multiple of s, ceil(k / s) taps in all. Keras has no
space-to-depth layer, so Reshape and Permute do it, which need the lengths: a convolution of unknown
lengths stays.
"""

from functools import partial
from math import prod

from keras_downswap.ir.geometry import FittedPadding, Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import folded
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.rulekit.fixed_kernels import depth_of
from keras_downswap.rulekit.layers import conv_layer, padding_layers
from keras_downswap.rulekit.preconditions import require_bias_in_place, require_conv
from keras_downswap.rulekit.rule import Promise, Rule, require
from keras_downswap.rulekit.windows import known_leads


def stride_into_depth(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided convolution for space-to-depth layers and a stride-1 convolution with the same values."""
    require_conv(conv)
    ordinary = conv.settings["kind"] == "Conv" and conv.settings["groups"] == 1
    require(ordinary, f"{conv.label} looks at channels in groups, which space-to-depth would mix")
    require(conv.windows[0].dilation == 1, f"{conv.label} is dilated")
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    strides = tuple(w.stride for w in conv.windows)
    taps = [-(-w.size // w.stride) for w in conv.windows]
    fits, blocks = [], []
    for axis, (w, n, lead, k) in enumerate(
        zip(conv.windows, graph.sizes(conv), known_leads(graph, conv), taps, strict=True)
    ):
        require(
            n is not None,
            f"{conv.label} has an unknown length (spatial axis {axis}), and Keras' Reshape needs it",
        )
        blocks.append(w.law(n or 0) + k - 1)
        fits.append(FittedPadding(lead, blocks[-1] * w.stride - (n or 0) - lead, frozenset()))
    depth = depth_of(graph, conv)
    layers = _to_depth(conv, blocks, strides, depth)
    new = conv_layer(conv, [Window(k) for k in taps], "valid", partial(folded, stride=strides))
    return Replacement((conv.index,), {conv.index: (*padding_layers(conv, fits), *layers, new)})


def _to_depth(
    conv: Call, blocks: list[int], strides: tuple[int, ...], depth: int
) -> tuple[Make, ...]:
    """Return the layers that move each block of cells into channels, cells before old channels."""
    rank, cells = len(blocks), prod(strides)
    apart = [n for pair in zip(blocks, strides, strict=True) for n in pair]
    if conv.channels_last:
        first, last = [*apart, depth], [*blocks, cells * depth]
        order = [*range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1]
    else:
        first, last = [depth, *apart], [cells * depth, *blocks]
        order = [*range(3, 2 * rank + 2, 2), 1, *range(2, 2 * rank + 1, 2)]
    names = (f"{conv.name}_blocks", f"{conv.name}_cells", f"{conv.name}_depth")
    made = [
        Make("Reshape", 0, names[0], {"target_shape": tuple(first)}, conv.layer),
        Make("Permute", 0, names[1], {"dims": tuple(order)}, conv.layer),
        Make("Reshape", 0, names[2], {"target_shape": tuple(last)}, conv.layer),
    ]
    return tuple(made[2:] if rank == 1 and conv.channels_last else made)


RULE = Rule(
    name="stride_into_depth",
    targets=frozenset({"space_to_depth"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_strided_conv,
    apply=stride_into_depth,
    summary="strided convolution -> space-to-depth (Reshape, Permute), convolution",
)
