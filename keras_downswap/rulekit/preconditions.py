"""What rules refuse, each time with the same words."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.ir.graph import Call, Graph, Role, Shape
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, ELEMENTWISE, takes_means
from keras_downswap.rulekit.rule import require, skip_unless


def require_conv(conv: Call) -> None:
    """Refuse what is not an ordinary convolution of one tensor."""
    ordinary = conv.role is Role.CONV
    require(ordinary, f"{conv.label} is no ordinary, depthwise or separable convolution")
    require(conv.obstacle is None, f"{conv.label} {conv.obstacle}")


def require_pointwise(conv: Call) -> None:
    """Skip what is not a 1x1 convolution, for rules that are about those."""
    for window in conv.windows:
        one = window.size == 1 and not isinstance(window.padding, tuple)
        skip_unless(one, f"{conv.label} has more than one tap")


def require_means(pool: Call) -> None:
    """Skip a pool of maxima, for rules that compute means with a convolution."""
    means = takes_means(pool)
    skip_unless(means, f"{pool.label} computes maxima, which no single convolution does")


def require_average_pool(pool: Call) -> None:
    """Skip a pool of maxima, for rules that move a pool before a convolution."""
    means = pool.role is Role.AVERAGE_POOL
    skip_unless(means, f"{pool.label} computes maxima, which no convolution commutes with")


def require_pool_stride(pool: Call, conv: Call) -> None:
    """Refuse to move a pool before a convolution that would then compute no fewer outputs."""
    require(pool.strided, f"{pool.label} has a stride of 1: it saves nothing before {conv.label}")


def require_unit_stride(conv: Call) -> None:
    """Refuse to move a pool before a convolution with a stride.

    Such a convolution reads cells a stride apart; the pool would average cells that lie between.
    """
    neighbours = "over which no pool of neighbours commutes with it"
    require(not conv.strided, f"{conv.label} has a stride, {neighbours}")


def require_single_cells(pool: Call) -> None:
    """Skip a pool with windows of several cells, for rules about pure subsampling."""
    for window in pool.windows:
        one = window.size == 1
        skip_unless(one, f"{pool.label} has a window above 1, so it does not only subsample")


def require_position_free(conv: Call, between: Sequence[Call] = ()) -> None:
    """Refuse, for exact rules, what looks at other positions than its own.

    Some activations do, and so does a BatchNormalization that uses batch statistics.
    """
    safe = ELEMENTWISE
    if conv.channels_last:
        # The last axis is that of the channels: what mixes it treats every position alike.
        safe = ELEMENTWISE | ALONG_LAST_AXIS
    unknown = "which is not known to treat every position alike here"
    for call in (conv, *between):
        found = f"{call.label} has the activation {call.activation}"
        require(call.activation in safe, f"{found}, {unknown}")
        # Batch statistics are means over the positions, and there are fewer of those after a swap.
        fixed = not call.frozen_training
        require(fixed, f"{call.label} is called with training=True, which is no fixed map")


def require_linear(conv: Call, between: Sequence[Call]) -> None:
    """Refuse, for exact rules, what does not commute with means: whatever is not linear."""
    activation = conv.activation
    commutes = activation == "linear"
    only_linear = "only linear maps commute with means"
    require(commutes, f"{conv.label} has the activation {activation}: {only_linear}")
    require_position_free(conv, between)
    for call in between:
        linear = call.role is Role.LINEAR or call.is_linear_join
        require(linear, f"{call.label} stands between and is not linear")


def require_bias_in_place(graph: Graph, conv: Call, after: Call | None = None) -> None:
    """Refuse, for exact rules, a width at which this Keras misplaces a `channels_first` bias.

    Args:
        graph: The graph.
        conv: The convolution.
        after: The call whose output the convolution computes after the swap, where that is not its
            own.
    """
    calls = [conv] if after is None else [conv, after]
    widths = [graph.output_shape(call)[-1] for call in calls]
    require_bias_off_widths(graph, conv, widths)


def require_bias_off_widths(graph: Graph, conv: Call, widths: Sequence[int | None]) -> None:
    """Refuse widths at which this Keras misplaces the `channels_first` bias of a convolution.

    Args:
        graph: The graph.
        conv: The convolution.
        widths: The lengths of its last axis before and after the swap, None where unknown.
    """
    # Some versions add the bias along the last axis where that is as long as there are filters.
    if not conv.conv.misplaces_channels_first_bias:
        return
    filters = graph.output_shape(conv)[1]
    apart = None not in widths and filters is not None and filters not in widths
    whether = "may be" if None in widths else "is"
    where = f"{whether} somewhere as wide as it has filters, {filters}"
    require(
        apart,
        f"{conv.label} is channels_first and {where}: there this Keras adds the bias along the "
        "width instead of the channels, so no swap keeps the values",
    )


def require_window(graph: Graph, pool: Call) -> None:
    """Refuse a pool that is no downsampling site: a global one, by class or by its window."""
    require(pool.obstacle is None, f"{pool.label} {pool.obstacle}")
    local = pool.role is not Role.GLOBAL_POOL
    require(local, f"{pool.label} is global pooling, not a downsampling site")
    sizes = graph.sizes(pool)
    covers_all = True
    single_cells = True
    for length, window in zip(sizes, pool.windows, strict=True):
        covers_all = covers_all and length is not None and window.size >= length
        single_cells = single_cells and window.size == 1
    whole = "x".join(str(length) for length in sizes)
    # A window of one cell over a map of one cell computes nothing: it only subsamples.
    downsamples = not covers_all or single_cells
    site = "global pooling, not a downsampling site"
    require(downsamples, f"{pool.label} covers its whole {whole} map: {site}")


def require_one_dtype(graph: Graph, calls: Sequence[Call]) -> None:
    """Refuse to reorder calls that do not all compute in one dtype."""
    found: set[str] = set()
    for call in calls:
        for tensor in (*call.inputs, *call.outputs):
            found.add(graph.tensors[tensor].dtype)
    dtypes = " and ".join(sorted(found))
    which = f"{calls[0].label} to {calls[-1].label}"
    require(len(found) == 1, f"{which} compute in {dtypes}, not in one dtype")


def require_floats(graph: Graph, pool: Call) -> None:
    """Refuse a pool of integers, where its replacement computes with floating-point numbers."""
    dtype = graph.tensors[pool.inputs[0]].dtype
    floats = "floating-point numbers only"
    require("float" in dtype, f"{pool.label} pools {dtype}, and the swap computes with {floats}")


def require_never_pads(graph: Graph, pool: Call, sizes: Shape | None = None) -> None:
    """Refuse an average pool some window of which reaches outside its input.

    Its divisor is not the same in every window then.

    Args:
        graph: The graph.
        pool: The pool.
        sizes: The lengths of its input, where they are not those of the graph.
    """
    lengths = graph.sizes(pool) if sizes is None else sizes
    for window, length in zip(pool.windows, lengths, strict=True):
        where = "an unknown length" if length is None else f"length {length}"
        padding = f"padding='same' over {where}"
        inside = window.never_pads(length)
        require(inside, f"{pool.label} pads ({padding}), so its divisor changes at the border")


def require_free_name(graph: Graph, call: Call) -> None:
    """Refuse to put a layer after a call that names one of several outputs of the model."""
    several = graph.scope == 0 and len(graph.outputs) > 1
    names_output = several and graph.is_output(call)
    outputs = "one of several outputs of the model"
    reason = f"the output of {call.label} is {outputs}: a layer after it would rename it"
    require(not names_output, reason)
