"""What a rule is: its file, its promise, and how it says no."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from enum import Enum
from importlib import import_module
from pickle import PicklingError
from typing import Any

from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.examples import Example, Refusal

LAST_RESORT = 3
"""Rank from which on an exact rule waits until no other exact rule changes anything more."""


class Promise(Enum):
    """What a swap keeps: EXACT the values at inference (to rounding) and the shapes.

    APPROXIMATE keeps the shapes only.
    """

    EXACT = "exact"
    APPROXIMATE = "approximate"


class Refused(Exception):
    """Raised by `require`: this rule does not fit this call, with the reason as one sentence.

    Attributes:
        passed: How many conditions of the rule held before this one.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.passed = _conditions_passed.get()


class NotApplicable(Refused):
    """Raised by `skip_unless`: the rule is for calls of another kind.

    Its reason counts only where no other is given.
    """


# Counted apart in each thread, where several models are planned at once.
_conditions_passed: ContextVar[int] = ContextVar("conditions_passed", default=0)


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
    _conditions_passed.set(_conditions_passed.get() + 1)


def require(condition: bool, reason: str) -> None:
    """Refuse the site unless `condition` holds.

    Args:
        condition: What the rule's law needs.
        reason: A sentence that names the layer, what was expected and what was found.

    Raises:
        Refused: If the condition does not hold.
    """
    if not condition:
        raise Refused(reason)
    _conditions_passed.set(_conditions_passed.get() + 1)


Anchor = Callable[[Call], bool]
Answer = Callable[[Graph, Call, str], Replacement]
Enlarge = Callable[[Graph, Call], Replacement]


@dataclass(frozen=True)
class Rule:
    """One identity or one approximate swap.

    Attributes:
        name: The rule's name, as its file and its function.
        targets: The values of `to` that it serves.
        promise: What it keeps.
        verbatim: Whether all weights move unchanged, kernel included.
        anchors: Whether it may start at this call.
        apply: Pure function from the graph, the anchor and the target's name to the replacement;
            refuses through `require` and `skip_unless`.
        summary: One line for people.
        rank: Rules of one promise are tried by rank, the lowest first; exact ones from
            `LAST_RESORT` on wait.
        form: The `form` that asks for it; empty for a rule that is asked whatever the form.
        enlarge: For profiles: returns a replacement by the same layer, whose kernel may then be
            enlarged to a size within the limits; None for a rule that has none.
        examples: Models that it swaps; the first is drawn in the documentation.
        refusals: Models that it does not swap, with the words that it says so in.
    """

    name: str
    targets: frozenset[str]
    promise: Promise
    anchors: Anchor
    apply: Answer
    summary: str
    verbatim: bool = False
    rank: int = 0
    form: str = ""
    enlarge: Enlarge | None = None
    examples: tuple[Example, ...] = field(default=(), repr=False)
    refusals: tuple[Refusal, ...] = field(default=(), repr=False)

    def ask(self, graph: Graph, call: Call, to: str) -> Replacement:
        """Return the rule's answer about a call.

        Raises:
            Refused: If it does not fit, with the number of conditions that held.
        """
        # A rule may ask another: each counts its own conditions, and the caller's count comes back.
        token = _conditions_passed.set(0)
        try:
            return self.apply(graph, call, to)
        finally:
            _conditions_passed.reset(token)

    def __call__(self, graph: Graph, call: Call, to: str = "") -> Replacement:
        """Return the rule's answer about a call, as `ask` does."""
        return self.ask(graph, call, to)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the function by the name of the rule that the decorator put in its place.

        Raises:
            PicklingError: If the function cannot be imported by its name.
        """
        function = getattr(self.apply, "function", self.apply)
        module = function.__module__
        name = function.__qualname__
        # A decorated function's name is that of the rule, so that name finds the one or the other.
        if _importable(module, name) not in (self.apply, function):
            raise PicklingError(f"the function of the rule {self.name} cannot be imported by name")
        names = [attribute.name for attribute in fields(self)]
        names.remove("apply")
        others = {attribute: getattr(self, attribute) for attribute in names}
        return _restored, (module, name, others)


def _importable(module: str, name: str) -> Any:
    """Return the function of a module, or of the rule that stands under its name there.

    None where there is none.
    """
    found = getattr(import_module(module), name, None)
    return found.apply if isinstance(found, Rule) else found


def _restored(module: str, name: str, others: dict[str, Any]) -> Rule:
    return Rule(apply=_importable(module, name), **others)


class _WithoutTarget:
    """Lets a rule's function be called with the name of the target, which it does not need."""

    def __init__(self, function: Callable[[Graph, Call], Replacement]) -> None:
        self.function = function
        self.__module__ = function.__module__
        self.__name__ = self.__qualname__ = function.__name__

    def __call__(self, graph: Graph, call: Call, to: str) -> Replacement:
        return self.function(graph, call)


def rule(
    *,
    targets: Iterable[str],
    promise: Promise,
    anchors: Anchor,
    verbatim: bool = False,
    rank: int = 0,
    form: str = "",
    enlarge: Enlarge | None = None,
) -> Callable[[Callable[..., Replacement]], Rule]:
    """Make a rule of a function of (graph, call), or of (graph, call, to).

    The rule's name is the function's; its summary is the first line of the docstring, without the
    full stop. Its examples and refusals are those that `swaps` and `refuses` noted below.

    Args:
        targets: The values of `to` that the rule serves.
        promise: What it keeps.
        anchors: Whether it may start at a call.
        verbatim: Whether all weights move unchanged.
        rank: Its rank among rules of one promise, the lowest first.
        form: The `form` that asks for it.
        enlarge: Returns the same layer, to be enlarged within a profile's limits.
    """

    def decorate(function: Callable[..., Replacement]) -> Rule:
        needs_target = len(inspect.signature(function).parameters) > 2
        apply: Answer = function if needs_target else _WithoutTarget(function)
        docstring = inspect.getdoc(function) or ""
        first_line = docstring.partition("\n")[0]
        return Rule(
            name=function.__name__,
            targets=frozenset(targets),
            promise=promise,
            anchors=anchors,
            apply=apply,
            summary=first_line.rstrip("."),
            examples=getattr(function, "examples", ()),
            refusals=getattr(function, "refusals", ()),
            verbatim=verbatim,
            rank=rank,
            form=form,
            enlarge=enlarge,
        )

    return decorate
