"""A strided convolution of twice the filters, a ReLU, and a 1x1 convolution.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  u * relu(conv_{s*q}(x; v)[j]),  v = (w', -w'),  u = (1, -1)
    a = relu(a) - relu(-a)

where w' is the mean kernel that covers the pair, so that by the second line it starts as the mean.
Maxima are sums of such ReLUs, which a fit can find and one convolution cannot express.
"""

from dataclasses import replace

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import mirrored, mirrored_sum, pair_mean
from keras_downswap.ir.replacement import MakeConv
from keras_downswap.ir.types import Array
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, conv, conv_relu, max_pool
from keras_downswap.rulekit.fixed_kernels import FixedKernel, fixed_conv
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import (
    composed_span,
    composing,
    covering_leads,
    pointwise_windows,
)


@rule(
    targets=["strided_conv"],
    promise=Promise.APPROXIMATE,
    anchors=is_pool,
    rank=-2,
    form="wide",
)
@swaps(MAP, conv_relu(), max_pool())
@refuses(MAP, conv(groups=2), max_pool(), reason="is no plain convolution")
def pool_into_wide(graph: Graph, pool: Call) -> Replacement:
    """Convolution, pool -> strided convolution of twice the filters, ReLU, 1x1 convolution."""
    return in_each_branch(graph, pool, _wide, padded=True)


def _wide(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    facts = conv.conv
    plain = facts.kind is LayerKind.CONV and facts.groups == 1
    require(plain, f"{conv.label} is no plain convolution, whose filters could be doubled")
    own = not facts.has_fixed_kernel
    require(own, f"{conv.label} was made by another swap and has no weights of its own")
    assert facts.filters is not None

    windows = composed_span(conv, branch.pool)
    leads = covering_leads(graph, conv, branch.pool)
    kernel = composing(_mirrored_mean, conv, branch.pool)
    *padding, strided = fused_conv(graph, branch, windows, leads, kernel)
    assert isinstance(strided, MakeConv)
    # Always a bias: a fit needs an offset for each ReLU, also where the convolution had none.
    wide = replace(strided, use_bias=True, bias=mirrored)
    wide = replace(wide, filters=2 * facts.filters, activation="relu")
    # The activation follows the 1x1 convolution, whose outputs stand for those of the old one.
    point = pointwise_windows(conv)
    name = f"{conv.name}_narrow"
    fixed = FixedKernel(name, point, mirrored_sum, facts.activation, frozen=False)
    narrow = fixed_conv(conv, fixed, facts.filters)
    return (*padding, wide, replace(narrow, use_bias=facts.use_bias))


def _mirrored_mean(
    kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    return mirrored(pair_mean(kernel, dilation, pool, stride))
