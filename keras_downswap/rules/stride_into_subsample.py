"""A strided convolution is the stride-1 convolution, subsampled.

    conv_s(x)[j] = conv_1(x)[j * s]    if both start at the same cell

`same` starts at a cell that depends on the stride and on the length: for n even, k = 3 and s = 2 it
pads (0, 1) where the stride-1 convolution pads (1, 1). So the strided convolution's lead is held,
by explicit padding where need be.
"""

from keras_downswap.ir.geometry import SizeMap, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_conv,
    require_free_name,
    require_position_free,
)
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import known_leads


def stride_into_subsample(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided convolution for a stride-1 convolution with the same weights and a max pool of size 1."""
    require_conv(conv)
    require_free_name(graph, conv)
    require_position_free(conv)
    windows = [Window(w.size, 1, w.dilation) for w in conv.windows]
    laws = [SizeMap(w.law.offset - (w.stride - 1), 1) for w in conv.windows]
    sizes = graph.sizes(conv)
    wide = None if sizes[-1] is None else laws[-1](sizes[-1])
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], wide)
    fits = [
        fit_padding(window, law, n, lead, causal=may_be_causal(conv))
        for window, law, n, lead in zip(windows, laws, sizes, known_leads(graph, conv), strict=True)
    ]
    pool = pool_layer(
        "MaxPooling", f"{conv.name}_pool", [Window(1, w.stride) for w in conv.windows], conv, conv
    )
    return Replacement((conv.index,), {conv.index: (*conv_with_padding(conv, windows, fits), pool)})


RULE = Rule(
    name="stride_into_subsample",
    targets=frozenset({"subsample"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_strided_conv,
    apply=stride_into_subsample,
    summary="strided convolution -> convolution, pool of size 1, same kernel",
)
