"""A pool becomes a strided convolution over the same windows, with as many filters as channels, started at the mean.

    max_{i<p} x[j*q + i]  ~  conv_q(x; w)[j],    w[t, c, c'] = (c = c') / p

Windows, and so lengths, are the same for every n; the values of a max pool are not. The kernel is
open to training: the All-CNN form of Springenberg et al. 2014, which lost nothing when trained from
scratch.
"""

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.kernel_math import dense_mean
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_conv
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.rule import Promise, Rule


def pool_into_extra_conv(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool for a strided convolution under the same name."""
    require_window(graph, pool)
    require_floats(graph, pool)
    new = fixed_conv(pool, pool.name, pool.windows, dense_mean, depth_of(graph, pool), frozen=False)
    return Replacement((pool.index,), {pool.index: (new,)})


RULE = Rule(
    name="pool_into_extra_conv",
    targets=frozenset({"extra_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=False,
    anchors=is_pool,
    apply=pool_into_extra_conv,
    summary="pool -> strided convolution that starts at the mean",
)
