"""Swaps with a limit on what may be lost: each site gets the cheapest form with which the whole stays within it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_downswap.calibration.calibrate import (
    HELD_MOST,
    RUNGS,
    CalibrationOptions,
    Samples,
    fit,
)
from keras_downswap.calibration.data.model_inputs import input_specs_of
from keras_downswap.calibration.data.samples import Data
from keras_downswap.calibration.forms import (
    FormSearchReport,
    Group,
    Option,
    Trial,
    cheapest_within,
    combinations,
)
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.dialects import read_model
from keras_downswap.errors import BadRequest, NothingSwapped
from keras_downswap.plan import Built, Plan
from keras_downswap.planning.choose import KEPT
from keras_downswap.planning.sites import Site
from keras_downswap.report import Report
from keras_downswap.search.clusters import clusters_of

FORMS = ("same", "cover", "wide")
"""The forms of an approximate swap, in the order in which they are measured."""
ALONE = 512
"""Samples that a form is fitted to when it is measured alone."""
HELD = 0.2
"""Share of the samples that judges."""
STEPS, LEAST = 16, 400
"""Steps of a trial's distillation, times the root of the number of samples, and how many at least."""
ENOUGH = 2
"""Wrong answers that are allowed on held-out samples, at least, for their number to tell much."""


def search_forms(
    plan: Plan,
    max_drop: float,
    data: Any,
    budget: float | None = None,
    verbose: bool = True,
    stacklevel: int = 1,
) -> tuple[Any, Report]:
    """Build and fit the cheapest forms of a plan's approximate swaps that together lose no more than allowed.

    Args:
        plan: A plan with method `auto` and kernel `same`.
        max_drop: Share of right answers that may be lost, as expected on held-out samples from the
            original's own probabilities; of outputs that are no classifier's, the squared
            difference over the variance.
        data: What the model takes, in any form that `calibrate` takes.
        budget: Seconds to be done in, about; None for no limit.
        verbose: Whether to show progress on stderr.
        stacklevel: How many calls above this one warnings are for.

    Returns:
        The new model and its report, whose `choices` say what was tried.

    Raises:
        BadRequest: If the limit is no share, the data is missing or does not fit, or the plan is of
            another kind.
        BrokenPromise: If a check fails; no model is returned then.
    """
    check_limit(plan, max_drop, data)
    search = _Search(plan, max_drop, data, budget, verbose)
    made, choices = search.run() if search.clusters else (plan.build(), None)
    made.warn(stacklevel + 1)
    return made.model, replace(made.report, choices=choices)


def check_limit(plan: Plan, max_drop: float, data: Any) -> None:
    """Refuse a limit that cannot be kept to.

    Raises:
        BadRequest: If it is no share, there is no data to measure on, or the plan has chosen its
            forms already.
    """
    if not 0 <= max_drop < 1:
        raise BadRequest(
            f"max_drop is a share of right answers: expected 0 <= max_drop < 1, received {max_drop}"
        )
    if data is None:
        raise BadRequest(
            "max_drop is measured on inputs: expected calibration_data (--calibrate DATA), received none"
        )
    request = plan.request
    if (request.method, request.kernel) != ("auto", "same"):
        raise BadRequest(
            f"max_drop chooses the form of each site itself: expected method='auto' and kernel='same', received "
            f"method={request.method!r} and kernel={request.kernel!r}"
        )


