"""The pool's stride moves into the convolution behind it; the pool goes, the kernel stays as it is.

    conv_s(pool_{p,q}(x))  ~  conv_{s * q}(x)

The lengths agree, the values do not: taps that stood q cells apart on the input now stand side by
side, about the same middle where a layer has to pad or crop anyway.
"""

from keras_downswap.ir.geometry import Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement, Step
from keras_downswap.rulekit.layers import conv_with_padding, may_be_causal
from keras_downswap.rulekit.matching import conv_downstream
from keras_downswap.rulekit.rule import Promise, Rule
from keras_downswap.rulekit.windows import composed_stride


def pool_into_next_stride(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap pool, elementwise calls and convolution for a strided convolution with the same weights."""
    run = conv_downstream(graph, pool, linear=False)
    conv = run[-1]
    windows = composed_stride(conv, pool)
    fits = []
    for window, p, c, n in zip(windows, pool.windows, conv.windows, graph.sizes(pool), strict=True):
        law = p.law.then(c.law)
        fits.append(fit_padding(window, law, n, _middles(p, c, n), causal=may_be_causal(conv)))
    steps: dict[int, tuple[Step, ...]] = {
        pool.index: (),
        conv.index: conv_with_padding(conv, windows, fits),
    }
    return Replacement(tuple(call.index for call in run), steps)


def _middles(p: Window, c: Window, n: int | None) -> tuple[int, ...]:
    """Return the leads at which the kernel's middle tap stays where the pair's middle was, the nearest first."""
    half = c.span - 1
    known = c.lead(None if n is None else p.law(n))
    lead = half // 2 if known is None else known
    front = p.lead(n) or 0
    twice = 2 * (p.stride * lead + front) - (p.stride - 1) * half - (p.size - 1)
    return (twice // 2, -(-twice // 2))


RULE = Rule(
    name="pool_into_next_stride",
    targets=frozenset({"strided_conv"}),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_pool,
    apply=pool_into_next_stride,
    summary="pool, convolution -> strided convolution, same kernel",
    rank=1,
)
