"""A strided convolution of twice the filters, a ReLU, and a 1x1 convolution: room for what one convolution cannot say.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  u * relu(conv_{s*q}(x; v)[j]),    v = (w', -w'),  u = (1,
    -1)

where w' is the pair's mean kernel (see pool_into_cover), so that it starts as the mean: a = relu(a)
- relu(-a). Maxima are made of such ReLUs, which a fit can find.
"""

from dataclasses import replace

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import mirrored, mirrored_sum, pair_mean
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.types import Array
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.fixed_kernels import fixed_conv
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.rule import Promise, Rule, require
from keras_downswap.rulekit.windows import composed_span, composing, covering_leads


def pool_into_wide(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, elementwise calls and pool for wide strided convolutions, ReLUs and 1x1 convolutions."""
    return in_each_branch(graph, pool, _wide, padded=True)


def _wide(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    plain = conv.settings["kind"] == "Conv" and conv.settings["groups"] == 1
    require(plain, f"{conv.label} is no plain convolution, whose filters could be doubled")
    require(
        not conv.settings.get("fixed"),
        f"{conv.label} was made by another swap and has no weights of its own",
    )
    leads = covering_leads(graph, conv, pool)
    *front, new = fused_conv(
        graph, conv, pool, composed_span(conv, pool), leads, composing(_twice, conv, pool)
    )
    filters, biased = conv.settings["filters"], conv.settings["use_bias"]
    settings = {**new.settings, "filters": 2 * filters, "activation": "relu", "use_bias": True}
    wide = replace(new, settings=settings, bias=mirrored)
    point = [Window(1)] * len(conv.windows)
    narrow = fixed_conv(
        conv,
        f"{conv.name}_narrow",
        point,
        mirrored_sum,
        filters,
        1,
        conv.settings["activation"],
        False,
    )
    return (*front, wide, replace(narrow, settings={**narrow.settings, "use_bias": biased}))


def _twice(
    kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    return mirrored(pair_mean(kernel, dilation, pool, stride))


RULE = Rule(
    name="pool_into_wide",
    targets=frozenset({"strided_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=False,
    anchors=is_pool,
    apply=pool_into_wide,
    summary="convolution, pool -> strided convolution of twice the filters, ReLU, 1x1 convolution, started at the mean",
    spans=convs_upstream,
    rank=-2,
    form="wide",
)