class _Search:
    """One search, and the best that it has found so far."""

    def __init__(
        self, plan: Plan, max_drop: float, data: Any, budget: float | None, verbose: bool
    ) -> None:
        self.plan, self.max_drop, self.verbose = plan, max_drop, verbose
        self.began = time.perf_counter()
        self.ends = self.began + (math.inf if budget is None else budget)
        self.clusters = clusters_of(plan)
        self.samples = Samples.of(data, plan.reading, 0, HELD)
        self.groups: list[Group] = []
        self.trials: list[Trial] = []
        self.kinds: tuple[str, ...] = ()
        self.best: tuple[Built, tuple[str, ...]] | None = None

    def run(self) -> tuple[Built, FormSearchReport]:
        """Measure, then try; return the cheapest that stays within the limit, at the least everything kept."""
        interrupted = False
        try:
            self._measure()
            combos = combinations(self.groups)
            cheapest_within(combos, self.max_drop, lambda number: self._try(combos[number]))
        except KeyboardInterrupt:
            interrupted = True
        made, forms = self.best or self._all_kept()
        seconds = time.perf_counter() - self.began
        found = tuple(self.groups), tuple(self.trials), forms
        choices = FormSearchReport(
            self.max_drop, *found, self.kinds, self._note(), interrupted, seconds
        )
        sites = tuple(self._explained(site, forms) for site in made.report.sites)
        return replace(made, report=replace(made.report, sites=sites)), choices

    def _all_kept(self) -> tuple[Built, tuple[str, ...]]:
        """Build what loses nothing."""
        forms = (KEPT,) * len(self.clusters)
        made = self._plan(forms).build()
        nothing = NothingSwapped(
            f"nothing was swapped: no form of {len(self.clusters)} sites that was tried keeps to "
            f"max_drop={self.max_drop:g}; the report says what was measured. The new model is a copy."
        )
        others = (nothing if isinstance(one, NothingSwapped) else one for one in made.warnings)
        return replace(made, warnings=tuple(others)), forms

    def _note(self) -> str:
        """Say where the held-out samples are too few for the limit."""
        held = len(self.samples.held[0])
        if held * self.max_drop >= ENOUGH or {*self.kinds} <= {"numbers"}:
            return ""
        few = f"{held} held-out samples are few to tell a drop of {100 * self.max_drop:g} %"
        needed = math.ceil(ENOUGH / (self.max_drop or 1e-9))
        most = f"no more than {HELD_MOST} are held out"
        return (
            f"{few}: {most if needed > HELD_MOST else f'give {math.ceil(needed / HELD)} samples'}"
        )

    def _plan(self, forms: Sequence[str]) -> Plan:
        """Return the plan in which each cluster takes a form."""
        pairs = zip(self.clusters, forms, strict=True)
        return self.plan.in_forms(
            {place: form for cluster, form in pairs for place in cluster.places}
        )

    def _alone(self, number: int, form: str) -> Plan:
        """Return the plan in which one cluster takes a form, and the others are kept."""
        return self._plan(
            [form if other == number else KEPT for other in range(len(self.clusters))]
        )

    def _measure(self) -> None:
        """Measure the forms of each cluster, each alone, in a third of the time at most."""
        few = Samples(
            Data.of(self.samples.rest.first(ALONE, seed=0), input_specs_of(self.plan.reading)),
            self.samples.held,
        )
        until = self.began + (self.ends - self.began) / 3
        ways = [self._ways(number) for number in range(len(self.clusters))]
        measured: list[list[Option]] = [[] for _ in ways]
        try:
            for form, number in [
                (form, number) for form in FORMS for number, way in enumerate(ways) if form in way
            ]:
                if time.perf_counter() < until:
                    climb = CalibrationOptions(("least_squares",), True, 0, None, self.ends)
                    name = f"site {number + 1}, {form}: "
                    drop = self._fit(self._alone(number, form).build(), few, climb, name).after.drop
                    measured[number].append(replace(ways[number][form], drop=drop))
        finally:
            for cluster, way, options in zip(self.clusters, ways, measured, strict=True):
                layers = tuple(site.layers for site in cluster.sites)
                self.groups.append(
                    Group(layers, (*sorted(options, key=lambda o: o.macs), way[KEPT]))
                )

    def _ways(self, number: int) -> dict[str, Option]:
        """Return the forms that a cluster can take: other rules each, and none but the first dearer than keeping it."""
        cluster = self.clusters[number]
        found = {KEPT: replace(cluster.option(self._alone(number, KEPT), KEPT, 0.0), rule=None)}
        for form in FORMS:
            option = cluster.option(self._alone(number, form), form, math.inf)
            new = bool(option.rule) and option.rule not in {other.rule for other in found.values()}
            if new and (form == "same" or option.macs < found[KEPT].macs):
                found[form] = option
        return found

    def _try(self, combo: Sequence[Option]) -> float | None:
        """Fit a combination end to end, in half of the time left at most; return what it loses."""
        now = time.perf_counter()
        if now >= self.ends:
            return None
        forms = tuple(option.form for option in combo)
        count = self.samples.rest.count or 4096
        climb = CalibrationOptions(
            RUNGS, True, 0, max(LEAST, round(STEPS * math.sqrt(count))), (now + self.ends) / 2
        )
        made = self._plan(forms).build()
        report = self._fit(made, self.samples, climb, f"trial {len(self.trials) + 1}: ")
        self.trials.append(Trial(forms, report.after.drop))
        if report.after.drop <= self.max_drop:
            self.best = replace(made, report=replace(made.report, calibration=report)), forms
        if report.interrupted:
            raise KeyboardInterrupt
        return report.after.drop

    def _fit(
        self, made: Built, samples: Samples, climb: CalibrationOptions, name: str
    ) -> CalibrationReport:
        with Bar(self.verbose, name) as bar:
            new = read_model(made.model)
            report = fit(new, self.plan.reading, samples, climb, bar)
        self.kinds = report.after.kinds
        report.method = "auto" if climb.rungs == RUNGS else climb.rungs[0]
        if report.interrupted and climb.rungs != RUNGS:
            raise KeyboardInterrupt
        return report

    def _explained(self, site: Site, forms: Sequence[str]) -> Site:
        """Return a site with what was measured in its reason."""
        for number, (cluster, form) in enumerate(zip(self.clusters, forms, strict=True)):
            if cluster.touches(site) and site.promise != "exact":
                told = (
                    self.groups[number].summary
                    if number < len(self.groups)
                    else "nothing was measured"
                )
                verb = "kept" if form == KEPT else f"'{form}' chosen"
                why = f"{verb} to stay within max_drop={self.max_drop:g} (alone, before the end-to-end fit: {told})"
                return replace(site, reason="; ".join(filter(None, (site.reason, why))))
        return site
