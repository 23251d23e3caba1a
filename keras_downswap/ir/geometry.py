"""Integers of sliding windows: lengths, first taps, and padding that makes two windows agree.

Everything here concerns one spatial axis. A convolution or a pool with stride s maps its input
length to

    n -> (n + offset) // stride                                                    (the length law)

and two such maps compose into a third, because floor((floor((n + a) / s) + b) / t) = floor((n + a +
b*s) / (s*t)). Two maps agree for every n exactly when both integers agree, so "the shapes match" is
`==` on `SizeMap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Padding = Literal["valid", "same", "causal"]


@dataclass(frozen=True)
class SizeMap:
    """The length law n -> (n + offset) // stride of one axis; `==` means "for every n"."""

    offset: int
    stride: int

    def __call__(self, n: int) -> int:
        """Return the output length for the input length `n` (not positive where nothing fits)."""
        return (n + self.offset) // self.stride

    def then(self, after: SizeMap) -> SizeMap:
        """Return the law of this map followed by `after`."""
        return SizeMap(self.offset + after.offset * self.stride, self.stride * after.stride)

    def agrees(self, other: SizeMap, n: int | None) -> bool:
        """Tell whether both laws give one length.

        At `n` where it is known; for every length where it is None.
        """
        return self == other if n is None else self(n) == other(n)


IDENTITY = SizeMap(0, 1)


def resized(before: int, after: int) -> SizeMap:
    """Return the law of padding (positive) or cropping (negative) by `before` and `after` cells."""
    return SizeMap(before + after, 1)


@dataclass(frozen=True)
class Window:
    """One axis of a convolution or a pool.

    Attributes:
        size: Number of taps (kernel size or pool size).
        stride: Step between two windows, in input cells.
        dilation: Step between two taps, in input cells.
        padding: TensorFlow's `valid`, `same` or `causal`, or explicit cells (before, after),
            negative ones cut.
    """

    size: int
    stride: int = 1
    dilation: int = 1
    padding: Padding | tuple[int, int] = "valid"

    @property
    def span(self) -> int:
        """Cells from the first tap to the last, both counted."""
        return self.dilation * (self.size - 1) + 1

    @property
    def law(self) -> SizeMap:
        """The length law of this window."""
        if isinstance(self.padding, tuple):
            cells = sum(self.padding)
        elif self.padding == "valid":
            cells = 0
        else:
            # `same` and `causal` give ceil(n / stride): one window for each stride begun.
            cells = self.span - 1
        return SizeMap(self.stride - self.span + cells, self.stride)

    def total_padding(self, n: int) -> int:
        """Cells added in all to an input of length `n`: 0 for `valid`, span - 1 for `causal`."""
        if isinstance(self.padding, tuple):
            return sum(self.padding)
        if self.padding == "valid":
            return 0
        if self.padding == "causal":
            return self.span - 1
        last_start = (self.law(n) - 1) * self.stride
        return max(last_start + self.span - n, 0)

    def lead(self, n: int | None) -> int | None:
        """Cells padded before the input, so that window j starts at cell j * stride - lead.

        `same` puts the odd cell on the right, and its total depends on n modulo the stride.

        Args:
            n: Input length, or None where it is unknown.

        Returns:
            The lead, or None where n is unknown and the lead depends on it.
        """
        if isinstance(self.padding, tuple):
            return self.padding[0]
        if self.padding == "valid":
            return 0
        if self.padding == "causal":
            return self.span - 1
        if n is not None:
            return self.total_padding(n) // 2
        # The total lies between span - stride and span - 1, by n modulo the stride.
        least = max(self.span - self.stride, 0) // 2
        most = (self.span - 1) // 2
        return least if least == most else None

    def never_pads(self, n: int | None) -> bool:
        """Tell whether no window reaches outside an input of length `n`, or of any where None."""
        if self.padding == "valid" or self.span == 1:
            return True
        return n is not None and self.total_padding(n) == 0


@dataclass(frozen=True)
class FittedPadding:
    """A strided window that follows a wanted law: pad or crop first, then slide.

    Attributes:
        before: Cells to add before the input of a `valid` window (negative: to crop).
        after: Cells to add after it (negative: to crop).
        plain: Paddings among `valid`, `same` and `causal` that give the same without any added
            layer.
    """

    before: int
    after: int
    plain: frozenset[Padding]


def fit_padding(
    window: Window, law: SizeMap, n: int | None, lead: int | tuple[int, ...], causal: bool = False
) -> FittedPadding:
    """Fit a strided window's padding to a wanted length law.

    The total padding is forced by the law: law.offset = stride - span + before + after. What is
    free is the lead.

    Args:
        window: The strided window; its own padding is ignored.
        law: The wanted law, of the same stride.
        n: Input length, or None: then everything holds for every length.
        lead: One number: the values depend on it, window j must start at cell j * stride - lead.
            Several: wishes, best first; shape alone matters, so a padding that needs no added layer
                wins over any wish.
        causal: Whether the plain padding `causal` is open to this window.

    Returns:
        The explicit padding, and the plain paddings that are equivalent to it.
    """
    total = law.offset - window.stride + window.span
    exact = isinstance(lead, int)
    paddings: list[Padding] = ["valid", "same"]
    if causal:
        paddings.append("causal")
    plain: set[Padding] = set()
    for padding in paddings:
        candidate = Window(window.size, window.stride, window.dilation, padding)
        same_length = candidate.law.agrees(law, n)
        same_start = not exact or candidate.lead(n) == lead
        if same_length and same_start:
            plain.add(padding)
    before = lead if isinstance(lead, int) else _nearest(lead, total)
    return FittedPadding(before, total - before, frozenset(plain))


def _nearest(leads: tuple[int, ...], total: int) -> int:
    """Return the first lead that pads only or crops only; else the first, clipped to one."""
    # A lead outside would pad on one side and crop on the other.
    low = min(0, total)
    high = max(0, total)
    for lead in leads:
        if low <= lead <= high:
            return lead
    return min(max(leads[0], low), high)


def middle_first(size: int) -> tuple[int, ...]:
    """Return the positions 0..size-1 of a window, the middle (of two the earlier) first."""
    middle = (size - 1) // 2

    def distance_first(position: int) -> tuple[int, int]:
        return abs(position - middle), position

    return tuple(sorted(range(size), key=distance_first))
