"""Which form each site gets, so that all together lose no more than is allowed, at the fewest MACs.

What sites lose adds up, about, and fitting them end to end leaves a share of it. So each form of
each site is measured alone. A path of combinations then leads from the cheapest form of each site
to keeping everything, always by the step that saves most loss for its MACs, and the first
combination of that path is sought that stays within what is allowed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

END_TO_END_SHARE = 0.8
"""Share of the loss of closed forms that is left end to end, before any trial has measured it.

0.7 to 1.2 near a limit of one in a hundred, on CIFAR-10.
"""
LOSS_OF_NOT_FINITE = 10.0
"""What a form counts as losing whose outputs are not finite: more than any other."""
TRIALS_MAX = 5
"""Combinations that are fitted at most."""


@dataclass(frozen=True)
class Option:
    """One form that sites can have.

    Attributes:
        form: `same`, `cover`, `wide` or `kept`.
        rule: The rule that applies it; None for `kept`.
        macs: What the sites cost in it, multiply-accumulates for one sample; unknown lengths are
            taken for 224.
        drop: What is lost where they alone have it, fitted in closed form.
    """

    form: str
    rule: str | None
    macs: int
    drop: float

    @property
    def bounded_drop(self) -> float:
        """The drop, as a number that can be added up."""
        return min(self.drop, LOSS_OF_NOT_FINITE)


@dataclass(frozen=True)
class Group:
    """Sites that have one form together, since they share layers; most often a single one.

    Attributes:
        layers: The names of each site's layers.
        options: The forms that were measured, and `kept`.
    """

    layers: tuple[tuple[str, ...], ...]
    options: tuple[Option, ...]

    @property
    def kept(self) -> Option:
        """The option to leave the sites as they are."""
        return next(option for option in self.options if option.form == "kept")

    @property
    def summary(self) -> str:
        """What was measured, in words."""
        measured = [option for option in self.options if option is not self.kept]
        return ", ".join(map(self._words, measured)) or "nothing was measured"

    def _words(self, option: Option) -> str:
        if not math.isfinite(option.drop):
            return f"'{option.form}' produces no finite numbers"
        words = f"'{option.form}' loses {100 * option.drop:.1f} %"
        if self.kept.macs:
            words += f" with {100 * option.macs / self.kept.macs:.0f} % of its MACs"
        return words

    def worthwhile(self) -> list[Option]:
        """Return the forms that are worth their MACs, the cheapest first and `kept` last.

        They are the lower convex hull of the losses over the MACs: along it a MAC saves less and
        less loss. A form off the hull costs more than some mixture of its neighbours.
        """
        kept = self.kept
        # `same` counts even where it is dearer: a swap into more MACs was asked for then.
        swaps = [
            option
            for option in self.options
            if option is not kept and (option.macs < kept.macs or option.form == "same")
        ]
        swaps.sort(key=lambda option: (option.macs, option.drop))
        hull: list[Option] = []
        for option in [*swaps, kept]:
            if hull and option is not kept and option.drop >= hull[-1].drop:
                continue
            while len(hull) > 1:
                saved_before = _loss_saved_per_mac(hull[-2], hull[-1])
                if saved_before > _loss_saved_per_mac(hull[-1], option):
                    break
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
    """Which form each site got, and what was measured for it.

    Attributes:
        max_drop: What might be lost.
        groups: The sites, with what each form loses alone.
        trials: The combinations that were fitted, in order.
        forms: The form that each group got.
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
        """Return the search in words, one line for each trial."""
        kinds = f", outputs taken for {', '.join(self.kinds)}" if self.kinds else ""
        lines = [f"forms within max_drop={self.max_drop:g}{kinds}:"]
        for trial in self.trials:
            verdict = "within" if trial.drop <= self.max_drop else "beyond"
            lines.append(f"  {', '.join(trial.forms)}: {100 * trial.drop:.1f} % lost, {verdict}")
        if self.note:
            lines.append(f"note: {self.note}")
        if self.interrupted:
            lines.append("interrupted: the best until then is kept")
        return "\n".join(lines)


def combinations(groups: Sequence[Group]) -> list[tuple[Option, ...]]:
    """Return combinations of forms, from the cheapest of all to all kept.

    From one to the next a single group changes its form.
    """
    hulls = [group.worthwhile() for group in groups]
    steps: list[tuple[float, int, int]] = []
    for number, hull in enumerate(hulls):
        for position, (cheaper, dearer) in enumerate(itertools.pairwise(hull), 1):
            steps.append((-_loss_saved_per_mac(cheaper, dearer), number, position))
    # Along a hull a MAC saves less and less, so sorting keeps the steps of one group in order.
    steps.sort()
    current = [hull[0] for hull in hulls]
    found = [tuple(current)]
    for _, number, position in steps:
        current[number] = hulls[number][position]
        found.append(tuple(current))
    return found


def cheapest_within(
    combos: Sequence[tuple[Option, ...]], allowed: float, fit: Callable[[int], float | None]
) -> int:
    """Return the number of the first combination that stays within what is allowed.

    Args:
        combos: Combinations, ever dearer; the last keeps everything, and loses nothing.
        allowed: What may be lost.
        fit: Fits one of them and returns what it loses; None where there is no time left.

    Returns:
        The first that was found to; that may be a later one where time or trials ran out.
    """
    last = len(combos) - 1
    losses_alone = [sum(option.bounded_drop for option in combo) for combo in combos]
    share = END_TO_END_SHARE
    # What was learnt: all up to `too_cheap` lose too much, `good` stays within.
    too_cheap = -1
    good = last
    for _ in range(TRIALS_MAX):
        likely = _first_within(losses_alone, share, allowed)
        has_good_trial = good < last
        if (has_good_trial and likely >= good) or good - too_cheap <= 1:
            break
        tried = min(max(likely, too_cheap + 1), good - 1)
        drop = fit(tried)
        if drop is None:
            break
        if drop <= allowed:
            good = tried
        else:
            too_cheap = tried
        if losses_alone[tried] > 0:
            share = drop / losses_alone[tried]
    return good


def _first_within(losses_alone: Sequence[float], share: float, allowed: float) -> int:
    """Return the first combination that should stay within, if a share of its loss is left."""
    for number, loss in enumerate(losses_alone):
        if share * loss <= allowed:
            return number
    return len(losses_alone) - 1


def _loss_saved_per_mac(cheaper: Option, dearer: Option) -> float:
    saved = cheaper.bounded_drop - dearer.bounded_drop
    return saved / max(1, dearer.macs - cheaper.macs)
