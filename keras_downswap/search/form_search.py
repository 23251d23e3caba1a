"""One search for the cheapest forms within a limit: each form alone, then combinations of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from keras_downswap.calibration.holdout import SampleSplit
from keras_downswap.calibration.options import DEFAULTS, CalibrationOptions, distillation_steps
from keras_downswap.calibration.progress import Bar
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.calibration.run import run_calibration
from keras_downswap.calibration.stages import AUTO, quick_stage
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import NothingSwapped
from keras_downswap.planning.sites import Site
from keras_downswap.planning.targets.admitted_rules import FORMS, KEEP_FORM
from keras_downswap.rebuilding.build import build
from keras_downswap.report import Report
from keras_downswap.request import FitOptions, Request
from keras_downswap.search.clusters import Cluster, clusters_of

SINGLE_FORM_SAMPLES_MAX = 512
"""Samples that a form is fitted to when it is measured alone."""
SINGLE_FORM_TIME_SHARE = 1 / 3
"""Share of the time in which forms are measured alone; the rest is for trials."""
HOLDOUT_FRACTION = 0.2
"""Share of the samples that is held out: twice that of a calibration, since a limit hangs on it."""
TRIAL_STEPS_PER_ROOT_SAMPLE = 16
"""Distillation steps of a trial for each unit of the root of the number of samples."""
TRIAL_STEPS_MIN = 400
"""Distillation steps of a trial, at least."""
COUNTABLE_WRONG_ANSWERS = 2
"""How many wrong answers on the held-out samples the limit must allow to be measurable."""
SMALLEST_DROP = 1e-9
"""What a limit of 0 counts as where samples are counted that could measure it."""


@dataclass(frozen=True)
class Found:
    """A new model that was checked, its report, and what its caller is to be warned of."""

    model: Any
    report: Report
    warnings: tuple[UserWarning, ...]


class FormSearch:
    """One search, and the best that it has found so far."""

    def __init__(
        self,
        reading: Reading,
        request: Request,
        sites: Sequence[Site],
        data: Any,
        options: FitOptions,
    ) -> None:
        """Split the data; nothing is built yet."""
        self.reading = reading
        self.request = request
        self.options = options
        self.max_drop = options.max_drop or 0.0
        self.began = time.perf_counter()
        budget = options.budget
        self.deadline = math.inf if budget is None else self.began + budget
        self.clusters = clusters_of(reading, sites)
        self.samples = SampleSplit.of(data, reading, seed=options.seed, fraction=HOLDOUT_FRACTION)
        self.groups: list[Group] = []
        self.trials: list[Trial] = []
        self.kinds: tuple[str, ...] = ()
        # The last trial that stayed within the limit: later ones are cheaper.
        self.best: tuple[Found, tuple[str, ...]] | None = None

    def build(self, sites: Sequence[Site]) -> Found:
        """Build the new model of a decision on the sites, and check it."""
        built = build(self.reading, self.request, sites)
        report = Report.of(self.request, tuple(sites), built)
        return Found(built.model, report, built.warnings)

    def run(self) -> tuple[Found, FormSearchReport]:
        """Measure, then try; return the cheapest that stays within the limit.

        At the worst that is everything kept.
        """
        interrupted = False
        try:
            self._measure_forms()
            combos = combinations(self.groups)

            def drop_of(number: int) -> float | None:
                return self._try(combos[number])

            cheapest_within(combos, self.max_drop, drop_of)
        except KeyboardInterrupt:
            # What was found until then is a result: it may have taken hours.
            interrupted = True
        built, forms = self.best or self._all_kept()
        report = FormSearchReport(
            max_drop=self.max_drop,
            groups=tuple(self.groups),
            trials=tuple(self.trials),
            forms=forms,
            kinds=self.kinds,
            note=self._note_on_few_samples(),
            interrupted=interrupted,
            seconds=time.perf_counter() - self.began,
        )
        sites = [self._with_measurements(site, forms) for site in built.report.sites]
        explained = replace(built.report, sites=tuple(sites))
        return replace(built, report=explained), report

    def _all_kept(self) -> tuple[Found, tuple[str, ...]]:
        """Build what loses nothing."""
        forms = (KEEP_FORM,) * len(self.clusters)
        built = self.build(self._sites_with(forms))
        nothing = NothingSwapped(
            f"nothing was swapped: no form of {len(self.clusters)} sites that was tried keeps to "
            f"max_drop={self.max_drop:g}; the report says what was measured. "
            "The new model is a copy."
        )
        warnings: list[UserWarning] = []
        for warning in built.warnings:
            # In place of the plan's own words for it, which know of no limit.
            is_replaced = isinstance(warning, NothingSwapped)
            warnings.append(nothing if is_replaced else warning)
        return replace(built, warnings=tuple(warnings)), forms

    def _note_on_few_samples(self) -> str:
        """Say where the held-out samples are too few for the limit; empty where they are enough."""
        count = len(self.samples.held_out[0])
        only_numbers = set(self.kinds) <= {"numbers"}
        if only_numbers or count * self.max_drop >= COUNTABLE_WRONG_ANSWERS:
            return ""
        # A limit of 0 would need samples without end.
        limit = max(self.max_drop, SMALLEST_DROP)
        needed = math.ceil(COUNTABLE_WRONG_ANSWERS / limit)
        at_most = DEFAULTS.holdout_samples_max
        advice = f"give {math.ceil(needed / HOLDOUT_FRACTION)} samples"
        if needed > at_most:
            advice = f"no more than {at_most} are held out"
        percent = 100 * self.max_drop
        return f"{count} held-out samples are few to tell a drop of {percent:g} %: {advice}"

    def _sites_with(self, forms: Sequence[str]) -> tuple[Site, ...]:
        """Return the sites of the model where each cluster has a form."""
        form_of_call = {}
        for cluster, form in zip(self.clusters, forms, strict=True):
            for call in cluster.calls:
                form_of_call[call] = form
        return self.request.sites(self.reading.graph, form_of_call)

    def _sites_alone(self, number: int, form: str) -> tuple[Site, ...]:
        """Return the sites where one cluster has a form, and the others are kept."""
        forms = [KEEP_FORM] * len(self.clusters)
        forms[number] = form
        return self._sites_with(forms)

    def _measure_forms(self) -> None:
        """Measure the forms of each cluster, each alone, in a share of the time at most.

        A form that there was no time for is none that a trial can have.
        """
        numbers = range(len(self.clusters))
        candidates = [self._candidate_forms(number) for number in numbers]
        measured: list[list[Option]] = [[] for _ in numbers]
        try:
            self._measure_into(measured, candidates)
        finally:
            # Also after Ctrl-C, so that the report says what was measured until then.
            for cluster, found, options in zip(self.clusters, candidates, measured, strict=True):
                self.groups.append(_group_of(cluster, options, found[KEEP_FORM]))

    def _measure_into(
        self, measured: list[list[Option]], candidates: Sequence[dict[str, Option]]
    ) -> None:
        seed = self.options.seed
        first = self.samples.fitting.first(SINGLE_FORM_SAMPLES_MAX, seed=seed)
        few = Data.of(first, input_specs_of(self.reading))
        samples = SampleSplit(few, self.samples.held_out)
        until = self.began + (self.deadline - self.began) * SINGLE_FORM_TIME_SHARE
        options = self._fit_options(quick_stage().name, None, self.deadline)
        # The first form of every cluster before the second of any: each may run out of time.
        for form in FORMS:
            for number, found in enumerate(candidates):
                if form not in found or time.perf_counter() >= until:
                    continue
                built = self.build(self._sites_alone(number, form))
                report = self._fit(built, samples, options, f"site {number + 1}, {form}: ")
                # A fit that was cut short says nothing of what its form loses.
                if report.interrupted:
                    raise KeyboardInterrupt
                option = replace(found[form], drop=report.after.drop)
                measured[number].append(option)

    def _candidate_forms(self, number: int) -> dict[str, Option]:
        """Return the forms that a cluster can have, `kept` among them.

        Each is by another rule. All but the first must be cheaper than keeping the sites: that
        loses nothing.
        """
        cluster = self.clusters[number]
        all_kept = self._sites_alone(number, KEEP_FORM)
        kept = cluster.option(self.reading, all_kept, KEEP_FORM, drop=0.0)
        found = {KEEP_FORM: replace(kept, rule=None)}
        for form in FORMS:
            sites = self._sites_alone(number, form)
            # Not measured yet, so it may lose anything.
            option = cluster.option(self.reading, sites, form, drop=math.inf)
            known_rules = {other.rule for other in found.values()}
            is_new = bool(option.rule) and option.rule not in known_rules
            is_worth_it = form == FORMS[0] or option.macs < kept.macs
            if is_new and is_worth_it:
                found[form] = option
        return found

    def _try(self, combo: Sequence[Option]) -> float | None:
        """Fit a combination end to end, in half of the time left at most; return what it loses.

        None where no time is left.
        """
        now = time.perf_counter()
        if now >= self.deadline:
            return None
        forms = tuple(option.form for option in combo)
        steps = distillation_steps(
            self.samples.fitting.count, TRIAL_STEPS_PER_ROOT_SAMPLE, TRIAL_STEPS_MIN
        )
        # The other half is for the trials after this one.
        half_time = (now + self.deadline) / 2
        options = self._fit_options(AUTO, steps, half_time)
        built = self.build(self._sites_with(forms))
        report = self._fit(built, self.samples, options, f"trial {len(self.trials) + 1}: ")
        self.trials.append(Trial(forms, report.after.drop))
        if report.after.drop <= self.max_drop:
            fitted = replace(built.report, calibration=report)
            self.best = replace(built, report=fitted), forms
        # Only now: a trial that Ctrl-C ended counts, if it keeps to the limit.
        if report.interrupted:
            raise KeyboardInterrupt
        return report.after.drop

    def _fit_options(self, method: str, steps: int | None, deadline: float) -> CalibrationOptions:
        train_all = self.options.scope == "all"
        return CalibrationOptions(method, train_all, self.options.seed, steps, deadline)

    def _fit(
        self, built: Found, samples: SampleSplit, options: CalibrationOptions, title: str
    ) -> CalibrationReport:
        new = read_model(built.model)
        with Bar(self.options.verbose, title) as bar:
            report = run_calibration(new, self.reading, samples, options, bar)
        self.kinds = report.after.kinds
        return report

    def _with_measurements(self, site: Site, forms: Sequence[str]) -> Site:
        """Return a site with what was measured in its reason."""
        if site.promise == "exact":
            return site
        for number, cluster in enumerate(self.clusters):
            if not cluster.touches(site):
                continue
            form = forms[number]
            verb = "kept" if form == KEEP_FORM else f"'{form}' chosen"
            # Ctrl-C may have come before any group was measured.
            measured = "nothing was measured"
            if number < len(self.groups):
                measured = self.groups[number].summary
            reason = (
                f"{verb} to stay within max_drop={self.max_drop:g} "
                f"(alone, before the end-to-end fit: {measured})"
            )
            return site.explained(reason)
        return site


def _group_of(cluster: Cluster, measured: Sequence[Option], kept: Option) -> Group:
    layers = tuple(site.layers for site in cluster.sites)
    cheapest_first = sorted(measured, key=lambda option: option.macs)
    return Group(layers, (*cheapest_first, kept))
