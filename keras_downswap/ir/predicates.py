"""What a call is, to a rule: what it does to positions, to signs, and beside a pool."""

from __future__ import annotations

from keras_downswap.ir.graph import POOLS, Call, Graph, Role

ALONG_LAST_AXIS = frozenset({"softmax", "log_softmax", "sparsemax", "glu"})
ELEMENTWISE = frozenset({
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "hard_silu",
    "hard_swish", "sigmoid", "hard_sigmoid", "log_sigmoid", "sparse_sigmoid", "tanh", "hard_tanh", "tanh_shrink",
    "softplus", "sparse_plus", "squareplus", "softsign", "soft_shrink", "hard_shrink", "threshold", "exponential",
})  # fmt: skip
NEVER_NEGATIVE = frozenset(
    {"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "exponential", "softplus"}
)
MONOTONE = NEVER_NEGATIVE - {"softmax"} | {
    "linear", "leaky_relu", "elu", "selu", "celu", "log_sigmoid", "tanh", "hard_tanh", "tanh_shrink", "squareplus",
    "sparse_plus", "softsign", "soft_shrink", "hard_shrink",
}  # fmt: skip


def is_elementwise(graph: Graph, call: Call, channels_last: bool) -> bool:
    """Tell whether a call treats every position alike: elementwise, or along the channel axis only."""
    if call.role not in (Role.LINEAR, Role.POINTWISE):
        return False
    channel_axis = len(graph.input_shape(call)) - 1 if channels_last else 1
    return bool(call.settings.get("axis", channel_axis) == channel_axis)


def is_pool(call: Call) -> bool:
    """Anchor at pools, global ones included."""
    return call.role in POOLS or call.role is Role.GLOBAL_POOL


def is_strided_conv(call: Call) -> bool:
    """Anchor at strided convolutions of any kind."""
    return call.strided and call.role in (Role.CONV, Role.OTHER_CONV)


def is_position_wise(graph: Graph, call: Call, channels_last: bool) -> bool:
    """Tell whether a call treats every position alike, whatever the number of its inputs."""
    if call.role is not Role.JOIN:
        return is_elementwise(graph, call, channels_last)
    shapes = [graph.tensors[t].shape for t in (*call.inputs, *call.outputs)]
    channel_axis = len(shapes[-1]) - 1 if channels_last else 1
    places = {tuple(n for axis, n in enumerate(shape) if axis != channel_axis) for shape in shapes}
    return len(places) == 1 and bool(call.settings.get("axis", channel_axis) == channel_axis)


def takes_means(pool: Call) -> bool:
    """Tell whether a pool takes means, which of a single cell every pool does."""
    return pool.role is Role.AVERAGE_POOL or (
        pool.role in POOLS and all(w.size == 1 for w in pool.windows)
    )


def pool_commutes(graph: Graph, pool: Call, call: Call) -> bool:
    """Tell whether a pool and an elementwise map give the same in either order, at inference."""
    apart = call.wrapped is None and pool.wrapped is None and not call.frozen_training
    if not apart or not is_elementwise(graph, call, pool.channels_last):
        return False
    if pool.role is Role.AVERAGE_POOL:
        return call.role is Role.LINEAR
    monotone = call.settings.get("monotone") or call.settings.get("activation") in MONOTONE
    return bool(monotone and "axis" not in call.settings)


def never_negative(graph: Graph, tensor: int) -> bool:
    """Tell whether no value of a tensor can be below zero, as far as the calls that made it tell."""
    todo, seen = [tensor], set[int]()
    while todo:
        now = todo.pop()
        call = graph.calls[graph.tensors[now].producer]
        if (
            now in seen
            or call.settings.get("activation") in NEVER_NEGATIVE
            or call.settings.get("never_negative")
        ):
            continue
        seen.add(now)
        if call.role not in POOLS | {Role.RESIZE} and not call.settings.get("keeps_sign"):
            return False
        todo += call.inputs
    return True
