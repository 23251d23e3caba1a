"""The maximum and the mean of a single cell are that cell.

max_{i<1} x[j*q + i] = mean_{i<1} x[j*q + i] = x[j*q]
"""

from keras_downswap.rulekit import (
    MAP,
    ODD,
    POOL_TARGETS,
    Call,
    Example,
    Graph,
    Promise,
    Refusal,
    Replacement,
    is_pool,
    max_pool,
    other_pool,
    require_single_cells,
    rule,
)


@rule(
    targets=POOL_TARGETS,
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
    examples=[
        Example(MAP, max_pool(1, 2), to="average_pool"),
        Example(ODD, max_pool(1, 3), to="average_pool"),
    ],
    refusals=[Refusal(MAP, max_pool(), to="average_pool", reason="has a window above 1")],
)
def pool_of_one_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Max pool <-> average pool of size 1."""
    require_single_cells(pool)
    return other_pool(graph, pool, to)
