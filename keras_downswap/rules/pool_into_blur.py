"""A pool is anti-aliased: what it takes from its windows is low-pass filtered before it is subsampled.

    max_{i<p} x[j*q + i]   ~  sum_t b[t] * max_{i<p} x[j*q + t + i]
    mean_{i<p} x[j*q + i]  ~  sum_t b[t] * x[j*q + t]

with b the binomial kernel of 2q - 1 taps, in a frozen depthwise convolution of stride q: Zhang
2019, whose borders are reflected where these are padded with zeros, since Keras has no layer that
reflects.
"""

from keras_downswap.ir.geometry import Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement, Step
from keras_downswap.rulekit.fixed_kernels import fixed_depthwise
from keras_downswap.rulekit.layers import padding_layers, pool_layer
from keras_downswap.rulekit.preconditions import require_floats, require_window
from keras_downswap.rulekit.rule import Promise, Rule, require


def pool_into_blur(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool for a fixed blur with its stride under its name; a max pool stays in front of it with stride 1."""
    require_window(graph, pool)
    require_floats(graph, pool)
    require(pool.strided, f"{pool.label} has a stride of 1 and subsamples nothing")
    blurs = [Window(2 * w.stride - 1, w.stride) for w in pool.windows]
    steps: tuple[Step, ...]
    if pool.role is Role.MAX_POOL:
        dense = [Window(w.size, 1, 1, w.padding) for w in pool.windows]
        same = [Window(b.size, b.stride, 1, "same") for b in blurs]
        first = pool_layer("MaxPooling", f"{pool.name}_dense", dense, pool, pool)
        steps = (first, fixed_depthwise(graph, pool, pool.name, same, binomial))
    else:
        fits = [
            fit_padding(
                blur, w.law, n, ((2 * w.stride - 1 - w.size) // 2, (2 * w.stride - w.size) // 2)
            )
            for blur, w, n in zip(blurs, pool.windows, graph.sizes(pool), strict=True)
        ]
        plain = next((p for p in ("valid", "same") if all(p in f.plain for f in fits)), None)
        windows = [Window(b.size, b.stride, 1, plain or "valid") for b in blurs]  # type: ignore[arg-type]
        blur = fixed_depthwise(graph, pool, pool.name, windows, binomial)
        steps = (blur,) if plain else (*padding_layers(pool, fits), blur)
    return Replacement((pool.index,), {pool.index: steps})


RULE = Rule(
    name="pool_into_blur",
    targets=frozenset({"blur_pool"}),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_pool,
    apply=pool_into_blur,
    summary="pool -> pool of stride 1 (a max pool), fixed blur with the stride",
)
