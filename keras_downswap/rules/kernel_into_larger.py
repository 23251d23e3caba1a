"""A kernel is a larger one with zeros around it.

    conv(x; w) = conv(x; w'),    w' = w with zeros before and behind it

as many before as give a plain padding, if any do; else a layer pads for them. `odd_kernel` makes
even kernels odd, one tap larger; within a profile's limits a kernel grows to the next size that is
taken.
"""

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.kernel_padding import with_larger_kernel
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.preconditions import require_bias_in_place, require_conv
from keras_downswap.rulekit.rule import Promise, Rule


def kernel_into_larger(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a convolution with an even kernel for one with an odd kernel and the same values."""
    require_conv(conv)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1])
    sizes = frozenset(range(1, 2 + max(w.size for w in conv.windows), 2))
    same = conv_layer(conv, conv.windows, conv.windows[0].padding)
    return Replacement(
        (conv.index,), {conv.index: with_larger_kernel(conv, same, graph.sizes(conv), sizes)}
    )


def is_even_conv(call: Call) -> bool:
    """Anchor at convolutions with an even kernel size along some axis."""
    return call.role is Role.CONV and any(w.size % 2 == 0 for w in call.windows)


RULE = Rule(
    name="kernel_into_larger",
    targets=frozenset({"odd_kernel"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_even_conv,
    apply=kernel_into_larger,
    summary="convolution with an even kernel -> the same with an odd kernel",
)
