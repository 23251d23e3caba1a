"""The index of the zoo: small models, named after the traps they lay; `ZOO[name](K)` builds one."""

from __future__ import annotations

from support.zoo import (
    arguments,
    boundaries,
    branches,
    calls,
    chains,
    classes,
    kinds,
    names,
    nesting,
    pools,
    state,
)
from support.zoo.chains import chain
from support.zoo.trap import TRAPS as ZOO
from support.zoo.trap import Trap, randomised

SEVERAL_SIZES = ("unknown_sizes", "unknown_sizes_strided", "nested")

__all__ = [
    "SEVERAL_SIZES", "ZOO", "Trap", "arguments", "boundaries", "branches", "calls", "chain",
    "chains", "classes",
    "kinds", "names", "nesting", "pools", "randomised", "state",
]  # fmt: skip
