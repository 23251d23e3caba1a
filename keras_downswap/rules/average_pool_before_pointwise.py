"""An average pool moves in front of the 1x1 convolution behind which it stands, as it is.

    mean_{i<p} conv(x; w)[j*q + i] = conv(mean_{i<p} x[j*q + i]; w)        for a kernel of one tap
    and stride 1

whatever the pool pads: its weights sum to one in every window, so the bias stays too. Per-channel
affine maps commute with the mean, so they may stand between.
"""

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import conv_layer, in_each_branch, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_pointwise,
)
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless


def average_pool_before_pointwise(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap 1x1 convolutions, affine calls and average pool for the pool and the same convolutions."""
    return in_each_branch(graph, pool, _before)


def _before(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    skip_unless(
        pool.role is Role.AVERAGE_POOL,
        f"{pool.label} takes maxima, which no convolution commutes with",
    )
    require_pointwise(conv)
    require(
        not conv.strided,
        f"{conv.label} has a stride, over which no pool of neighbours commutes with it",
    )
    require(
        pool.strided, f"{pool.label} has a stride of 1: it saves nothing in front of {conv.label}"
    )
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    first = pool_layer("AveragePooling", pool.name, pool.windows, conv, conv)
    return (first, conv_layer(conv, conv.windows, "valid"))


RULE = Rule(
    name="average_pool_before_pointwise",
    targets=frozenset({"cheapest"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=average_pool_before_pointwise,
    summary="1x1 convolution, average pool -> average pool, the same convolution",
    spans=convs_upstream,
    rank=-1,
)
