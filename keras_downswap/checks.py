"""What was checked, and what happens where a check does not hold."""

from __future__ import annotations

from dataclasses import dataclass

from keras_downswap.errors import BrokenPromise


@dataclass(frozen=True)
class Check:
    """One thing that was checked and held.

    Attributes:
        what: `shape`, `law` (for every length), `length` (at the stated one alone), `weights`,
            `values`, `not run`, `boundary` or `original`.
        where: The site or layer, or `model`.
        detail: What was compared, with the numbers.
    """

    what: str
    where: str
    detail: str


def check_or_break(holds: bool, sentence: str) -> None:
    """Break off unless a check holds.

    Raises:
        BrokenPromise: If it does not.
    """
    if not holds:
        raise BrokenPromise(
            f"{sentence}. Nothing was returned or written; please report this model's architecture, or mend the rule "
            "where it is your own."
        )
