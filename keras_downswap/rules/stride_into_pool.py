"""A convolution's stride moves into a pool behind it; the kernel stays as it is.

    conv_s(x)  ~  pool_{s,s}(conv_1(x))

For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which is a
`same` pool of stride s: so a `same` pool always has the right length. A `valid` pool is taken where
it gives the same length too.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import KEEP, Replacement, Step
from keras_downswap.rulekit.layers import conv_layer, pool_layer
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import strided_pools

KINDS = {"max_pool": "MaxPooling", "average_pool": "AveragePooling"}


def stride_into_pool(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided convolution for a stride-1 convolution, its elementwise followers, and a pool."""
    require_conv(conv)
    run = pointwise_run(graph, conv)
    slow = [Window(w.size, 1, w.dilation, w.padding) for w in conv.windows]
    new = conv_layer(conv, slow, conv.windows[0].padding)
    pool = pool_layer(KINDS[to], f"{conv.name}_pool", strided_pools(graph, conv), conv, run[-1])
    last = run[-1]
    steps: dict[int, tuple[Step, ...]] = {conv.index: (new,), last.index: (KEEP, pool)}
    if last is conv:
        steps = {conv.index: (new, pool)}
    return Replacement(tuple(call.index for call in run), steps)


RULE = Rule(
    name="stride_into_pool",
    targets=frozenset(KINDS),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_strided_conv,
    apply=stride_into_pool,
    summary="strided convolution -> convolution, pool, same kernel",
)
