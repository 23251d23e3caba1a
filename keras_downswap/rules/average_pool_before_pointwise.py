"""An average pool moves before the 1x1 convolution that precedes it, as it is.

    mean_{i<p} conv(x; w)[j*q + i] = conv(mean_{i<p} x[j*q + i]; w)    (one tap, stride 1)

whatever the pool pads: its weights sum to one in every window, so the bias stays too. Per-channel
affine maps commute with the mean, so they may stand between.
"""

from keras_downswap.rulekit import (
    Call,
    Graph,
    LayerKind,
    Make,
    Promise,
    Replacement,
    Role,
    is_pool,
    require,
    rule,
    skip_unless,
)
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, batch_norm, conv, refuses, swaps
from keras_downswap.rulekit.layers import conv_layer, in_each_branch, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_pointwise,
)


@rule(
    targets=["cheapest"],
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
    rank=-1,
)
@swaps(MAP, conv(size=1), average_pool())
@swaps(ODD, conv(size=1), batch_norm(), average_pool(padding="same"))
@refuses(MAP, conv(), average_pool(), reason="has more than one tap")
@refuses(
    MAP,
    conv(size=1, activation="relu"),
    average_pool(),
    reason="only linear maps commute with means",
)
def average_pool_before_pointwise(graph: Graph, pool: Call) -> Replacement:
    """1x1 convolution, average pool -> average pool, the same convolution."""
    return in_each_branch(graph, pool, _pool_first)


def _pool_first(
    graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call
) -> tuple[Make, ...]:
    means = pool.role is Role.AVERAGE_POOL
    skip_unless(means, f"{pool.label} computes maxima, which no convolution commutes with")
    require_pointwise(conv)
    neighbours = "over which no pool of neighbours commutes with it"
    require(not conv.strided, f"{conv.label} has a stride, {neighbours}")
    require(pool.strided, f"{pool.label} has a stride of 1: it saves nothing before {conv.label}")
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    first = pool_layer(LayerKind.AVERAGE_POOLING, pool.name, pool.windows, conv, conv)
    return (first, conv_layer(conv, conv.windows, "valid"))
