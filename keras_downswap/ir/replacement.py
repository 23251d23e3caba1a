"""What takes the place of some calls: layers to be made, and calls that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.types import Array


class Keep(Enum):
    """The step that leaves the call itself in place."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True)
class Make:
    """A layer to be made.

    Attributes:
        kind: Its stock Keras class name without the rank, such as `Conv`, `MaxPooling`,
            `ZeroPadding`.
        rank: Number of spatial axes.
        name: Wanted name; made unique in its scope unless it replaces the layer of that name.
        settings: Keras' constructor arguments, over those of `like`.
        beside: The layer whose dtype policy it takes.
        like: The layer whose other settings, flags and weights it takes.
        kernel: Makes the new kernel from that of `like`; None moves it verbatim.
        bias: Likewise the bias.
        fixed: Makes the kernel of a layer that is like no other from its shape.
        frozen: Whether the layer is made not to train.
    """

    kind: str
    rank: int
    name: str
    settings: Mapping[str, Any]
    beside: int
    like: int | None = None
    kernel: Callable[[Array], Array] | None = None
    bias: Callable[[Array], Array] | None = None
    fixed: Callable[[tuple[int, ...]], Array] | None = None
    frozen: bool = False

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution."""
        return self.kind.endswith("Conv")

    @property
    def blurs(self) -> bool:
        """Whether it is a convolution of each channel with a fixed binomial kernel."""
        return self.fixed is binomial


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
        """Whether a layer of it takes maps of one size only."""
        return any(
            isinstance(s, Make) and s.kind == "Reshape"
            for steps in self.steps.values()
            for s in steps
        )
