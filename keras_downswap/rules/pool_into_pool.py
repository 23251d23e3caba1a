"""A pool of one kind becomes a pool of the other, over the same windows.

    max_{i<p} x[j*q + i]  ~  mean_{i<p} x[j*q + i]

Windows, and so lengths, are the same for every n; the values are equal only where p = 1.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, average_pool, max_pool
from keras_downswap.rulekit.layers import POOL_TARGETS
from keras_downswap.rulekit.replacements import other_pool


@rule(targets=POOL_TARGETS, promise=Promise.APPROXIMATE, anchors=is_pool, verbatim=True)
@swaps(MAP, max_pool(), to="average_pool")
@refuses(MAP, average_pool(), to="average_pool", reason="already is what")
def pool_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Max pool <-> average pool, same windows."""
    return other_pool(graph, pool, to)
