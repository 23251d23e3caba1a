"""What rules refuse, each time with the same words."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.ir.graph import Call, Graph, Role, Shape
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, ELEMENTWISE
from keras_downswap.rulekit.rule import require, skip_unless


def require_conv(conv: Call) -> None:
    """Refuse what is not an ordinary convolution of one tensor."""
    require(
        conv.role is Role.CONV, f"{conv.label} is no ordinary, depthwise or separable convolution"
    )
    require(conv.obstacle is None, f"{conv.label} {conv.obstacle}")


def require_pointwise(conv: Call) -> None:
    """Refuse what is no 1x1 convolution, for rules that act in front of one; passed over, as others are for that."""
    one = all(w.size == 1 and not isinstance(w.padding, tuple) for w in conv.windows)
    skip_unless(one, f"{conv.label} has more than one tap")


def require_position_free(conv: Call, between: tuple[Call, ...] = ()) -> None:
    """Refuse, for exact rules, what looks at other positions than its own: some activations, batch statistics."""
    safe = ELEMENTWISE | (ALONG_LAST_AXIS if conv.channels_last else frozenset())
    for call in (conv, *between):
        activation = call.settings.get("activation", "linear")
        known = f"{call.label} has the activation {activation}, which is not known to treat every position alike here"
        require(activation in safe, known)
        require(
            not call.frozen_training,
            f"{call.label} is called with training=True, which is no fixed map",
        )


def require_linear(conv: Call, between: tuple[Call, ...]) -> None:
    """Refuse, for exact rules, what does not commute with means: any activation, any call that is not linear."""
    activation = conv.settings["activation"]
    require(
        activation == "linear",
        f"{conv.label} has the activation {activation}: only linear maps commute with means",
    )
    require_position_free(conv, between)
    for call in between:
        linear = call.role is Role.LINEAR or bool(call.settings.get("linear"))
        require(linear, f"{call.label} stands between and is not linear")


def require_bias_in_place(graph: Graph, conv: Call, *widths: int | None) -> None:
    """Refuse, for exact rules, a width at which this Keras adds a `channels_first` bias along the width.

    Args:
        graph: The graph.
        conv: The convolution.
        widths: The lengths of its last axis before and after the swap, None where unknown.
    """
    filters = graph.output_shape(conv)[1]
    require(
        not conv.settings.get("misplaces_channels_first_bias") or not {filters, None} & set(widths),
        f"{conv.label} is channels_first and {'may be' if None in widths else 'is'} somewhere as wide as it has "
        f"filters, {filters}: there this Keras adds the bias along the width instead of the channels, so no swap keeps "
        "the values",
    )


def require_window(graph: Graph, pool: Call) -> None:
    """Refuse a pool that is not a downsampling site: a global one, by class or because it covers its whole map."""
    require(pool.obstacle is None, f"{pool.label} {pool.obstacle}")
    require(
        pool.role is not Role.GLOBAL_POOL,
        f"{pool.label} is global pooling, not a downsampling site",
    )
    sizes = graph.sizes(pool)
    covers = all(n is not None and w.size >= n for n, w in zip(sizes, pool.windows, strict=True))
    whole = "x".join(str(n) for n in sizes)
    require(
        not covers or all(w.size == 1 for w in pool.windows),
        f"{pool.label} covers its whole {whole} map: global pooling, not a downsampling site",
    )


def require_one_dtype(graph: Graph, calls: Sequence[Call]) -> None:
    """Refuse to reorder calls that do not all take and make values of one dtype."""
    dtypes = sorted(
        {graph.tensors[t].dtype for call in calls for t in (*call.inputs, *call.outputs)}
    )
    require(
        len(dtypes) == 1,
        f"{calls[0].label} to {calls[-1].label} compute in {' and '.join(dtypes)}, not in one dtype",
    )


def require_floats(graph: Graph, pool: Call) -> None:
    """Refuse a pool of integers, where what takes its place computes with floating-point numbers."""
    dtype = graph.tensors[pool.inputs[0]].dtype
    require(
        "float" in dtype,
        f"{pool.label} pools {dtype}, and the swap computes with floating-point numbers only",
    )


def require_never_pads(graph: Graph, pool: Call, sizes: Shape | None = None) -> None:
    """Refuse an average pool some window of which reaches outside its input: its divisor is not the same everywhere."""
    for window, n in zip(pool.windows, graph.sizes(pool) if sizes is None else sizes, strict=True):
        where = "an unknown length" if n is None else f"length {n}"
        require(
            window.never_pads(n),
            f"{pool.label} pads (padding='same' over {where}), so its divisor changes at the border",
        )


def require_free_name(graph: Graph, call: Call) -> None:
    """Refuse to put a layer behind a call that names one of several outputs of the model."""
    several = graph.scope == 0 and len(graph.outputs) > 1
    require(
        not (several and graph.is_output(call)),
        f"the output of {call.label} is one of several outputs of the model: a layer behind it would rename it",
    )
