"""An average pool after a non-linear map is a mean over one set of filters per cell of its window.

    mean_{i<p} f(conv_s(x; w)[j*q + i]) = (1/p) * sum_{i<p} f(conv_{s*q}(x; w_i)[j])

with w_i[t] = w[t - i*s] and f elementwise. One strided convolution computes all cells of a window
as channels side by side, f treats them alike, and a fixed 1x1 convolution computes their mean. The
kernels are the old one among zeros, the bias is repeated.
"""

from dataclasses import replace
from functools import partial
from math import prod

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import dilated, group_mean, phases, repeated
from keras_downswap.ir.predicates import ALONG_LAST_AXIS
from keras_downswap.ir.replacement import MakeConv
from keras_downswap.ir.types import Array
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    conv,
    max_pool,
    relu,
    separable_conv,
)
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_conv
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch, branches_upstream
from keras_downswap.rulekit.preconditions import require_never_pads, require_position_free
from keras_downswap.rulekit.replacements import Steps, replace_calls
from keras_downswap.rulekit.rule import require, skip_unless
from keras_downswap.rulekit.windows import (
    composed_span,
    composing,
    known_leads,
    lengths_after,
    pointwise_windows,
)


@rule(targets=["conv_relu"], promise=Promise.EXACT, anchors=is_pool, rank=2)
@swaps(MAP, conv(), relu(), average_pool())
@swaps(ODD, conv(activation="gelu"), average_pool(3))
@swaps(ODD, conv(size=2, strides=2, activation="tanh"), average_pool())
@refuses(MAP, conv(), relu(), max_pool(), reason="computes maxima")
@refuses(MAP, conv(activation="softmax"), average_pool(), reason="which mixes channels")
@refuses(MAP, separable_conv(), relu(), average_pool(), reason="its pointwise kernel")
def average_pool_into_polyphase(graph: Graph, pool: Call) -> Replacement:
    """Convolution, map, average pool -> wide strided convolution, map, fixed 1x1 convolution."""
    skip_unless(pool.role is Role.AVERAGE_POOL, f"{pool.label} computes maxima")
    branches = branches_upstream(graph, pool)
    skip_unless(len(branches) == 1, f"{pool.label} has several convolutions upstream")
    (branch,) = branches
    cells = prod(window.size for window in pool.windows)
    _require_channels_alike(branch, cells)
    require_never_pads(graph, pool, lengths_after(graph, branch.conv))

    layers = _wide_conv(graph, branch, cells)
    depth = depth_of(graph, pool)
    # The cells of one channel lie side by side, so a group for each channel is its mean.
    kernel = FixedKernel(pool.name, pointwise_windows(pool), group_mean)
    mean = fixed_conv(pool, kernel, depth, groups=depth)
    steps: dict[int, Steps] = {branch.conv.index: layers}
    steps[pool.index] = (mean,)
    return replace_calls(branch.calls, steps)


def _require_channels_alike(branch: Branch, cells: int) -> None:
    """Refuse what treats channels differently: there will be `cells` times as many of them."""
    conv = branch.conv
    separable = conv.conv.kind is LayerKind.SEPARABLE_CONV
    once_each = "its pointwise kernel once for each cell of a window"
    require(not separable, f"{conv.label} would need {once_each}")
    require_position_free(conv, branch.between)
    # A layer between stays with its weights, and those of one per channel would be too few.
    for call in branch.between:
        alike = call.axis is None and call.role is not Role.JOIN
        apart = f"tells channels apart, of which there are {cells} times as many"
        require(alike, f"{call.label} stands between and {apart}")
    activation = conv.activation
    mixes = f"{conv.label} has the activation {activation}, which mixes channels"
    require(activation not in ALONG_LAST_AXIS, mixes)
    in_place = not conv.conv.misplaces_channels_first_bias
    require(in_place, f"{conv.label} is channels_first, where this Keras may misplace the bias")


def _wide_conv(graph: Graph, branch: Branch, cells: int) -> Layers:
    """Return the convolution that computes each cell of a window as a channel of its own."""
    conv = branch.conv
    windows = composed_span(conv, branch.pool)
    kernel = composing(_phases, conv, branch.pool)
    leads = known_leads(graph, conv)
    *padding, new = fused_conv(graph, branch, windows, leads, kernel)
    assert isinstance(new, MakeConv)
    new = replace(new, bias=partial(repeated, times=cells))
    facts = conv.conv
    if facts.filters is not None and facts.kind is LayerKind.CONV:
        return (*padding, replace(new, filters=facts.filters * cells))
    # A depthwise convolution counts its output channels per input channel.
    multiplier = facts.depth_multiplier * cells
    return (*padding, replace(new, depth_multiplier=multiplier))


def _phases(
    kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    return phases(dilated(kernel, dilation), pool, stride)
