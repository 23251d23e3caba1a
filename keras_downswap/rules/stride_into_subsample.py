"""A strided convolution is the stride-1 convolution, subsampled.

    conv_s(x)[j] = conv_1(x)[j * s]    if both start at the same cell

`same` starts at a cell that depends on the stride and on the length: for n even, k = 3 and s = 2 it
pads (0, 1) where the stride-1 convolution pads (1, 1). So the strided convolution's lead is held,
by explicit padding where need be.
"""

from keras_downswap.rulekit import (
    Call,
    Graph,
    LayerKind,
    Promise,
    Replacement,
    SizeMap,
    Window,
    fit_padding,
    is_strided_conv,
    rule,
)
from keras_downswap.rulekit.examples import MAP, ODD, conv, refuses, swaps
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_conv,
    require_free_name,
    require_position_free,
)
from keras_downswap.rulekit.windows import known_leads


@rule(
    targets=["subsample"],
    promise=Promise.EXACT,
    anchors=is_strided_conv,
    verbatim=True,
)
@swaps(MAP, conv(strides=2))
@swaps(ODD, conv(size=7, strides=2))
@swaps(ODD, conv(size=4, strides=3, padding="valid"))
@refuses((None, None, 4), conv(strides=2), reason="so no fixed padding keeps the values")
def stride_into_subsample(graph: Graph, conv: Call) -> Replacement:
    """Strided convolution -> convolution, pool of size 1, same kernel."""
    require_conv(conv)
    require_free_name(graph, conv)
    require_position_free(conv)
    # A stride of 1 gives just enough outputs for every s-th of them to be the strided ones.
    laws = [SizeMap(w.law.offset - (w.stride - 1), 1) for w in conv.windows]
    sizes = graph.sizes(conv)
    width = None if sizes[-1] is None else laws[-1](sizes[-1])
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], width)

    dense = [Window(w.size, 1, w.dilation) for w in conv.windows]
    leads = known_leads(graph, conv)
    causal = may_be_causal(conv)
    fits = []
    for window, law, n, lead in zip(dense, laws, sizes, leads, strict=True):
        fits.append(fit_padding(window, law, n, lead, causal=causal))
    cells = [Window(1, window.stride) for window in conv.windows]
    pool = pool_layer(LayerKind.MAX_POOLING, f"{conv.name}_pool", cells, conv, conv)
    steps = (*conv_with_padding(conv, dense, fits), pool)
    return Replacement((conv.index,), {conv.index: steps})
