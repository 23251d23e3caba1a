"""An average pool moves in front of the convolution behind which it stands, its stride into the convolution.

    mean_{i<p} conv(x; w)[j*q + i] = conv_q(mean_{i<p} x[. + i]; w)[j]        a pool of stride 1 in
    front

Kernel and bias stay as they are. The zeros that the convolution pads are padded in front of the
pool, whose own windows must stay inside the map. Per-channel affine maps commute with the mean, so
they may stand between.
"""

from keras_downswap.ir.geometry import Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import conv_layer, in_each_branch, padding_layers, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_never_pads,
)
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless
from keras_downswap.rulekit.windows import composed_stride, known_leads, lengths_after


def average_pool_before_conv(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, affine calls and average pool for the pool, and strided convolutions of the same weights."""
    return in_each_branch(graph, pool, _before)


def _before(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    skip_unless(
        pool.role is Role.AVERAGE_POOL,
        f"{pool.label} takes maxima, which no convolution commutes with",
    )
    require(
        pool.strided, f"{pool.label} has a stride of 1: it saves nothing in front of {conv.label}"
    )
    require(
        not conv.strided,
        f"{conv.label} has a stride, over which no pool of neighbours commutes with it",
    )
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    require_never_pads(graph, pool, lengths_after(graph, conv))
    windows = composed_stride(conv, pool)
    axes = zip(conv.windows, pool.windows, graph.sizes(conv), known_leads(graph, conv), strict=True)
    fits = [
        fit_padding(Window(c.span + p.size - 1, p.stride), c.law.then(p.law), n, lead)
        for c, p, n, lead in axes
    ]
    front = () if all("valid" in f.plain for f in fits) else padding_layers(conv, fits)
    slow = pool_layer(
        "AveragePooling", pool.name, [Window(p.size) for p in pool.windows], conv, conv
    )
    return (*front, slow, conv_layer(conv, windows, "valid"))


RULE = Rule(
    name="average_pool_before_conv",
    targets=frozenset({"cheapest"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=average_pool_before_conv,
    summary="convolution, average pool -> average pool of stride 1, strided convolution, same kernel",
    spans=convs_upstream,
)
