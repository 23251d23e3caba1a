"""Subsampling after a convolution is a stride of that convolution.

    conv_s(x)[j * q] = conv_{s * q}(x)[j]

whatever elementwise maps stand between, provided that both convolutions start at the same cell.
`same` with the larger stride starts elsewhere for some lengths, so the lead is held, by explicit
padding where nothing else will do.
"""

from keras_downswap.rulekit import Call, Graph, Make, Promise, Replacement, is_pool, rule
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    conv,
    max_pool,
    refuses,
    relu,
    swaps,
)
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_position_free,
    require_single_cells,
)
from keras_downswap.rulekit.windows import composed_stride, known_leads


@rule(
    targets=["strided_conv", "cheapest"],
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
)
@swaps(MAP, conv(), relu(), max_pool(1, 2))
@swaps(ODD, conv(size=5), average_pool(1, 3))
@refuses(MAP, conv(), max_pool(), reason="has a window above 1")
@refuses(
    (None, None, 4), conv(strides=2), max_pool(1, 2), reason="so no fixed padding keeps the values"
)
def pool_of_one_into_stride(graph: Graph, pool: Call) -> Replacement:
    """Convolution, subsampling -> strided convolution, same kernel."""
    return in_each_branch(graph, pool, _strided)


def _strided(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    require_single_cells(pool)
    require_position_free(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    return fused_conv(graph, conv, pool, composed_stride(conv, pool), known_leads(graph, conv))
