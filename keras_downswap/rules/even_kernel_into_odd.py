"""An even kernel is an odd one with a tap of zero.

    conv(x; w) = conv(x; w'),    w' = w with one zero before or behind it

Before where that gives a plain padding and behind does not; else a layer pads one cell more.
"""

from keras_downswap.embed import embedded
from keras_downswap.emit import conv_layer
from keras_downswap.graph import Call, Graph, Role
from keras_downswap.needs import require_bias_in_place, require_conv
from keras_downswap.rule import Promise, Replacement, Rule


def even_kernel_into_odd(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a convolution with an even kernel for one with an odd kernel and the same values."""
    require_conv(conv)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    sizes = frozenset(range(1, 2 + max(w.size for w in conv.windows), 2))
    padding = conv.windows[0].padding
    steps = embedded(conv, conv_layer(conv, conv.windows, padding), graph.sizes(conv), sizes)
    return Replacement((conv.index,), {conv.index: steps})


def is_even_conv(call: Call) -> bool:
    """Anchor at convolutions with an even kernel size along some axis."""
    return call.role is Role.CONV and any(w.size % 2 == 0 for w in call.windows)


RULE = Rule(
    name="even_kernel_into_odd",
    targets=frozenset({"odd_kernel"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_even_conv,
    apply=even_kernel_into_odd,
    summary="convolution with an even kernel -> the same with an odd kernel",
)
