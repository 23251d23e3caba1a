"""An average pool by itself is a convolution of each channel by itself.

    mean_{i<p} x[j*q + i] = conv_q(x; w)[j],    w[t] = 1/p

axis by axis, without a bias. Where the pool pads, its divisor changes from window to window, which
no single kernel does. The kernel is frozen, as a pool has nothing to train.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import mean
from keras_downswap.ir.predicates import is_pool, takes_means
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.fixed_kernels import fixed_depthwise
from keras_downswap.rulekit.preconditions import require_floats, require_never_pads, require_window
from keras_downswap.rulekit.rule import LAST_RESORT, Promise, Rule, skip_unless


def average_pool_into_depthwise(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap an average pool for a strided depthwise convolution under the same name."""
    skip_unless(
        takes_means(pool), f"{pool.label} takes maxima, which no single convolution computes"
    )
    require_window(graph, pool)
    require_never_pads(graph, pool)
    require_floats(graph, pool)
    return Replacement(
        (pool.index,), {pool.index: (fixed_depthwise(graph, pool, pool.name, pool.windows, mean),)}
    )


RULE = Rule(
    name="average_pool_into_depthwise",
    targets=frozenset({"strided_conv", "conv_relu"}),
    promise=Promise.EXACT,
    verbatim=False,
    anchors=is_pool,
    apply=average_pool_into_depthwise,
    summary="average pool -> strided depthwise convolution with a fixed kernel",
    rank=LAST_RESORT,
)
