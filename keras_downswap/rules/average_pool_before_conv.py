"""An average pool moves before the convolution upstream; its stride goes into the convolution.

    mean_{i<p} conv(x; w)[j*q + i] = conv_q(mean_{i<p} x[. + i]; w)[j]    (a pool of stride 1 first)

Kernel and bias stay as they are. The zeros that the convolution pads are padded before the pool,
whose own windows must stay inside the map. Per-channel affine maps commute with the mean, so they
may stand between.
"""

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import FittedPadding, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import (
    MAP,
    ODD,
    average_pool,
    batch_norm,
    conv,
    max_pool,
    strided_conv,
)
from keras_downswap.rulekit.layers import Layers, conv_layer, padding_layers, pool_layer
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.preconditions import (
    require_average_pool,
    require_bias_in_place,
    require_linear,
    require_never_pads,
    require_pool_stride,
    require_unit_stride,
)
from keras_downswap.rulekit.replacements import in_each_branch
from keras_downswap.rulekit.windows import composed_stride, known_leads, lengths_after, pair_axes


@rule(targets=["cheapest"], promise=Promise.EXACT, anchors=is_pool, verbatim=True)
@swaps(MAP, conv(), average_pool())
@swaps(ODD, conv(size=5), batch_norm(), average_pool(3, 2))
@refuses(MAP, conv(), max_pool(), reason="computes maxima")
@refuses(MAP, strided_conv(), average_pool(), reason="has a stride, over which")
def average_pool_before_conv(graph: Graph, pool: Call) -> Replacement:
    """Convolution, average pool -> average pool of stride 1, strided convolution, same kernel."""
    return in_each_branch(graph, pool, _pool_first)


def _pool_first(graph: Graph, branch: Branch) -> Layers:
    conv = branch.conv
    pool = branch.pool
    require_average_pool(pool)
    require_pool_stride(pool, conv)
    require_unit_stride(conv)
    require_linear(conv, branch.between)
    require_bias_in_place(graph, conv, after=pool)
    require_never_pads(graph, pool, lengths_after(graph, conv))

    fits = _paddings(graph, conv, pool)
    # Zeros that the convolution pads are a part of what was averaged, so they come before the pool.
    needs_padding = any("valid" not in fit.plain for fit in fits)
    padding = padding_layers(conv, fits) if needs_padding else ()
    dense = [Window(window.size) for window in pool.windows]
    mean = pool_layer(LayerKind.AVERAGE_POOLING, pool.name, dense, conv)
    strided = conv_layer(conv, composed_stride(conv, pool), "valid")
    return (*padding, mean, strided)


def _paddings(graph: Graph, conv: Call, pool: Call) -> list[FittedPadding]:
    """Return what must be padded before the pool and the convolution, which then pad nothing."""
    leads = known_leads(graph, conv)
    fits = []
    axes = pair_axes(graph, conv, pool)
    for axis, lead in zip(axes, leads, strict=True):
        # One output depends on so many cells, whichever of the two comes first.
        reach = axis.first.span + axis.second.size - 1
        both = Window(reach, axis.second.stride)
        fits.append(fit_padding(both, axis.law, axis.length, lead))
    return fits
