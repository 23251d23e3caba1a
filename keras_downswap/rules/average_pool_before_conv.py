"""An average pool moves before the convolution that precedes it; its stride goes into the convolution.

    mean_{i<p} conv(x; w)[j*q + i] = conv_q(mean_{i<p} x[. + i]; w)[j]    (a pool of stride 1 first)

Kernel and bias stay as they are. The zeros that the convolution pads are padded before the pool,
whose own windows must stay inside the map. Per-channel affine maps commute with the mean, so they
may stand between.
"""

from keras_downswap.rulekit import (
    Call,
    FittedPadding,
    Graph,
    LayerKind,
    Make,
    Promise,
    Replacement,
    Role,
    Window,
    fit_padding,
    is_pool,
    require,
    rule,
    skip_unless,
)
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    max_pool,
    refuses,
    swaps,
)
from keras_downswap.rulekit.layers import conv_layer, in_each_branch, padding_layers, pool_layer
from keras_downswap.rulekit.preconditions import (
    require_bias_in_place,
    require_linear,
    require_never_pads,
)
from keras_downswap.rulekit.windows import composed_stride, known_leads, lengths_after


@rule(
    targets=["cheapest"],
    promise=Promise.EXACT,
    anchors=is_pool,
    verbatim=True,
)
@swaps(MAP, conv(), average_pool())
@swaps(ODD, conv(size=5), batch_norm(), average_pool(3, 2))
@refuses(MAP, conv(), max_pool(), reason="computes maxima")
@refuses(MAP, conv(strides=2), average_pool(), reason="has a stride, over which")
def average_pool_before_conv(graph: Graph, pool: Call) -> Replacement:
    """Convolution, average pool -> average pool of stride 1, strided convolution, same kernel."""
    return in_each_branch(graph, pool, _pool_first)


def _pool_first(
    graph: Graph, conv: Call, between: tuple[Call, ...], pool: Call
) -> tuple[Make, ...]:
    means = pool.role is Role.AVERAGE_POOL
    skip_unless(means, f"{pool.label} computes maxima, which no convolution commutes with")
    require(pool.strided, f"{pool.label} has a stride of 1: it saves nothing before {conv.label}")
    neighbours = "over which no pool of neighbours commutes with it"
    require(not conv.strided, f"{conv.label} has a stride, {neighbours}")
    require_linear(conv, between)
    require_bias_in_place(graph, conv, graph.output_shape(conv)[-1], graph.output_shape(pool)[-1])
    require_never_pads(graph, pool, lengths_after(graph, conv))
    fits = _paddings(graph, conv, pool)
    needs_padding = any("valid" not in fit.plain for fit in fits)
    padding = padding_layers(conv, fits) if needs_padding else ()
    dense = [Window(window.size) for window in pool.windows]
    mean = pool_layer(LayerKind.AVERAGE_POOLING, pool.name, dense, conv, conv)
    strided = conv_layer(conv, composed_stride(conv, pool), "valid")
    return (*padding, mean, strided)


def _paddings(graph: Graph, conv: Call, pool: Call) -> list[FittedPadding]:
    """Return what must be padded before the pool and the convolution, which then pad nothing."""
    leads = known_leads(graph, conv)
    fits = []
    for c, p, n, lead in zip(conv.windows, pool.windows, graph.sizes(conv), leads, strict=True):
        both = Window(c.span + p.size - 1, p.stride)
        fits.append(fit_padding(both, c.law.then(p.law), n, lead))
    return fits
