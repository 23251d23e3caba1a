"""Subsampling after a convolution is a stride of that convolution.

    conv_s(x)[j * q] = conv_{s * q}(x)[j]

whatever elementwise maps stand between, provided that both convolutions start at the same cell.
`same` with the larger stride starts elsewhere for some lengths, so the lead is held, by explicit
padding where nothing else will do.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    OPEN,
    average_pool,
    conv,
    max_pool,
    relu,
    strided_conv,
    subsampling,
)
from keras_downswap.rulekit.layers import Layers, fused_conv
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_position_free,
    require_single_cells,
)
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.windows import composed_stride, known_leads


@rule(targets=["strided_conv", "cheapest"], promise=Promise.EXACT, anchors=is_pool, verbatim=True)
@swaps(MAP, conv(), relu(), subsampling(2))
@swaps(ODD, conv(size=5), average_pool(1, 3))
@refuses(MAP, conv(), max_pool(), reason="has a window above 1")
@refuses(OPEN, strided_conv(), subsampling(2), reason="so no fixed padding keeps the values")
def pool_of_one_into_stride(graph: Graph, pool: Call) -> Replacement:
    """Convolution, subsampling -> strided convolution, same kernel."""
    return in_each_branch(graph, pool, _strided)


def _strided(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    pool = branch.pool
    require_single_cells(pool)
    require_position_free(conv, branch.between)
    require_bias_in_place(graph, conv, after=pool)
    # Evaluated first: a dilated convolution is refused for its dilation, not for its lead.
    windows = composed_stride(conv, pool)
    # A number, not a wish: one cell off, the strided convolution computes other values.
    return fused_conv(graph, branch, windows, known_leads(graph, conv))
