"""From fitted windows to layers: the convolution's own padding where that will do, else layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import FittedPadding, Padding, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import (
    KernelTransform,
    Make,
    MakeActivation,
    MakeConv,
    MakePool,
    MakeResize,
    Replacement,
    Step,
)
from keras_downswap.ir.types import Array
from keras_downswap.ir.walks import in_graph_order
from keras_downswap.rulekit.matching import branches_upstream
from keras_downswap.rulekit.preconditions import require_window
from keras_downswap.rulekit.rule import require

POOL_KINDS = {Role.MAX_POOL: LayerKind.MAX_POOLING, Role.AVERAGE_POOL: LayerKind.AVERAGE_POOLING}
"""The kind of layer that a pool of a role is."""

POOL_TARGETS = {"max_pool": LayerKind.MAX_POOLING, "average_pool": LayerKind.AVERAGE_POOLING}
"""The targets that name a kind of pool, and the kind."""

Fuse = Callable[[Graph, Call, tuple[Call, ...], Call], tuple[Make, ...]]


def conv_layer(
    conv: Call,
    windows: Sequence[Window],
    padding: Padding,
    kernel: KernelTransform | None = None,
) -> MakeConv:
    """Return a convolution of the same kind with other windows.

    Args:
        conv: The convolution that gives its kind, name, weights and other settings.
        windows: Its new windows, one per axis; their own padding is ignored.
        padding: Its padding.
        kernel: Computes the new (of a separable convolution: depthwise) kernel from the old one;
            None moves it verbatim.

    Raises:
        Refused: If it is depthwise, and the strides would differ between the axes.
    """
    kind = conv.conv.kind
    strides = tuple(window.stride for window in windows)
    any_strides = kind is LayerKind.CONV or len(set(strides)) == 1
    alike = f"a {kind.value} has the same stride along all axes only"
    require(any_strides, f"{conv.label} would need the strides {strides}, and {alike}")
    return MakeConv(
        conv.name,
        conv.layer,
        kind,
        axes=padded_alike(windows, padding),
        channels_last=conv.channels_last,
        like=conv.layer,
        kernel=kernel,
    )


def conv_with_own_padding(conv: Call, windows: Sequence[Window]) -> tuple[Make, ...]:
    """Return a convolution with other strides, padded as it is now.

    Args:
        conv: The convolution.
        windows: Its new windows, of the same sizes and dilations.

    Raises:
        Refused: If a layer before it is needed and this Keras has none for the data format.
    """
    plain: Padding = "valid"
    fits = []
    for window in conv.windows:
        if isinstance(window.padding, tuple):
            # An earlier swap padded it by a layer, which this replacement must bring along.
            before, after = window.padding
            fits.append(FittedPadding(before, after, frozenset()))
        else:
            plain = window.padding
    return (*padding_layers(conv, fits), conv_layer(conv, windows, plain))


def padded_alike(windows: Sequence[Window], padding: Padding) -> tuple[Window, ...]:
    """Return windows with one padding instead of their own."""
    return tuple(Window(w.size, w.stride, w.dilation, padding) for w in windows)


def conv_with_padding(
    conv: Call,
    windows: Sequence[Window],
    fits: Sequence[FittedPadding],
    kernel: KernelTransform | None = None,
) -> tuple[Make, ...]:
    """Return the convolution with other windows, after the padding and cropping that it needs.

    Args:
        conv: The convolution that gives its name, weights and other settings.
        windows: Its new windows, one per axis; their own padding is ignored.
        fits: Their fitted padding, one per axis.
        kernel: Computes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer before it is needed and this Keras has none for the data format.
    """
    plain = frozenset[str].intersection(*(fit.plain for fit in fits))
    own = conv.windows[0].padding
    # The old padding first: then the new layer differs from the old one in as little as possible.
    wishes: list[Padding] = ["valid", "same", "causal"]
    if not isinstance(own, tuple):
        wishes.insert(0, own)
    for padding in wishes:
        if padding in plain:
            return (conv_layer(conv, windows, padding, kernel),)
    new = conv_layer(conv, windows, "valid", kernel)
    return (*padding_layers(conv, fits), new)


def may_be_causal(conv: Call) -> bool:
    """Tell whether such a convolution may have padding='causal' in both Kerases."""
    return conv.conv.kind is LayerKind.CONV and len(conv.windows) == 1


def in_each_branch(graph: Graph, pool: Call, fuse: Fuse, padded: bool = False) -> Replacement:
    """Return a pool's work done by the convolutions of all branches that lead to it.

    Args:
        graph: The graph.
        pool: The pool, which is removed.
        fuse: Returns the layers that replace one branch's convolution, given the graph, the
            convolution, the calls between, and the pool; refuses through `require`.
        padded: Whether the pool may take a ZeroPadding layer right before it with it, as its own
            padding: then where the windows lie agrees, not their values.

    Raises:
        Refused: If some branch cannot take it: then none does.
    """
    branches = branches_upstream(graph, pool, padded)
    steps: dict[int, tuple[Step, ...]] = {}
    for path in branches:
        # The last call is the pool with the padding that this branch leads through.
        conv, *between, padded_pool = path
        steps[conv.index] = fuse(graph, conv, tuple(between), padded_pool)
        for call in between:
            if call.role is Role.RESIZE:
                steps[call.index] = ()
    steps[pool.index] = placeholder_for(graph, pool)
    chain = tuple(call.index for call in in_graph_order(branches))
    return Replacement(chain, steps)


def fused_conv(
    graph: Graph,
    conv: Call,
    pool: Call,
    windows: Sequence[Window],
    leads: Sequence[int | tuple[int, ...]],
    kernel: Callable[[Array], Array] | None = None,
) -> tuple[Make, ...]:
    """Return one convolution, and the layers before it, that does a pool's work too.

    Args:
        graph: The graph.
        conv: The convolution.
        pool: The pool after it.
        windows: The convolution's new windows, one per axis.
        leads: Its lead, or wishes for it, one per axis; see `geometry.fit_padding`.
        kernel: Computes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer before it is needed and this Keras has none for the data format.
    """
    causal = may_be_causal(conv)
    sizes = graph.sizes(conv)
    fits = []
    pairs = zip(conv.windows, pool.windows, strict=True)
    laws = [c.law.then(p.law) for c, p in pairs]
    for window, law, n, lead in zip(windows, laws, sizes, leads, strict=True):
        fits.append(fit_padding(window, law, n, lead, causal=causal))
    return conv_with_padding(conv, windows, fits, kernel)


def padding_layers(conv: Call, fits: Sequence[FittedPadding]) -> tuple[Make, ...]:
    """Return the padding and cropping layers that give a `valid` convolution its fitted padding.

    Raises:
        Refused: If this Keras has none for the data format.
    """
    pads = []
    crops = []
    for fit in fits:
        pads.append((max(fit.before, 0), max(fit.after, 0)))
        crops.append((max(-fit.before, 0), max(-fit.after, 0)))
    padding = _resize(conv, LayerKind.ZERO_PADDING, f"{conv.name}_pad", pads)
    cropping = _resize(conv, LayerKind.CROPPING, f"{conv.name}_crop", crops)
    return (*padding, *cropping)


def cropped(pool: Call, cells: Sequence[tuple[int, int]]) -> tuple[Make, ...]:
    """Return the layer that crops cells (before, after) of each axis; none if it crops none.

    Raises:
        Refused: If this Keras has no such layer for the data format.
    """
    return _resize(pool, LayerKind.CROPPING, f"{pool.name}_crop", cells)


def _resize(
    call: Call, kind: LayerKind, name: str, amount: Sequence[tuple[int, int]]
) -> tuple[Make, ...]:
    """Return a padding or cropping layer beside a call; none where it would do nothing."""
    if not any(before or after for before, after in amount):
        return ()
    layer = f"{kind.value}{len(amount)}D"
    missing = f"{layer}, which this Keras does not provide for channels_first"
    require(kind in call.padding_layers, f"{call.label} would need {missing}")
    return (MakeResize(name, call.layer, kind, tuple(amount), call.channels_last),)


def pool_layer(
    kind: LayerKind, name: str, windows: Sequence[Window], like: Call, beside: Call
) -> MakePool:
    """Return a pool of one kind with the given windows.

    Args:
        kind: Max or average pooling.
        name: Its wanted name.
        windows: Its windows, one per axis.
        like: The convolution or pool whose data format it has.
        beside: The call whose dtype policy it has.
    """
    return MakePool(name, beside.layer, kind, tuple(windows), like.channels_last)


def other_pool(graph: Graph, pool: Call, to: str) -> Replacement:
    """Return a pool of the kind that a target names, over the same windows, as the replacement.

    Raises:
        Refused: If the pool is of that kind already, or pools integers.
    """
    kind = POOL_TARGETS[to]
    other = POOL_KINDS.get(pool.role) is not kind
    require(other, f"{pool.label} already is what to='{to}' asks for")
    require_window(graph, pool)
    dtype = graph.tensors[pool.inputs[0]].dtype
    floats = "averages are computed of floating-point numbers only"
    require("float" in dtype, f"{pool.label} pools {dtype}, and {floats}")
    new = pool_layer(kind, pool.name, pool.windows, pool, pool)
    return Replacement((pool.index,), {pool.index: (new,)})


def placeholder_for(graph: Graph, pool: Call) -> tuple[Step, ...]:
    """Return the replacement of a removed pool: nothing, as a rule.

    Where the pool names one of several outputs of the model, an identity of its name stays.
    """
    several = graph.scope == 0 and len(graph.outputs) > 1
    if several and graph.is_output(pool):
        return (MakeActivation(pool.name, pool.layer, LayerKind.ACTIVATION, "linear"),)
    return ()
