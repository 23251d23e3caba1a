"""Which form each site takes, so that all together they lose no more than is allowed, at the fewest MACs.

What sites lose adds up, about, and fitting them end to end leaves a share of it. So each form of
each site is measured alone; then the sites climb from their cheapest forms to keeping everything,
always by the step that saves most loss for its MACs, and the first rung of that ladder is sought
that stays within what is allowed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SHARE = 0.8
"""Share of the loss of closed forms that is left end to end, before any run has told: 0.7 to 1.2 near a limit of one
in a hundred, on CIFAR-10."""
WORST = 10.0
"""What a form counts as losing that makes no finite numbers."""
TRIALS = 5
"""Combinations that are fitted at most."""


@dataclass(frozen=True)
class Option:
    """One form that sites can take.

    Attributes:
        form: `same`, `cover`, `wide` or `kept`.
        rule: The rule that puts it in place; None for `kept`.
        macs: What the sites cost in it, multiply-accumulates for one sample; unknown lengths are
            taken for 224.
        drop: What is lost where they alone take it, fitted in closed form.
    """

    form: str
    rule: str | None
    macs: int
    drop: float


@dataclass(frozen=True)
class Group:
    """Sites that take one form together, since they share layers; most often a single one.

    Attributes:
        layers: The names of each site's layers.
        options: The forms that were measured, and `kept`.
    """

    layers: tuple[tuple[str, ...], ...]
    options: tuple[Option, ...]

    @property
    def summary(self) -> str:
        """What was measured, in words."""
        kept = next(option for option in self.options if option.form == "kept")
        share = [
            f" with {100 * o.macs / kept.macs:.0f} % of its MACs" if kept.macs else ""
            for o in self.options
        ]
        told = [
            f"'{option.form}' loses {100 * option.drop:.1f} %{cost}"
            if math.isfinite(option.drop)
            else f"'{option.form}' makes no finite numbers"
            for option, cost in zip(self.options, share, strict=True)
            if option is not kept
        ]
        return ", ".join(told) or "nothing was measured"

    def steps(self) -> list[Option]:
        """Return the forms that are worth their MACs, the cheapest first: the lower convex hull, down to `kept`."""
        kept = next(option for option in self.options if option.form == "kept")
        swaps = [
            o for o in self.options if o is not kept and (o.macs < kept.macs or o.form == "same")
        ]
        hull: list[Option] = []
        for option in [*sorted(swaps, key=lambda o: (o.macs, o.drop)), kept]:
            if hull and option is not kept and option.drop >= hull[-1].drop:
                continue
            while len(hull) > 1 and _worth(hull[-2], hull[-1]) <= _worth(hull[-1], option):
                hull.pop()
            hull.append(option)
        return hull


@dataclass(frozen=True)
class Trial:
    """One combination that was fitted end to end.

    Attributes:
        forms: The form of each group.
        drop: What was lost on held-out samples.
    """

    forms: tuple[str, ...]
    drop: float


@dataclass(frozen=True)
class FormSearchReport:
    """Which form each site took, and what was measured to tell.

    Attributes:
        max_drop: What might be lost.
        groups: The sites, with what each form loses alone.
        trials: The combinations that were fitted, in order.
        forms: The form that each group took.
        kinds: What each output was taken for, see `Agreement`.
        note: What else there is to know.
        interrupted: Whether Ctrl-C ended the search.
        seconds: How long it took.
    """

    max_drop: float
    groups: tuple[Group, ...]
    trials: tuple[Trial, ...]
    forms: tuple[str, ...]
    kinds: tuple[str, ...]
    note: str
    interrupted: bool
    seconds: float

    def __str__(self) -> str:
        """Return the search in words, a line a trial."""
        kinds = f", outputs taken for {', '.join(self.kinds)}" if self.kinds else ""
        lines = [f"forms within max_drop={self.max_drop:g}{kinds}:"]
        for trial in self.trials:
            verdict = "within" if trial.drop <= self.max_drop else "beyond"
            lines.append(f"  {', '.join(trial.forms)}: {100 * trial.drop:.1f} % lost, {verdict}")
        lines += [f"note: {self.note}"] if self.note else []
        lines += ["interrupted: the best until then is kept"] * self.interrupted
        return "\n".join(lines)


def combinations(groups: Sequence[Group]) -> list[tuple[Option, ...]]:
    """Return a form for each group, again and again, from the cheapest of all to all kept, a group a step."""
    ladders = [group.steps() for group in groups]
    climbs = [
        (-_worth(low, high), number, rung)
        for number, ladder in enumerate(ladders)
        for rung, (low, high) in enumerate(itertools.pairwise(ladder), 1)
    ]
    at = [0] * len(groups)
    found = [tuple(ladder[0] for ladder in ladders)]
    for _, number, rung in sorted(climbs):
        at[number] = rung
        found.append(tuple(ladder[i] for ladder, i in zip(ladders, at, strict=True)))
    return found


def cheapest_within(
    combos: Sequence[tuple[Option, ...]], allowed: float, fit: Callable[[int], float | None]
) -> int:
    """Return the first combination that stays within what is allowed, or the first found to where time is short.

    Args:
        combos: Combinations, ever dearer; the last keeps everything, and loses nothing.
        allowed: What may be lost.
        fit: Fits one of them and returns what it loses; None where there is no time left.
    """
    alone = [sum(min(option.drop, WORST) for option in combo) for combo in combos]
    fails, holds, share = -1, len(combos) - 1, SHARE
    for _ in range(TRIALS):
        likely = next(
            i for i, drop in enumerate(alone) if share * drop <= allowed or i == len(combos) - 1
        )
        if likely >= holds < len(combos) - 1 or holds - fails <= 1:
            break
        tried = min(max(likely, fails + 1), holds - 1)
        drop = fit(tried)
        if drop is None:
            break
        fails, holds = (fails, tried) if drop <= allowed else (tried, holds)
        share = drop / alone[tried] if alone[tried] > 0 else share
    return holds


def _worth(low: Option, high: Option) -> float:
    """Return how much loss a step saves for its MACs."""
    return (min(low.drop, WORST) - min(high.drop, WORST)) / max(1, high.macs - low.macs)
