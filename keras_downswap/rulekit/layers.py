"""From fitted windows to steps: the convolution's own padding where that will do, else layers in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_downswap.ir.geometry import FittedPadding, Window, fit_padding
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import Make, Replacement, Step
from keras_downswap.ir.types import Array
from keras_downswap.ir.walks import in_graph_order
from keras_downswap.rulekit.matching import branches_upstream
from keras_downswap.rulekit.rule import require


def conv_with_padding(
    conv: Call,
    windows: Sequence[Window],
    fits: Sequence[FittedPadding],
    kernel: Callable[[Array], Array] | None = None,
) -> tuple[Make, ...]:
    """Return the convolution with other windows, preceded by the padding and cropping layers that it needs.

    Args:
        conv: The convolution that gives its name, weights and other settings.
        windows: Its new windows, one per axis; their own padding is ignored.
        fits: Their fitted padding, one per axis.
        kernel: Makes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer in front is needed and this Keras has none for the data format.
    """
    plain = frozenset[str].intersection(*(f.plain for f in fits))
    own = conv.windows[0].padding
    chosen = next((p for p in (own, "valid", "same", "causal") if p in plain), None)
    new = conv_layer(conv, windows, chosen or "valid", kernel)
    return (new,) if chosen else (*padding_layers(conv, fits), new)


def conv_layer(
    conv: Call,
    windows: Sequence[Window],
    padding: str | tuple[int, int],
    kernel: Callable[[Array], Array] | None = None,
) -> Make:
    """Return a convolution of the same kind with other windows.

    Args:
        conv: The convolution that gives its kind, name, weights and other settings.
        windows: Its new windows, one per axis; their own padding is ignored.
        padding: Its padding.
        kernel: Makes the new (of a separable convolution: depthwise) kernel from the old one; None
            moves it verbatim.

    Raises:
        Refused: If it is depthwise, and the strides would differ between the axes.
    """
    kind, strides = conv.settings["kind"], tuple(w.stride for w in windows)
    equal = f"{conv.label} would need the strides {strides}, and a {kind} takes the same stride along all axes only"
    require(kind == "Conv" or len(set(strides)) == 1, equal)
    return Make(
        kind,
        len(windows),
        conv.name,
        conv_settings(windows, padding),
        conv.layer,
        conv.layer,
        kernel,
    )


def may_be_causal(conv: Call) -> bool:
    """Tell whether a convolution of this kind and rank may have padding='causal' in both Kerases."""
    return conv.settings["kind"] == "Conv" and len(conv.windows) == 1


def in_each_branch(
    graph: Graph,
    pool: Call,
    fuse: Callable[[Graph, Call, tuple[Call, ...], Call], tuple[Make, ...]],
    padded: bool = False,
) -> Replacement:
    """Return a pool's work done by the convolutions of all branches that lead to it.

    Args:
        graph: The graph.
        pool: The pool, which goes.
        fuse: Returns what takes the place of one branch's convolution, given the graph, the
            convolution, the calls between, and the pool; refuses through `require`.
        padded: Whether the pool may take a ZeroPadding layer right in front of it with it, as its
            own padding: then where the windows lie agrees, not what they see.

    Raises:
        Refused: If some branch cannot take it: then none does.
    """
    branches = branches_upstream(graph, pool, padded)
    steps: dict[int, tuple[Step, ...]] = {
        conv.index: fuse(graph, conv, tuple(b), p) for conv, *b, p in branches
    }
    steps |= {
        call.index: () for path in branches for call in path[1:-1] if call.role is Role.RESIZE
    }
    steps[pool.index] = placeholder_for(graph, pool)
    return Replacement(tuple(call.index for call in in_graph_order(branches)), steps)


def fused_conv(
    graph: Graph,
    conv: Call,
    pool: Call,
    windows: Sequence[Window],
    leads: Sequence[int | tuple[int, ...]],
    kernel: Callable[[Array], Array] | None = None,
) -> tuple[Make, ...]:
    """Return one convolution, and the layers in front of it, that does a pool's work too.

    Args:
        graph: The graph.
        conv: The convolution.
        pool: The pool behind it.
        windows: The convolution's new windows, one per axis.
        leads: Its lead, or wishes for it, one per axis; see `geometry.fit_padding`.
        kernel: Makes the new kernel from the old one; None moves it verbatim.

    Raises:
        Refused: If a layer in front is needed and this Keras has none for the data format.
    """
    fits = [
        fit_padding(window, c.law.then(p.law), n, lead, causal=may_be_causal(conv))
        for window, c, p, n, lead in zip(
            windows, conv.windows, pool.windows, graph.sizes(conv), leads, strict=True
        )
    ]
    return conv_with_padding(conv, windows, fits, kernel)


def conv_settings(windows: Sequence[Window], padding: str | tuple[int, int]) -> dict[str, Any]:
    """Return the constructor arguments that hold a convolution's geometry."""
    return {
        "kernel_size": tuple(w.size for w in windows),
        "strides": tuple(w.stride for w in windows),
        "dilation_rate": tuple(w.dilation for w in windows),
        "padding": padding,
    }


