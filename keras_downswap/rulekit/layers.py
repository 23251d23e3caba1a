"""From fitted windows to layers: the convolution's own padding where that will do, else layers."""

from __future__ import annotations

from collections.abc import Sequence

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import FittedPadding, Padding, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import KernelTransform, Make, MakeConv, MakePool, MakeResize
from keras_downswap.rulekit.matching import Branch
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import Lead, padded_alike, pair_axes

POOL_KINDS = {Role.MAX_POOL: LayerKind.MAX_POOLING, Role.AVERAGE_POOL: LayerKind.AVERAGE_POOLING}
"""The kind of layer that a pool of a role is."""

POOL_TARGETS = {"max_pool": LayerKind.MAX_POOLING, "average_pool": LayerKind.AVERAGE_POOLING}
"""The targets that name a kind of pool, and the kind."""

Layers = tuple[Make, ...]
"""Layers to be made, in the order in which they are called."""


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
    # TensorFlow computes depthwise convolutions with one stride for all axes only.
    possible = kind is LayerKind.CONV or len(set(strides)) == 1
    alike = f"a {kind.value} has the same stride along all axes only"
    require(possible, f"{conv.label} would need the strides {strides}, and {alike}")
    return MakeConv(
        conv.name,
        conv.layer,
        kind,
        axes=padded_alike(windows, padding),
        channels_last=conv.channels_last,
        like=conv.layer,
        kernel=kernel,
    )


def conv_with_own_padding(conv: Call, windows: Sequence[Window]) -> Layers:
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
    new = conv_layer(conv, windows, plain)
    return (*padding_layers(conv, fits), new)


def conv_with_padding(
    conv: Call,
    windows: Sequence[Window],
    fits: Sequence[FittedPadding],
    kernel: KernelTransform | None = None,
) -> Layers:
    """Return the convolution with other windows, after the padding and cropping that it needs.

    Args:
        conv: The convolution that gives its name, weights and other settings.
        windows: Its new windows, one per axis; their own padding is ignored.
        fits: Their fitted padding, one per axis.
        kernel: Computes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer before it is needed and this Keras has none for the data format.
    """
    plain = common_plain(fits)
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


def common_plain(fits: Sequence[FittedPadding]) -> frozenset[Padding]:
    """Return the plain paddings that serve all axes."""
    # A Keras layer has one padding for all its axes.
    each = [fit.plain for fit in fits]
    return frozenset[Padding].intersection(*each)


def may_be_causal(conv: Call) -> bool:
    """Tell whether such a convolution may have padding='causal' in both Kerases."""
    one_axis = len(conv.windows) == 1
    return one_axis and conv.conv.kind is LayerKind.CONV


def fused_conv(
    graph: Graph,
    branch: Branch,
    windows: Sequence[Window],
    leads: Sequence[Lead],
    kernel: KernelTransform | None = None,
) -> Layers:
    """Return one convolution, and the layers before it, that does a pool's work too.

    Args:
        graph: The graph.
        branch: The convolution and the pool after it.
        windows: The convolution's new windows, one per axis.
        leads: Its lead, or wishes for it, one per axis; see `geometry.fit_padding`.
        kernel: Computes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer before it is needed and this Keras has none for the data format.
    """
    conv = branch.conv
    causal = may_be_causal(conv)
    axes = pair_axes(graph, conv, branch.pool)
    fits = []
    for axis, window, lead in zip(axes, windows, leads, strict=True):
        # The pair's law fixes how many cells are padded in all; the lead says how many before.
        fit = fit_padding(window, axis.law, axis.length, lead, causal)
        fits.append(fit)
    return conv_with_padding(conv, windows, fits, kernel)


def padding_layers(conv: Call, fits: Sequence[FittedPadding]) -> Layers:
    """Return the padding and cropping layers that give a `valid` convolution its fitted padding.

    Raises:
        Refused: If this Keras has none for the data format.
    """
    pads = []
    crops = []
    for fit in fits:
        # A negative number of cells to pad is that number of cells to crop.
        pads.append(_positive(fit.before, fit.after))
        crops.append(_positive(-fit.before, -fit.after))
    padding = _resize(conv, LayerKind.ZERO_PADDING, f"{conv.name}_pad", pads)
    cropping = _resize(conv, LayerKind.CROPPING, f"{conv.name}_crop", crops)
    return (*padding, *cropping)


def _positive(before: int, after: int) -> tuple[int, int]:
    return max(before, 0), max(after, 0)


def cropped(pool: Call, cells: Sequence[tuple[int, int]]) -> Layers:
    """Return the layer that crops cells (before, after) of each axis; none if it crops none.

    Raises:
        Refused: If this Keras has no such layer for the data format.
    """
    return _resize(pool, LayerKind.CROPPING, f"{pool.name}_crop", cells)


def _resize(call: Call, kind: LayerKind, name: str, amount: Sequence[tuple[int, int]]) -> Layers:
    """Return a padding or cropping layer beside a call; none where it would do nothing."""
    if not any(before or after for before, after in amount):
        return ()
    layer = f"{kind.value}{len(amount)}D"
    missing = f"{layer}, which this Keras does not provide for channels_first"
    require(kind in call.padding_layers, f"{call.label} would need {missing}")
    resize = MakeResize(name, call.layer, kind, tuple(amount), call.channels_last)
    return (resize,)


def pool_layer(kind: LayerKind, name: str, windows: Sequence[Window], like: Call) -> MakePool:
    """Return a pool of one kind with the given windows.

    Args:
        kind: Max or average pooling.
        name: Its wanted name.
        windows: Its windows, one per axis.
        like: The convolution or pool whose data format and dtype policy it has.
    """
    return MakePool(name, like.layer, kind, tuple(windows), like.channels_last)
