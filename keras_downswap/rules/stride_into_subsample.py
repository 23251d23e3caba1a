"""A strided convolution is the stride-1 convolution, subsampled.

    conv_s(x)[j] = conv_1(x)[j * s]    if both start at the same cell

`same` starts at a cell that depends on the stride and on the length: for n even, k = 3 and s = 2 it
pads (0, 1) where the stride-1 convolution pads (1, 1). So the strided convolution's lead is held,
by explicit padding where need be.
"""

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import SizeMap, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, OPEN, conv, strided_conv
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_off_widths,
    require_conv,
    require_free_name,
    require_position_free,
)
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.windows import (
    known_leads,
    subsampling_windows,
    unstrided,
    windows_with_lengths,
)


@rule(targets=["subsample"], promise=Promise.EXACT, anchors=is_strided_conv, verbatim=True)
@swaps(MAP, strided_conv())
@swaps(ODD, strided_conv(size=7))
@swaps(ODD, conv(size=4, strides=3, padding="valid"))
@refuses(OPEN, strided_conv(), reason="so no fixed padding keeps the values")
def stride_into_subsample(graph: Graph, conv: Call) -> Replacement:
    """Strided convolution -> convolution, pool of size 1, same kernel."""
    require_conv(conv)
    require_free_name(graph, conv)
    require_position_free(conv)
    width = graph.output_shape(conv)[-1]
    last_length = graph.sizes(conv)[-1]
    dense_width = None
    if last_length is not None:
        dense_width = _dense_law(conv.windows[-1])(last_length)
    require_bias_off_widths(graph, conv, [width, dense_width])

    dense = unstrided(conv.windows)
    leads = known_leads(graph, conv)
    causal = may_be_causal(conv)
    fits = []
    axes = windows_with_lengths(graph, conv)
    for (window, length), new, lead in zip(axes, dense, leads, strict=True):
        fit = fit_padding(new, _dense_law(window), length, lead, causal)
        fits.append(fit)
    layers = conv_with_padding(conv, dense, fits)
    # A pool over single cells keeps every s-th value as it is.
    cells = subsampling_windows(conv)
    pool = pool_layer(LayerKind.MAX_POOLING, f"{conv.name}_pool", cells, conv)
    return replace_call(conv, *layers, pool)


def _dense_law(window: Window) -> SizeMap:
    """Return the law of a stride of 1 with just enough outputs to subsample those of a window."""
    # The last of (n + offset) // s outputs is the dense output number n + offset - s at most.
    return SizeMap(window.law.offset - (window.stride - 1), 1)