def padding_layers(conv: Call, fits: Sequence[FittedPadding]) -> tuple[Make, ...]:
    """Return the padding and cropping layers that give a `valid` convolution its fitted padding.

    Raises:
        Refused: If this Keras has none for the data format.
    """
    pads = tuple((max(f.before, 0), max(f.after, 0)) for f in fits)
    crops = tuple((max(-f.before, 0), max(-f.after, 0)) for f in fits)
    made = []
    for kind, argument, suffix, around in (
        ("ZeroPadding", "padding", "pad", pads),
        ("Cropping", "cropping", "crop", crops),
    ):
        if any(any(pair) for pair in around):
            missing = f"{conv.label} would need {kind}{len(around)}D, which this Keras has not for channels_first"
            require(kind in conv.settings["layers_in_front"], missing)
            amount = around if len(around) > 1 else around[0]
            settings = {argument: amount, **data_format(conv)}
            made.append(Make(kind, len(around), f"{conv.name}_{suffix}", settings, conv.layer))
    return tuple(made)


def cropped(pool: Call, cells: Sequence[tuple[int, int]]) -> tuple[Make, ...]:
    """Return the layer that cuts cells (before, after) off each axis, in a removed pool's place; none if it cuts none.

    Raises:
        Refused: If this Keras has no such layer for the data format.
    """
    if not any(any(pair) for pair in cells):
        return ()
    missing = f"{pool.label} would leave Cropping{len(cells)}D, which this Keras has not for channels_first"
    require("Cropping" in pool.settings.get("layers_in_front", ()), missing)
    settings = {"cropping": tuple(cells) if len(cells) > 1 else cells[0], **data_format(pool)}
    return (Make("Cropping", len(cells), f"{pool.name}_crop", settings, pool.layer),)


def cells(step: Make) -> list[tuple[int, int]]:
    """Return how many cells a padding layer adds (a cropping layer: cuts, negative) on each side of each axis."""
    sign, argument = (1, "padding") if step.kind == "ZeroPadding" else (-1, "cropping")
    amount = step.settings[argument]
    return [
        (sign * before, sign * after) for before, after in ([amount] if step.rank == 1 else amount)
    ]


def made_windows(step: Make) -> tuple[Window, ...]:
    """Return the windows of a convolution or pool to be made; none for a layer of another kind."""
    s = step.settings
    sizes = s.get("kernel_size", s.get("pool_size", ()))
    dilation = s.get("dilation_rate", (1,) * len(sizes))
    axes = zip(sizes, s.get("strides", ()), dilation, strict=True)
    return tuple(Window(size, stride, rate, s["padding"]) for size, stride, rate in axes)


def data_format(call: Call) -> Mapping[str, str]:
    """Return the `data_format` argument for a layer that stands beside `call`."""
    return {"data_format": "channels_last" if call.channels_last else "channels_first"}


def pool_layer(kind: str, name: str, windows: Sequence[Window], like: Call, beside: Call) -> Make:
    """Return a pool of one kind (`MaxPooling` or `AveragePooling`) with the given windows.

    Args:
        kind: The kind.
        name: Its wanted name.
        windows: Its windows, one per axis.
        like: The convolution or pool whose data format it takes.
        beside: The call whose dtype policy it takes.
    """
    settings = {
        "pool_size": tuple(w.size for w in windows),
        "strides": tuple(w.stride for w in windows),
        "padding": windows[0].padding,
        **data_format(like),
    }
    return Make(kind, len(windows), name, settings, beside.layer)


def placeholder_for(graph: Graph, pool: Call) -> tuple[Step, ...]:
    """Return what stays in a removed pool's place: an identity of its name where that names one of several outputs."""
    if graph.scope == 0 and graph.is_output(pool) and len(graph.outputs) > 1:
        return (Make("Activation", 0, pool.name, {"activation": "linear"}, pool.layer),)
    return ()
