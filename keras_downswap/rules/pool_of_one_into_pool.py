"""The maximum and the mean of a single cell are that cell.

max_{i<1} x[j*q + i] = mean_{i<1} x[j*q + i] = x[j*q]
"""

from keras_downswap.rulekit import Call, Graph, Promise, Replacement, is_pool, rule
from keras_downswap.rulekit.examples import MAP, ODD, max_pool, refuses, swaps
from keras_downswap.rulekit.layers import POOL_TARGETS, other_pool
from keras_downswap.rulekit.preconditions import require_single_cells


@rule(
    targets=POOL_TARGETS,
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
)
@swaps(MAP, max_pool(1, 2), to="average_pool")
@swaps(ODD, max_pool(1, 3), to="average_pool")
@refuses(MAP, max_pool(), to="average_pool", reason="has a window above 1")
def pool_of_one_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Max pool <-> average pool of size 1."""
    require_single_cells(pool)
    return other_pool(graph, pool, to)
