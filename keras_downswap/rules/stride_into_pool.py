"""A convolution's stride moves into a pool after it; the kernel stays as it is.

    conv_s(x)  ~  pool_{s,s}(conv_1(x))

For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which is a
`same` pool of stride s: so a `same` pool always has the right length. A `valid` pool is used where
it gives the same length too.
"""

from dataclasses import replace

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, VIDEO, conv_lstm, relu, strided_conv
from keras_downswap.rulekit.layers import POOL_TARGETS, conv_with_own_padding, pool_layer
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.replacements import replace_and_append
from keras_downswap.rulekit.windows import strided_pools, unstrided


@rule(targets=POOL_TARGETS, promise=Promise.APPROXIMATE, anchors=is_strided_conv, verbatim=True)
@swaps(MAP, strided_conv(), relu(), to="max_pool")
@refuses(VIDEO, conv_lstm(strides=2), to="max_pool", reason="is no ordinary")
def stride_into_pool(graph: Graph, conv: Call, to: str) -> Replacement:
    """Strided convolution -> convolution, pool, same kernel."""
    require_conv(conv)
    run = pointwise_run(graph, conv)
    dense = conv_with_own_padding(conv, unstrided(conv.windows))
    windows = strided_pools(graph, conv)
    pool = pool_layer(POOL_TARGETS[to], f"{conv.name}_pool", windows, conv)
    # After the activations, as in most models; there its dtype is that of the last one.
    pool = replace(pool, beside=run[-1].layer)
    return replace_and_append(run, dense, pool)
