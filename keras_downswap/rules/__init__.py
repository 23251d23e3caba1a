"""The rules: one file each in this folder, and those that other packages offer as `keras_downswap.rules`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

from keras_downswap.errors import BadRequest
from keras_downswap.rulekit.rule import Promise, Rule


def _order(rule: Rule) -> tuple[bool, int, bool, str]:
    return rule.promise is not Promise.EXACT, rule.rank, not rule.verbatim, rule.name


def _discover() -> tuple[Rule, ...]:
    here = [
        import_module(f"{__name__}.{module.name}").RULE for module in pkgutil.iter_modules(__path__)
    ]
    elsewhere = checked_rules(
        [point.load() for point in entry_points(group="keras_downswap.rules")], here
    )
    return tuple(sorted((*here, *elsewhere), key=_order))


def checked_rules(rules: Iterable[object], known: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return rules that are none of this package's, in the order in which they are given.

    Args:
        rules: The rules.
        known: Those that there are.

    Raises:
        BadRequest: If one is no `Rule`, or serves no target, or bears the name of another.
    """
    found: list[Rule] = []
    names = {rule.name for rule in known}
    for rule in rules:
        if not isinstance(rule, Rule) or not rule.name or not rule.targets:
            raise BadRequest(
                f"rules takes keras_downswap.rulekit.rule.Rule objects with a name and targets; received {rule!r}"
            )
        if rule.name in names:
            raise BadRequest(f"two rules are named {rule.name!r}; give each its own name")
        names.add(rule.name)
        found.append(rule)
    return tuple(found)


RULES: tuple[Rule, ...] = _discover()
"""All rules in the order in which they are tried: exact ones first, then by rank, verbatim weights first."""

TARGETS: tuple[str, ...] = tuple(sorted({target for rule in RULES for target in rule.targets}))
"""All values of `to`."""
