"""What takes the place of some calls: layers to be made, and calls that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from keras_downswap.ir.facts import ConvFacts, LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.types import Array

KernelTransform = Callable[[Array], Array]
KernelMaker = Callable[[tuple[int, ...]], Array]


class Keep(Enum):
    """The step that leaves the call itself in place."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True)
class Make:
    """A layer to be made; each subclass is one kind of layer.

    Attributes:
        name: Wanted name; made unique in its scope unless it replaces the layer of that name.
        beside: Number of the layer whose dtype policy it has.
        kind: Its stock Keras class, without the rank.
    """

    name: str
    beside: int
    kind: LayerKind

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window per spatial axis, for convolutions and pools."""
        return ()

    @property
    def rank(self) -> int:
        """Number of spatial axes that its Keras class names; 0 for a class of any rank."""
        return len(self.windows)


@dataclass(frozen=True)
class MakeConv(Make):
    """A convolution to be made. What is None is taken from the layer `like`.

    Attributes:
        axes: One window per spatial axis, all of one padding.
        channels_last: Whether the channel axis is the last one.
        like: Number of the layer whose other settings, flags and weights it has.
        filters: Output channels.
        groups: Groups of channels.
        depth_multiplier: Output channels per input channel of a depthwise kernel.
        use_bias: Whether it has a bias.
        activation: Name of its activation.
        kernel: Computes the new kernel from that of `like`; None moves it verbatim.
        bias: Likewise the bias.
        fixed: Computes the kernel of a layer that is like no other from the kernel's shape.
        frozen: Whether the layer does not train.
    """

    axes: tuple[Window, ...]
    channels_last: bool = True
    like: int | None = None
    filters: int | None = None
    groups: int | None = None
    depth_multiplier: int | None = None
    use_bias: bool | None = None
    activation: str | None = None
    kernel: KernelTransform | None = None
    bias: KernelTransform | None = None
    fixed: KernelMaker | None = None
    frozen: bool = False

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window per spatial axis."""
        return self.axes

    @property
    def strided(self) -> bool:
        """Whether some axis has a stride above 1."""
        return any(window.stride > 1 for window in self.axes)

    def facts(self, like: ConvFacts | None) -> ConvFacts:
        """Return the facts of the layer once it is made.

        Args:
            like: The facts of the layer that it is made like; None where it is like no other.
        """
        taken = ConvFacts() if like is None or self.like is None else like
        filters = taken.filters if self.filters is None else self.filters
        groups = taken.groups if self.groups is None else self.groups
        multiplier = self.depth_multiplier
        if multiplier is None:
            multiplier = taken.depth_multiplier
        use_bias = taken.use_bias if self.use_bias is None else self.use_bias
        activation = taken.activation if self.activation is None else self.activation
        known = ConvFacts() if like is None else like
        return ConvFacts(
            kind=self.kind,
            filters=filters,
            groups=groups,
            depth_multiplier=multiplier,
            use_bias=use_bias,
            activation=activation,
            padding_layers=known.padding_layers,
            misplaces_channels_first_bias=taken.misplaces_channels_first_bias,
            is_binomial_blur=taken.is_binomial_blur or self.fixed is binomial,
            has_fixed_kernel=taken.has_fixed_kernel or self.fixed is not None,
        )


@dataclass(frozen=True)
class MakePool(Make):
    """A max or average pool to be made.

    Attributes:
        axes: One window per spatial axis, all of one padding.
        channels_last: Whether the channel axis is the last one.
    """

    axes: tuple[Window, ...]
    channels_last: bool = True

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window per spatial axis."""
        return self.axes


@dataclass(frozen=True)
class MakeGlobalPool(Make):
    """A pool over a whole map to be made.

    Attributes:
        axes: How many spatial axes the map has.
        channels_last: Whether the channel axis is the last one.
        keepdims: Whether the spatial axes stay, with one cell each.
    """

    axes: int
    channels_last: bool = True
    keepdims: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return self.axes


@dataclass(frozen=True)
class MakeFlatten(Make):
    """A Flatten layer to be made: one axis for all positions and channels."""


@dataclass(frozen=True)
class MakeResize(Make):
    """A ZeroPadding or Cropping layer to be made.

    Attributes:
        amount: Cells (before, after) along each spatial axis, none negative.
        channels_last: Whether the channel axis is the last one.
    """

    amount: tuple[tuple[int, int], ...]
    channels_last: bool = True

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.amount)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Cells added along each axis; those that are cut are negative."""
        sign = 1 if self.kind is LayerKind.ZERO_PADDING else -1
        return tuple((sign * before, sign * after) for before, after in self.amount)


@dataclass(frozen=True)
class MakeReshape(Make):
    """A Reshape layer to be made.

    Attributes:
        target_shape: The new shape, without the batch axis.
    """

    target_shape: tuple[int, ...]


@dataclass(frozen=True)
class MakePermute(Make):
    """A Permute layer to be made.

    Attributes:
        dims: The new order of the axes after the batch axis, counted from 1.
    """

    dims: tuple[int, ...]


@dataclass(frozen=True)
class MakeActivation(Make):
    """An Activation layer to be made.

    Attributes:
        activation: Name of the activation.
    """

    activation: str


Step = Make | Keep


@dataclass(frozen=True)
class Replacement:
    """A rule's answer: what takes the place of some calls.

    Attributes:
        chain: The calls that the site spans, upstream first.
        steps: For each replaced call, by index, the layers that are called in its place, in order;
            none deletes it.
        signed: Whether values below zero may come in; where not, the promise is for others only.
    """

    chain: tuple[int, ...]
    steps: Mapping[int, tuple[Step, ...]]
    signed: bool = True

    @property
    def sized(self) -> bool:
        """Whether a layer of it accepts maps of one size only."""
        for steps in self.steps.values():
            if any(isinstance(step, MakeReshape) for step in steps):
                return True
        return False
