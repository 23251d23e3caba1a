"""A pool's stride and window move into the convolution, whose kernel comes to see all that the pair saw.

    max_{i<p} conv_s(x; w)[j*q + i]  ~  conv_{s*q}(x; w')[j] + b',    w'[t] = (1/p) * sum_{i<p} w[t - i*s]

axis by axis. For Gaussian sums the best linear stand-in for their maximum is their mean and an offset (Stein's lemma),
so the mean is where a fit of the kernel starts; nothing here fits it.
"""

from keras_downswap.emit import fused, in_each_branch
from keras_downswap.geometry import Window
from keras_downswap.graph import Call, Graph
from keras_downswap.kernels import Array, averaged, dilated
from keras_downswap.match import is_pool, reach
from keras_downswap.rule import Make, Promise, Replacement, Rule
from keras_downswap.spans import composed_span, composing, lengths_behind


def pool_into_cover(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap convolutions, elementwise calls and pool for strided convolutions that cover the pair's receptive field."""
    return in_each_branch(graph, pool, _covering)


def _covering(graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call) -> tuple[Make, ...]:
    axes = zip(conv.windows, pool.windows, graph.sizes(conv), lengths_behind(graph, conv), strict=True)
    leads = [_lead(*axis) for axis in axes]
    return fused(graph, conv, pool, composed_span(conv, pool), leads, composing(_mean, conv, pool))


def _lead(conv: Window, pool: Window, n: int | None, behind: int | None) -> int | tuple[int, ...]:
    """Return where the pair's first window starts; as a wish where that depends on an unknown length."""
    leads = conv.lead(n), pool.lead(behind)
    if leads[0] is None or leads[1] is None:
        return ((conv.span - 1) // 2 + (pool.size - 1) // 2 * conv.stride,)
    return leads[0] + leads[1] * conv.stride


def _mean(kernel: Array, dilation: tuple[int, ...], pool: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    return averaged(dilated(kernel, dilation), pool, stride)


RULE = Rule(
    name="pool_into_cover",
    targets=frozenset({"strided_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=False,
    anchors=is_pool,
    apply=pool_into_cover,
    summary="convolution, pool -> strided convolution with a kernel that covers both, started at the mean",
    spans=reach,
    rank=-1,
    form="cover",
)
