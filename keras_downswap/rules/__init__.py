"""The rules: one file each in this folder, and those that other packages offer as `keras_downswap.rules`."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points

from keras_downswap.rule import Promise, Rule


def _order(rule: Rule) -> tuple[bool, int, bool, str]:
    return rule.promise is not Promise.EXACT, rule.rank, not rule.verbatim, rule.name


def _discover() -> tuple[Rule, ...]:
    here = [import_module(f"{__name__}.{module.name}").RULE for module in pkgutil.iter_modules(__path__)]
    elsewhere = [point.load() for point in entry_points(group="keras_downswap.rules")]
    return tuple(sorted((*here, *elsewhere), key=_order))


RULES: tuple[Rule, ...] = _discover()
"""All rules in the order in which they are tried: exact ones first, then by rank, verbatim weights first."""

TARGETS: tuple[str, ...] = tuple(sorted({target for rule in RULES for target in rule.targets}))
"""All values of `to`."""
