"""One place where a model downsamples, what becomes of it, and how a caller picks such places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import Replacement

PromiseName = Literal["exact", "approximate"]


@dataclass(frozen=True)
class Swapped:
    """A site that is swapped.

    Attributes:
        rule: Name of the rule; names joined by ` + ` where several swaps became one.
        promise: What the swap keeps.
        replacement: What the rule answered.
        reason: Why no exact swap was found, for an approximate one; what else there is to know.
    """

    rule: str
    promise: PromiseName
    replacement: Replacement
    reason: str = ""


@dataclass(frozen=True)
class Kept:
    """A site that stays as it is.

    Attributes:
        reason: Why.
    """

    reason: str


@dataclass(frozen=True)
class Site:
    """One place where the model downsamples, and what becomes of it.

    Attributes:
        layers: Names of the layers it spans, upstream first; nested ones as `outer/inner`.
        scope: Number of the graph that holds it.
        calls: Indices of the calls it spans, in that graph.
        outcome: What becomes of it.
    """

    layers: tuple[str, ...]
    scope: int
    calls: tuple[int, ...]
    outcome: Swapped | Kept

    @property
    def status(self) -> Literal["swapped", "kept"]:
        """Whether it is `swapped` or `kept`."""
        return "swapped" if isinstance(self.outcome, Swapped) else "kept"

    @property
    def promise(self) -> PromiseName | None:
        """What the swap keeps, `exact` or `approximate`; None where the site is kept."""
        return self.outcome.promise if isinstance(self.outcome, Swapped) else None

    @property
    def rule(self) -> str | None:
        """Name of the rule; None where the site is kept."""
        return self.outcome.rule if isinstance(self.outcome, Swapped) else None

    @property
    def reason(self) -> str:
        """Why it is kept, or why no exact swap was found; empty for an exact swap."""
        return self.outcome.reason

    @property
    def replacement(self) -> Replacement | None:
        """What the rule answered; None where the site is kept."""
        return self.outcome.replacement if isinstance(self.outcome, Swapped) else None

    def kept(self, reason: str) -> Site:
        """Return this site, kept for a reason."""
        return replace(self, outcome=Kept(reason))

    def explained(self, more: str) -> Site:
        """Return this site with more words in its reason."""
        words = [part for part in (self.reason, more) if part]
        outcome = replace(self.outcome, reason="; ".join(words))
        return replace(self, outcome=outcome)

    def __repr__(self) -> str:
        """Return the site on one line."""
        layers = " + ".join(self.layers)
        outcome = self.promise or "kept"
        rule = f" by {self.rule}" if self.rule else ""
        return f"<Site {layers}: {outcome}{rule}>"


Selector = str | re.Pattern[str] | Iterable[str] | Callable[[Site], bool] | None


def selector_of(argument: str, selector: Selector, graph: Graph) -> Callable[[Site], bool]:
    """Return the test that an `include` or `exclude` argument stands for.

    Raises:
        BadRequest: If it is of no known kind, no regular expression, or names no layer of the
            model.
    """
    if selector is None:
        everything = argument == "include"
        return lambda site: everything
    if callable(selector):
        return selector
    # Before the lists: a text is iterable too, letter by letter.
    if isinstance(selector, str | re.Pattern):
        pattern = _pattern(argument, selector)
        return lambda site: any(pattern.search(name) for name in site.layers)
    names = frozenset(selector) if isinstance(selector, Iterable) else frozenset()
    texts = all(isinstance(name, str) for name in names)
    if not isinstance(selector, Iterable) or not texts:
        expected = "a regular expression, a list of layer names, or a callable on the site"
        raise BadRequest(f"{argument} takes {expected}; received {selector!r}")
    # A misspelled name would be obeyed silently: nothing matches it.
    unknown = names - _layer_names(graph)
    if unknown:
        listed = ", ".join(sorted(unknown))
        raise BadRequest(f"{argument} names no layer of the model: {listed}")
    return lambda site: _spans_any(site, names)


def _layer_names(graph: Graph) -> set[str]:
    """Return the path of every layer, nested ones and those in wrappers included."""
    known: set[str] = set()
    for prefix, scope in graph.scopes():
        for call in scope.calls:
            known.add(prefix + call.name)
            known.add(prefix + call.path)
    return known


def _spans_any(site: Site, names: frozenset[str]) -> bool:
    """Tell whether a site spans a named layer, or one inside a named model or wrapper."""
    for layer in site.layers:
        for name in names:
            if layer == name or layer.startswith(f"{name}/"):
                return True
    return False


def _pattern(argument: str, expression: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        message = f"{argument}={expression!r} is not a regular expression: {error}"
        raise BadRequest(message) from error
