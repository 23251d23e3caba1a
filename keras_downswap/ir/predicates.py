"""What a call is to a rule: what it does to positions and to signs, and whether a pool commutes."""

from __future__ import annotations

from keras_downswap.ir.facts import ElementwiseFacts
from keras_downswap.ir.graph import POOLS, Call, Graph, Role, Shape

ALONG_LAST_AXIS = frozenset({"softmax", "log_softmax", "sparsemax", "glu"})
"""Activations that mix the values along the last axis."""
ELEMENTWISE = frozenset({
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish",
    "hard_silu", "hard_swish", "sigmoid", "hard_sigmoid", "log_sigmoid", "sparse_sigmoid", "tanh",
    "hard_tanh", "tanh_shrink", "softplus", "sparse_plus", "squareplus", "softsign", "soft_shrink",
    "hard_shrink", "threshold", "exponential",
})  # fmt: skip
"""Activations that map each value by itself."""
NEVER_NEGATIVE = frozenset(
    {"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "exponential", "softplus"}
)
"""Activations with no value below zero."""
MONOTONE = NEVER_NEGATIVE - {"softmax"} | {
    "linear", "leaky_relu", "elu", "selu", "celu", "log_sigmoid", "tanh", "hard_tanh",
    "tanh_shrink", "squareplus", "sparse_plus", "softsign", "soft_shrink", "hard_shrink",
}  # fmt: skip
"""Activations that are non-decreasing."""


def channel_axis_of(shape: Shape, channels_last: bool) -> int:
    """Return the index of the channel axis of a (batch, ...) shape."""
    return len(shape) - 1 if channels_last else 1


def is_elementwise(graph: Graph, call: Call, channels_last: bool) -> bool:
    """Tell whether a call treats every position alike: by itself, or along the channels only."""
    if call.role not in (Role.LINEAR, Role.POINTWISE):
        return False
    channel_axis = channel_axis_of(graph.input_shape(call), channels_last)
    return call.axis is None or call.axis == channel_axis


def is_pool(call: Call) -> bool:
    """Anchor at pools, global ones included."""
    return call.role in POOLS or call.role is Role.GLOBAL_POOL


def is_strided_conv(call: Call) -> bool:
    """Anchor at strided convolutions of any kind."""
    return call.strided and call.role in (Role.CONV, Role.OTHER_CONV)


def is_even_conv(call: Call) -> bool:
    """Anchor at convolutions with an even kernel size along some axis."""
    return call.role is Role.CONV and any(window.size % 2 == 0 for window in call.windows)


def is_position_wise(graph: Graph, call: Call, channels_last: bool) -> bool:
    """Tell whether a call treats every position alike, whatever the number of its inputs."""
    if call.role is not Role.JOIN:
        return is_elementwise(graph, call, channels_last)
    shapes = [graph.tensors[tensor].shape for tensor in (*call.inputs, *call.outputs)]
    channel_axis = channel_axis_of(shapes[-1], channels_last)
    # A join broadcasts: an input of another size would be seen at other positions.
    positions = {shape[:channel_axis] + shape[channel_axis + 1 :] for shape in shapes}
    along_channels = call.axis is None or call.axis == channel_axis
    return len(positions) == 1 and along_channels


def takes_means(pool: Call) -> bool:
    """Tell whether a pool computes means, which of a single cell every pool does."""
    if pool.role is Role.AVERAGE_POOL:
        return True
    return pool.role in POOLS and all(window.size == 1 for window in pool.windows)


def pool_commutes(graph: Graph, pool: Call, call: Call) -> bool:
    """Tell whether a pool and an elementwise map give the same in either order, at inference."""
    wrapped = call.wrapped is not None or pool.wrapped is not None
    if wrapped or call.frozen_training:
        return False
    if not is_elementwise(graph, call, pool.channels_last):
        return False
    if pool.role is Role.AVERAGE_POOL:
        return call.role is Role.LINEAR
    facts = call.facts
    if not isinstance(facts, ElementwiseFacts) or facts.axis is not None:
        # Along an axis the map may differ from channel to channel, and decrease in some of them.
        return False
    return facts.is_monotone or facts.activation in MONOTONE


def never_negative(graph: Graph, tensor: int) -> bool:
    """Tell whether no value of a tensor can be below zero, as far as the calls upstream show."""
    todo = [tensor]
    seen: set[int] = set()
    while todo:
        now = todo.pop()
        if now in seen:
            continue
        call = graph.calls[graph.tensors[now].producer]
        facts = call.facts
        by_itself = isinstance(facts, ElementwiseFacts) and facts.is_never_negative
        if by_itself or call.activation in NEVER_NEGATIVE:
            continue
        seen.add(now)
        # Pools, padding with zeros and such pass on what they get: the question goes upstream.
        passes_signs = call.role in POOLS or call.role is Role.RESIZE or call.keeps_sign
        if not passes_signs:
            return False
        todo += call.inputs
    return True
