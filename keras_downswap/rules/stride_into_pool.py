"""A convolution's stride moves into a pool after it; the kernel stays as it is.

    conv_s(x)  ~  pool_{s,s}(conv_1(x))

For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which is a
`same` pool of stride s: so a `same` pool always has the right length. A `valid` pool is used where
it gives the same length too.
"""

from keras_downswap.ir.replacement import Step
from keras_downswap.rulekit import KEEP, Call, Graph, Promise, Replacement, is_strided_conv, rule
from keras_downswap.rulekit.examples import MAP, conv, conv_lstm, refuses, relu, swaps
from keras_downswap.rulekit.layers import POOL_TARGETS, conv_with_own_padding, pool_layer
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.windows import strided_pools, unstrided


@rule(
    targets=POOL_TARGETS,
    promise=Promise.APPROXIMATE,
    anchors=is_strided_conv,
    verbatim=True,
)
@swaps(MAP, conv(strides=2), relu(), to="max_pool")
@refuses((3, 16, 16, 4), conv_lstm(strides=2), to="max_pool", reason="is no ordinary")
def stride_into_pool(graph: Graph, conv: Call, to: str) -> Replacement:
    """Strided convolution -> convolution, pool, same kernel."""
    require_conv(conv)
    run = pointwise_run(graph, conv)
    last = run[-1]
    dense = conv_with_own_padding(conv, unstrided(conv.windows))
    windows = strided_pools(graph, conv)
    pool = pool_layer(POOL_TARGETS[to], f"{conv.name}_pool", windows, conv, last)
    steps: dict[int, tuple[Step, ...]] = {conv.index: dense, last.index: (KEEP, pool)}
    if last is conv:
        steps = {conv.index: (*dense, pool)}
    return Replacement(tuple(call.index for call in run), steps)
