"""The maximum and the mean of a single cell are that cell.

max_{i<1} x[j*q + i] = mean_{i<1} x[j*q + i] = x[j*q]
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless
from keras_downswap.rules.pool_into_pool import MADE, pool_into_pool


def pool_of_one_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool of size 1 for one of the other kind under the same name."""
    skip_unless(all(w.size == 1 for w in pool.windows), f"{pool.label} has a window above 1")
    return pool_into_pool(graph, pool, to)


RULE = Rule(
    name="pool_of_one_into_pool",
    targets=frozenset(MADE),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pool_of_one_into_pool,
    summary="max pool <-> average pool of size 1",
)
