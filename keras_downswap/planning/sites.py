"""One place where a model downsamples, and how a caller picks such places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import Replacement


@dataclass(frozen=True)
class Site:
    """One place where the model downsamples, and what becomes of it.

    Attributes:
        layers: Names of the layers it spans, upstream first; nested ones as `outer/inner`.
        status: `swapped` or `kept`.
        promise: `exact` or `approximate`; None where kept.
        rule: Name of the rule; None where kept.
        reason: Why it is kept, or why no exact swap was found; empty for an exact swap.
        scope: Number of the graph that holds it.
        calls: Indices of the calls it spans, in that graph.
        replacement: What the rule answered; None where kept.
    """

    layers: tuple[str, ...]
    status: Literal["swapped", "kept"]
    promise: Literal["exact", "approximate"] | None
    rule: str | None
    reason: str
    scope: int
    calls: tuple[int, ...]
    replacement: Replacement | None = None

    def kept(self, reason: str) -> Site:
        """Return this site, kept for a reason."""
        return replace(
            self, status="kept", promise=None, rule=None, reason=reason, replacement=None
        )


Selector = str | re.Pattern[str] | Iterable[str] | Callable[[Site], bool] | None


def selector_of(argument: str, selector: Selector, graph: Graph) -> Callable[[Site], bool]:
    """Return the test that an `include` or `exclude` argument stands for.

    Raises:
        BadRequest: If it is of no known kind, no regular expression, or names no layer of the
            model.
    """
    if selector is None:
        return lambda site: argument == "include"
    if callable(selector):
        return selector
    if isinstance(selector, str | re.Pattern):
        pattern = _pattern(argument, selector)
        return lambda site: any(pattern.search(name) for name in site.layers)
    names = frozenset(selector) if isinstance(selector, Iterable) else frozenset()
    if not isinstance(selector, Iterable) or not all(isinstance(name, str) for name in names):
        raise BadRequest(
            f"{argument} takes a regular expression, a list of layer names, or a callable on the site; "
            f"received {selector!r}"
        )
    known = {
        prefix + name
        for prefix, scope in graph.scopes()
        for c in scope.calls
        for name in (c.name, c.path)
    }
    unknown = names - known
    if unknown:
        raise BadRequest(f"{argument} names no layer of the model: {', '.join(sorted(unknown))}")
    return lambda site: any(
        layer == name or layer.startswith(f"{name}/") for layer in site.layers for name in names
    )


def _pattern(argument: str, expression: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise BadRequest(
            f"{argument}={expression!r} is not a regular expression: {error}"
        ) from error
