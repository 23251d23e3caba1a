"""An average pool behind a non-linear elementwise map: every cell of the window gets filters of its own.

    mean_{i<p} f(conv_s(x; w)[j*q + i]) = (1/p) * sum_{i<p} f(conv_{s*q}(x; w_i)[j]),    w_i[t] =
    w[t - i*s]

One strided convolution computes all cells of a window as channels side by side, f treats them
alike, and a fixed 1x1 convolution takes their mean. The kernels are the old one among zeros, the
bias is repeated.
"""

from dataclasses import replace
from functools import partial
from math import prod

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import dilated, group_mean, phases, repeated
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, is_pool
from keras_downswap.ir.replacement import Replacement, Step
from keras_downswap.ir.types import Array
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_conv
from keras_downswap.rulekit.layers import fused_conv
from keras_downswap.rulekit.matching import branches_upstream
from keras_downswap.rulekit.preconditions import require_never_pads, require_position_free
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless
from keras_downswap.rulekit.windows import composed_span, composing, known_leads, lengths_after


def average_pool_into_polyphase(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolution, elementwise calls and average pool for a strided convolution, the same calls, and a 1x1 one."""
    skip_unless(pool.role is Role.AVERAGE_POOL, f"{pool.label} takes maxima")
    branches = branches_upstream(graph, pool)
    skip_unless(len(branches) == 1, f"{pool.label} stands behind several convolutions")
    (conv, *between, _), cells = branches[0], prod(w.size for w in pool.windows)
    kind = conv.settings["kind"]
    require(
        kind != "SeparableConv",
        f"{conv.label} would need its pointwise kernel once for each cell of a window",
    )
    require_position_free(conv, tuple(between))
    for call in between:
        alike = "axis" not in call.settings and call.role is not Role.JOIN
        require(
            alike,
            f"{call.label} stands between and tells channels apart, of which there are {cells} times as many",
        )
    activation = conv.settings["activation"]
    require(
        activation not in ALONG_LAST_AXIS,
        f"{conv.label} has the activation {activation}, which mixes channels",
    )
    require(
        not conv.settings.get("misplaces_channels_first_bias"),
        f"{conv.label} is channels_first, where the bias may go astray",
    )
    require_never_pads(graph, pool, lengths_after(graph, conv))
    windows = composed_span(conv, pool)
    kernel = composing(_phases, conv, pool)
    *front, new = fused_conv(graph, conv, pool, windows, known_leads(graph, conv), kernel)
    wider = "filters" if kind == "Conv" else "depth_multiplier"
    settings = {**new.settings, wider: conv.settings[wider] * cells}
    depth = depth_of(graph, pool)
    total = fixed_conv(pool, pool.name, [Window(1)] * len(windows), group_mean, depth, depth)
    strided = replace(new, settings=settings, bias=partial(repeated, times=cells))
    steps: dict[int, tuple[Step, ...]] = {conv.index: (*front, strided), pool.index: (total,)}
    return Replacement(tuple(call.index for call in branches[0]), steps)


def _phases(
    kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    return phases(dilated(kernel, dilation), pool, stride)


RULE = Rule(
    name="average_pool_into_polyphase",
    targets=frozenset({"conv_relu"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=average_pool_into_polyphase,
    summary="convolution, elementwise map, average pool -> wide strided convolution, the map, fixed 1x1 convolution",
    spans=convs_upstream,
    rank=2,
)
