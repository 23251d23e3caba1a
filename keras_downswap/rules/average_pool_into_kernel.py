"""An average pool after a convolution is a longer kernel with a larger stride.

    mean_{i<p} conv_s(x; w)[j*q + i] = conv_{s*q}(x; w')[j],    w'[t] = (1/p) * sum_{i<p} w[t - i*s]

axis by axis, with the same bias. Per-channel affine maps (BatchNormalization at inference) commute
with the average, so they may stand between. Where the pool pads, its divisor changes from window to
window: no single kernel does that.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import pair_mean
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    conv_relu,
    dilated_conv,
    max_pool,
    padded_average_pool,
    strided_conv,
)
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_means,
    require_never_pads,
)
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.windows import composed_span, composing, known_leads, lengths_after


@rule(targets=["strided_conv", "conv_relu", "cheapest"], promise=Promise.EXACT, anchors=is_pool)
@swaps(MAP, conv(), batch_norm(), average_pool())
@swaps(ODD, conv(size=(2, 5)), average_pool(3, 2))
@swaps(ODD, strided_conv(), average_pool())
@swaps(MAP, dilated_conv(), average_pool(4))
@refuses(MAP, conv(), max_pool(), reason="computes maxima, which no single convolution")
@refuses(MAP, conv_relu(), average_pool(), reason="only linear maps commute")
@refuses(ODD, conv(), padded_average_pool(), reason="its divisor changes")
def average_pool_into_kernel(graph: Graph, pool: Call) -> Replacement:
    """Convolution, average pool -> one strided convolution with the composed kernel."""
    return in_each_branch(graph, pool, _composed)


def _composed(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    pool = branch.pool
    require_means(pool)
    require_linear(conv, branch.between)
    require_bias_in_place(graph, conv, after=pool)
    require_never_pads(graph, pool, lengths_after(graph, conv))
    windows = composed_span(conv, pool)
    # The pool pads nothing, so the pair's first window starts where the convolution's did.
    leads = known_leads(graph, conv)
    kernel = composing(pair_mean, conv, pool)
    return fused_conv(graph, branch, windows, leads, kernel)
