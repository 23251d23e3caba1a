"""The maximum and the mean of a single cell are that cell.

max_{i<1} x[j*q + i] = mean_{i<1} x[j*q + i] = x[j*q]
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, max_pool, subsampling
from keras_downswap.rulekit.layers import POOL_TARGETS
from keras_downswap.rulekit.preconditions import require_single_cells
from keras_downswap.rulekit.replacements import other_pool


@rule(targets=POOL_TARGETS, promise=Promise.EXACT, anchors=is_pool, verbatim=True)
@swaps(MAP, subsampling(2), to="average_pool")
@swaps(ODD, subsampling(3), to="average_pool")
@refuses(MAP, max_pool(), to="average_pool", reason="has a window above 1")
def pool_of_one_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Max pool <-> average pool of size 1."""
    require_single_cells(pool)
    return other_pool(graph, pool, to)
