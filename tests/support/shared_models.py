"""A model of the zoo that many laws look at: built once for all that stand next to each other.

`conftest.py` puts the cases of one model together, whichever files they are in, so that the latest
model is all that has to be held.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from support import laws
from support.model_zoo import ZOO, names


@dataclass
class SharedModel:
    """A model that no test may change, and what is known of it.

    Attributes:
        key: The names of its Keras and of its trap.
        model: The model.
        sample: Random inputs.
        before: How it was when it was built; each test that swaps it compares with this.
        saved: Whether a swap of it was seen to survive saving.
    """

    key: tuple[str, str]
    model: Any
    sample: Any
    before: laws.Snapshot
    saved: bool = False

    def owes_saving(self, rules: set[str]) -> bool:
        """Tell whether a swap by these rules is to be saved, and count it.

        What a file can lose is a layer that a rule made, or what holds the layers together. So
        each model is saved once, and with each rule some models; those whose names are hard to
        handle always, as it is the new layers' names that collide.
        """
        owed = not self.saved or hasattr(names, self.key[1])
        for rule in rules:
            owed |= _SAVED[self.key[0], rule] < SAVED_BY_RULE
        if owed:
            self.saved = True
            _SAVED.update((self.key[0], rule) for rule in rules)
        return owed


SAVED_BY_RULE = 10
_SAVED: Counter[tuple[str, str]] = Counter()
_LATEST: list[SharedModel] = []


def shared_model(K: Any, name: str) -> SharedModel:
    """Return the model of a trap; the one of the test before, where that had the same."""
    key = (K.__name__, name)
    if not _LATEST or _LATEST[0].key != key:
        _LATEST.clear()
        model = ZOO[name](K)
        sample = laws.sample_for(model)
        # A first call creates what a layer makes only then; what is compared later is all of it.
        laws.values(model, sample)
        _LATEST.append(SharedModel(key, model, sample, laws.snapshot_of(model)))
    return _LATEST[0]
