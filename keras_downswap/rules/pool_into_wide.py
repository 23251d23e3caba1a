"""A strided convolution of twice the filters, a ReLU, and a 1x1 convolution.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  u * relu(conv_{s*q}(x; v)[j]),  v = (w', -w'),  u = (1, -1)

where w' is the mean kernel that covers the pair, so that it starts as the mean: a = relu(a) -
relu(-a). Maxima are sums of such ReLUs, which a fit can find and one convolution cannot express.
"""

from dataclasses import replace

from keras_downswap.ir.kernel_math import mirrored, mirrored_sum, pair_mean
from keras_downswap.ir.types import Array
from keras_downswap.rulekit import (
    Call,
    Graph,
    LayerKind,
    Make,
    MakeConv,
    Promise,
    Replacement,
    Window,
    is_pool,
    require,
    rule,
)
from keras_downswap.rulekit.examples import MAP, conv, max_pool, refuses, swaps
from keras_downswap.rulekit.fixed_kernels import fixed_conv
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.windows import composed_span, composing, covering_leads


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    rank=-2,
    form="wide",
)
@swaps(MAP, conv(activation="relu"), max_pool())
@refuses(MAP, conv(groups=2), max_pool(), reason="is no plain convolution")
def pool_into_wide(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution of twice the filters, ReLU, 1x1 convolution."""
    return in_each_branch(graph, pool, _wide, padded=True)


def _wide(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    facts = conv.conv
    plain = facts.kind is LayerKind.CONV and facts.groups == 1
    require(plain, f"{conv.label} is no plain convolution, whose filters could be doubled")
    own = not facts.has_fixed_kernel
    require(own, f"{conv.label} was made by another swap and has no weights of its own")
    assert facts.filters is not None

    windows = composed_span(conv, pool)
    leads = covering_leads(graph, conv, pool)
    kernel = composing(_mirrored_mean, conv, pool)
    *padding, strided = fused_conv(graph, conv, pool, windows, leads, kernel)
    assert isinstance(strided, MakeConv)
    wide = replace(
        strided, filters=2 * facts.filters, activation="relu", use_bias=True, bias=mirrored
    )
    point = [Window(1)] * len(conv.windows)
    narrow = fixed_conv(
        conv,
        f"{conv.name}_narrow",
        point,
        mirrored_sum,
        facts.filters,
        activation=facts.activation,
        frozen=False,
    )
    return (*padding, wide, replace(narrow, use_bias=facts.use_bias))


def _mirrored_mean(
    kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    return mirrored(pair_mean(kernel, dilation, pool, stride))
