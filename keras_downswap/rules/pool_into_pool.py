"""A pool of one kind becomes a pool of the other, over the same windows.

    max_{i<p} x[j*q + i]  ~  mean_{i<p} x[j*q + i]

Windows, and so lengths, are the same for every n; the values are equal only where p = 1
(`pool_of_one_into_pool`).
"""

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import pool_layer
from keras_downswap.rulekit.preconditions import require_window
from keras_downswap.rulekit.rule import Promise, Rule, require

MADE = {
    "max_pool": ("MaxPooling", Role.MAX_POOL),
    "average_pool": ("AveragePooling", Role.AVERAGE_POOL),
}


def pool_into_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool for one of the other kind under the same name."""
    kind, role = MADE[to]
    require(pool.role is not role, f"{pool.label} already is what to='{to}' asks for")
    require_window(graph, pool)
    dtype = graph.tensors[pool.inputs[0]].dtype
    require(
        "float" in dtype,
        f"{pool.label} pools {dtype}, and averages are taken of floating-point numbers only",
    )
    return Replacement(
        (pool.index,), {pool.index: (pool_layer(kind, pool.name, pool.windows, pool, pool),)}
    )


RULE = Rule(
    name="pool_into_pool",
    targets=frozenset(MADE),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_pool,
    apply=pool_into_pool,
    summary="max pool <-> average pool, same windows",
)
