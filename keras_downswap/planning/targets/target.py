"""What a target is, and how it chooses among the rules that fit a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import Replacement
from keras_downswap.planning.candidates import Answer
from keras_downswap.planning.cost import effort
from keras_downswap.rulekit.rule import Rule


@dataclass(frozen=True)
class Question:
    """What a strategy is asked: which answer a call is swapped by.

    Attributes:
        graph: The graph, with the swaps made so far.
        call: One of its calls that the target is about.
        rules: The rules to ask, in order.
        to: The target's name.
        bar: Says of an answer why it may not be chosen; None where it may.
    """

    graph: Graph
    call: Call
    rules: Sequence[Rule]
    to: str
    bar: Callable[[Replacement], str | None]


@dataclass(frozen=True)
class Decision:
    """What a strategy decided about a call.

    Attributes:
        answer: The answer that the call is swapped by; None where it is kept.
        reason: Why it is kept; of an approximate swap, why there is no exact one.
    """

    answer: Answer | None
    reason: str


class Strategy(ABC):
    """How a target chooses among the rules."""

    is_repeatable = False
    """Whether a call that was swapped may be asked about again."""
    weighs_bars = False
    """Whether it asks a question's `bar` itself, and looks for another answer if one is barred."""

    @abstractmethod
    def rounds(self, rules: Sequence[Rule]) -> list[Sequence[Rule]]:
        """Return the rules to ask until nothing changes, then those to ask besides, and so on."""

    @abstractmethod
    def decide(self, question: Question) -> Decision:
        """Choose the answer that a call is swapped by."""


def alone(graph: Graph, call: Call) -> tuple[Call, ...]:
    """Return the call by itself."""
    return (call,)


def kind_of(call: Call) -> str:
    """Return what a downsampling call is, in the plural."""
    is_conv = call.role in (Role.CONV, Role.OTHER_CONV)
    return "strided convolutions" if call.strided and is_conv else "pools"


def _does_not_concern(name: str, call: Call) -> str:
    return f"to='{name}' does not concern {kind_of(call)} such as {call.label}"


@dataclass(frozen=True)
class Target:
    """A value of `to`: what downsamples afterwards.

    Attributes:
        name: The value.
        summary: What becomes of a site, one line for people.
        promise: What a swap to it keeps, for people.
        concerns: Whether it is about a call; by default what its rules start at.
        strategy: How it chooses among the rules; by default the first that fits.
        site_layers: The calls that a kept site is reported with, upstream first.
        why_not: Says of a downsampling call, by the target's name, why it is not about it.
        rules: Rules of the target's own, which are asked before all others.
    """

    name: str
    summary: str = ""
    promise: str = ""
    concerns: Callable[[Graph, Call], bool] | None = None
    strategy: Strategy | None = None
    site_layers: Callable[[Graph, Call], tuple[Call, ...]] = alone
    why_not: Callable[[str, Call], str] = _does_not_concern
    rules: Sequence[Rule] = field(default=(), repr=False)


def saving(graph: Graph, answer: Replacement) -> tuple[int, int]:
    """Return how many MACs a swap saves, and how many values fewer its layers write."""
    # Without steps, the layers of the chain stay.
    unchanged = Replacement(answer.chain, {})
    old_macs, old_written = effort(graph, unchanged)
    new_macs, new_written = effort(graph, answer)
    return old_macs - new_macs, old_written - new_written
