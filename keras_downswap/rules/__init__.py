"""The rules: one file each in this folder, and those that other packages offer.

Another package offers a rule by an entry point of the group `keras_downswap.rules`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from keras_downswap.errors import BadRequest
from keras_downswap.rulekit.rule import Promise, Rule

ENTRY_POINTS = "keras_downswap.rules"


@cache
def own_rules() -> tuple[Rule, ...]:
    """Return the rules of this folder, in the order in which they are tried.

    Each file holds a rule of the same name.
    """
    found = []
    for module in pkgutil.iter_modules(__path__):
        loaded = import_module(f"{__name__}.{module.name}")
        found.append(getattr(loaded, module.name))
    return in_order(found)


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return the rules of this folder and of other packages, in the order in which they are tried.

    Raises:
        BadRequest: If another package offers what is no rule.
    """
    offered = [point.load() for point in entry_points(group=ENTRY_POINTS)]
    own = own_rules()
    return in_order((*own, *checked_rules(offered, own)))


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Sort rules: exact ones first, then by rank, verbatim weights first, then by name."""
    return tuple(sorted(rules, key=_place))


def _place(rule: Rule) -> tuple[bool, int, bool, str]:
    approximate = rule.promise is not Promise.EXACT
    return approximate, rule.rank, not rule.verbatim, rule.name


def checked_rules(rules: Iterable[object], known: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return rules that are none of this package's, in the order in which they are given.

    Args:
        rules: The rules.
        known: Those that there are.

    Raises:
        BadRequest: If one is no `Rule`, or serves no target, or has the name of another.
    """
    found: list[Rule] = []
    names = {rule.name for rule in known}
    for rule in rules:
        if not isinstance(rule, Rule) or not rule.name or not rule.targets:
            expected = "keras_downswap.rulekit.Rule objects with a name and targets"
            raise BadRequest(f"rules: expected {expected}; received {rule!r}")
        if rule.name in names:
            raise BadRequest(f"two rules are named {rule.name!r}; give each its own name")
        names.add(rule.name)
        found.append(rule)
    return tuple(found)


def with_all_rules(rules: Sequence[object]) -> tuple[Rule, ...]:
    """Return a caller's rules, which are asked first, and all others.

    Raises:
        BadRequest: If one of the caller's is no rule, or has the name of another.
    """
    others = all_rules()
    return (*checked_rules(rules, others), *others)
