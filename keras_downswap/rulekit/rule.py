"""What a rule is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import Replacement

LAST_RESORT = 3
"""Rank from which on an exact rule waits until no other exact rule changes anything more."""


class Promise(Enum):
    """What a swap keeps: EXACT the values at inference (to rounding) and the shapes, APPROXIMATE the shapes."""

    EXACT = "exact"
    APPROXIMATE = "approximate"


class Refused(Exception):
    """Raised by `require`: this rule does not fit this call, with the reason as one sentence."""


class NotApplicable(Refused):
    """Raised by `skip_unless`: the rule is for calls of another kind.

    Its reason counts only where no other is given.
    """


def skip_unless(condition: bool, reason: str) -> None:
    """Pass over a call that a rule is not about at all.

    Args:
        condition: What makes it the rule's kind of call.
        reason: A sentence that says what kind of call it is instead.

    Raises:
        NotApplicable: If the condition does not hold.
    """
    if not condition:
        raise NotApplicable(reason)


def require(condition: bool, reason: str) -> None:
    """Refuse the site unless `condition` holds; the only way in which a rule says no.

    Args:
        condition: What the rule's law needs.
        reason: A sentence that names the layer, what was expected and what was found.

    Raises:
        Refused: If the condition does not hold.
    """
    if not condition:
        raise Refused(reason)


def _alone(graph: Graph, anchor: Call) -> tuple[Call, ...]:
    return (anchor,)


@dataclass(frozen=True)
class Rule:
    """One identity or one approximate swap.

    Attributes:
        name: The rule's name, as its file.
        targets: The values of `to` that it serves.
        promise: What it keeps.
        verbatim: Whether all weights move unchanged, kernel included.
        anchors: Whether it may start at this call; a call that no rule of a target anchors at is
            what `to` asks for.
        apply: Pure function from the graph and the anchor to the replacement; refuses through
            `require`.
        summary: One line for people.
        spans: The calls that a refused site is reported with; by default the anchor alone.
        rank: Rules of one promise are tried by rank, the lowest first; exact ones from
            `LAST_RESORT` on wait.
        form: The value of `kernel` or `method` that asks for it; empty for a rule that is asked
            whatever the kernels.
    """

    name: str
    targets: frozenset[str]
    promise: Promise
    verbatim: bool
    anchors: Callable[[Call], bool]
    apply: Callable[[Graph, Call, str], Replacement]
    summary: str
    spans: Callable[[Graph, Call], tuple[Call, ...]] = _alone
    rank: int = 0
    form: str = ""
