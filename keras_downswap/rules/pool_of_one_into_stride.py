"""Subsampling behind a convolution is a stride of that convolution.

    conv_s(x)[j * q] = conv_{s * q}(x)[j]

whatever elementwise maps stand between, provided that both convolutions start at the same cell.
`same` with the larger stride starts elsewhere for some lengths, so the lead is held, by explicit
padding where nothing else will do.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Make, Replacement
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.rulekit.layers import fused_conv, in_each_branch
from keras_downswap.rulekit.preconditions import require_bias_in_place, require_position_free
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless
from keras_downswap.rulekit.windows import composed_stride, known_leads


def pool_of_one_into_stride(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, elementwise calls and a pool of size 1 for strided convolutions with the same weights."""
    return in_each_branch(graph, pool, _strided)


def _strided(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    skip_unless(
        all(w.size == 1 for w in pool.windows),
        f"{pool.label} has a window above 1, so it does not subsample",
    )
    require_position_free(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    return fused_conv(graph, conv, pool, composed_stride(conv, pool), known_leads(graph, conv))


RULE = Rule(
    name="pool_of_one_into_stride",
    targets=frozenset({"strided_conv", "cheapest"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pool_of_one_into_stride,
    summary="convolution, subsampling -> strided convolution, same kernel",
    spans=convs_upstream,
)
