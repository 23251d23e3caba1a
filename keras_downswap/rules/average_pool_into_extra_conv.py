"""An average pool is a strided convolution with as many filters as channels, none of which looks at another channel.

    mean_{i<p} x[j*q + i] = conv_q(x; w)[j],    w[t, c, c'] = (c = c') / p

axis by axis. Where the pool pads, its divisor changes from window to window: no single kernel does
that. The kernel is open to training: the All-CNN form of Springenberg et al. 2014.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool, takes_means
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.preconditions import require_never_pads, require_window
from keras_downswap.rulekit.rule import Promise, Rule, skip_unless
from keras_downswap.rules.pool_into_extra_conv import pool_into_extra_conv


def average_pool_into_extra_conv(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap an average pool for a strided convolution under the same name."""
    skip_unless(
        takes_means(pool), f"{pool.label} takes maxima, which no single convolution computes"
    )
    require_window(graph, pool)
    require_never_pads(graph, pool)
    return pool_into_extra_conv(graph, pool, to)


RULE = Rule(
    name="average_pool_into_extra_conv",
    targets=frozenset({"extra_conv"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=average_pool_into_extra_conv,
    summary="average pool -> strided convolution that starts at the mean",
)
