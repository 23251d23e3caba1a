"""A kernel is a larger one with zeros around it.

    conv(x; w) = conv(x; w'),    w' = w with zeros before and after it

as many before as give a plain padding, if any do; else a layer pads for them. `odd_kernel` makes
even kernels odd, one tap larger; within a profile's limits a kernel grows to the next accepted
size.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_even_conv
from keras_downswap.ir.replacement import MakeConv
from keras_downswap.rulekit import NotApplicable, Promise, Replacement, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, OPEN, conv
from keras_downswap.rulekit.kernel_padding import with_larger_kernel
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.preconditions import require_bias_in_place, require_conv
from keras_downswap.rulekit.replacements import replace_call


def same_conv(graph: Graph, conv: Call) -> Replacement:
    """Return a convolution as the replacement of itself, to be enlarged within limits."""
    require_conv(conv)
    return replace_call(conv, _unchanged(conv))


@rule(targets=["odd_kernel"], promise=Promise.EXACT, anchors=is_even_conv, enlarge=same_conv)
@swaps(MAP, conv(size=4))
@swaps(ODD, conv(size=(2, 3), strides=2))
@refuses(OPEN, conv(size=4, strides=3), reason="first tap that depends on an unknown length")
def kernel_into_larger(graph: Graph, conv: Call) -> Replacement:
    """Convolution with an even kernel -> the same with an odd kernel."""
    require_conv(conv)
    require_bias_in_place(graph, conv)
    same = _unchanged(conv)
    # Some axis may be odd already, and stays: so every odd number is accepted, up to one more tap.
    largest = max(window.size for window in conv.windows)
    odd = frozenset(range(1, largest + 2, 2))
    larger = with_larger_kernel(conv, same, graph.sizes(conv), odd)
    return replace_call(conv, *larger)


def _unchanged(conv: Call) -> MakeConv:
    padding = conv.windows[0].padding
    # The explicit padding is that of a layer, which would have to be replaced together with it.
    if isinstance(padding, tuple):
        raise NotApplicable(f"{conv.label} was made by another swap, and a layer pads for it")
    return conv_layer(conv, conv.windows, padding)
