"""What was checked, and what happens where a check fails."""

from __future__ import annotations

from dataclasses import dataclass

from keras_downswap.errors import BrokenPromise


@dataclass(frozen=True)
class Check:
    """One thing that was checked and passed.

    Attributes:
        what: `shape`, `law` (for every length), `length` (at the declared one only), `weights`,
            `values`, `not run`, `boundary` or `original`.
        where: The site or layer, or `model`.
        detail: What was compared, with the numbers.
    """

    what: str
    where: str
    detail: str


def check_or_break(passed: bool, sentence: str) -> None:
    """Break off unless a check passes.

    Args:
        passed: Whether it does.
        sentence: What was checked where, what was expected and what received.

    Raises:
        BrokenPromise: If it does not.
    """
    if not passed:
        raise BrokenPromise(
            f"{sentence}. Nothing was returned or written; please report this model's "
            "architecture, or correct the rule where it is your own."
        )
