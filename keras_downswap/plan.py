"""What a swap will do to a model, decided before anything is built; then built, checked and fitted."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

from keras_downswap.calibration.calibrate import calibrate
from keras_downswap.calibration.data.command_line import load
from keras_downswap.calibration.data.model_inputs import input_specs_of
from keras_downswap.checks import Check
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import NothingSwapped, SomethingLost
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Selector, Site
from keras_downswap.planning.targets import Target
from keras_downswap.rebuilding.restore import recompile
from keras_downswap.rebuilding.rewrite import rewrite
from keras_downswap.rebuilding.verify import traces, verify
from keras_downswap.report import Report, describe_sites
from keras_downswap.rulekit.rule import Rule


@dataclass(frozen=True)
class Built:
    """A new model that was checked.

    Attributes:
        model: The model.
        report: Its account.
        warnings: What its maker is to be warned of.
    """

    model: Any
    report: Report
    warnings: tuple[UserWarning, ...]

    def warn(self, stacklevel: int) -> None:
        """Give the warnings, for so many calls above this one."""
        for warning in self.warnings:
            warnings.warn(warning, stacklevel=stacklevel + 1)


@dataclass(frozen=True)
class Request:
    """What was asked of a swap; the arguments of `plan_swaps`."""

    to: Any
    method: Any
    include: Selector
    exclude: Selector
    rules: Sequence[Rule]
    kernel: Any

    def sites(self, graph: Graph, forms: Mapping[CallRef, str]) -> tuple[Site, ...]:
        """Return what becomes of each downsampling call of a graph."""
        wide = self.method == "wide"
        form: Any = "wide" if wide else self.kernel
        method: Any = "auto" if wide else self.method
        return find_sites(
            graph, self.rules, self.to, method, self.include, self.exclude, form, forms
        )


@dataclass(frozen=True)
class Plan:
    """What a swap will do to a model, decided before anything is built; print it, then `apply` it.

    Attributes:
        request: What was asked for.
        sites: One entry per swap and one per kept call, in graph order.
        reading: The model, read.
    """

    request: Request
    sites: tuple[Site, ...]
    reading: Reading = field(repr=False)

    @classmethod
    def of(cls, reading: Reading, request: Request) -> Plan:
        """Decide what a request does to a model."""
        return cls(request, request.sites(reading.graph, {}), reading)

    def in_forms(self, forms: Mapping[CallRef, str]) -> Plan:
        """Return the plan in which the approximate swaps of some calls take other forms."""
        return replace(self, sites=self.request.sites(self.reading.graph, forms))

    @property
    def to(self) -> str:
        """What downsamples afterwards."""
        to = self.request.to
        return to.name if isinstance(to, Target) else str(to)

    @property
    def method(self) -> Any:
        """How swaps are chosen."""
        return self.request.method

    @property
    def swaps(self) -> tuple[Site, ...]:
        """The sites that will be swapped."""
        return tuple(site for site in self.sites if site.status == "swapped")

    @property
    def refusals(self) -> tuple[Site, ...]:
        """The sites that will be kept, each with its reason."""
        return tuple(site for site in self.sites if site.status == "kept")

    def graph_of(self, site: Site) -> Graph:
        """Return the graph (the model's, or a nested model's) that holds a site."""
        return self.reading.scopes[site.scope].graph

    def __str__(self) -> str:
        """Return the plan in words, a line a site."""
        return describe_sites(self.to, self.method, self.sites)

    def data(self, place: str) -> Any:
        """Return the inputs that a command line names, for `apply`: a .npy or .npz file, a folder, a function.

        Raises:
            BadRequest: If there is no such place, it cannot be read, or it does not fit the model.
        """
        return load(place, input_specs_of(self.reading))

    @overload
    def apply(
        self,
        return_report: Literal[False] = ...,
        calibration_data: Any = ...,
        budget: float | None = ...,
        verbose: bool = ...,
    ) -> Any: ...
    @overload
    def apply(
        self,
        return_report: Literal[True],
        calibration_data: Any = ...,
        budget: float | None = ...,
        verbose: bool = ...,
    ) -> tuple[Any, Report]: ...
    def apply(
        self,
        return_report: bool = False,
        calibration_data: Any = None,
        budget: float | None = None,
        verbose: bool = True,
    ) -> Any:
        """Build the new model and check it; fit it to the old one where data is given and a swap is approximate.

        Args:
            return_report: Whether to return the report as well.
            calibration_data: What the model takes, in any form that `calibrate` takes.
            budget: Seconds that fitting may take, about; None for no limit.
            verbose: Whether fitting shows its progress on stderr.

        Returns:
            The new model, which shares no variable with the old one; with `return_report`, the
            model and a `Report`.

        Raises:
            BrokenPromise: If a check fails; no model is returned then.
            BadRequest: If the data does not fit the model.
        """
        new, report = self.carry_out(calibration_data, budget, verbose, stacklevel=2)
        return (new, report) if return_report else new

    def carry_out(
        self, data: Any, budget: float | None, verbose: bool, stacklevel: int
    ) -> tuple[Any, Report]:
        """Do as `apply` does; warnings are for so many calls above this one."""
        made = self.build()
        made.warn(stacklevel + 1)
        if data is None or not any(site.promise == "approximate" for site in self.swaps):
            return made.model, made.report
        fitted = calibrate(
            made.model, original=self.reading.model, data=data, budget=budget, verbose=verbose
        )
        return made.model, replace(made.report, calibration=fitted)

    def build(self) -> Built:
        """Build the new model and check it.

        Raises:
            BrokenPromise: If a check fails; no model is returned then.
        """
        dialect, old = self.reading.dialect, self.reading.model
        with _collector_paused():
            before = traces(self.reading)
            new = rewrite(self.reading, self.sites)
            checks = verify(self.reading, before, self.sites, new)
        compiled, lost = recompile(dialect, old, new.model)
        losses = (*new.notes, *lost)
        notes = (*losses, *compiled, *self._renamed(new.model), *self._limits(checks))
        nothing = () if self.swaps else (NothingSwapped(self._nothing()),)
        report = Report(self.to, self.method, self.sites, checks, notes)
        return Built(new.model, report, (*nothing, *map(SomethingLost, losses)))

    def _limits(self, checks: tuple[Check, ...]) -> Iterator[str]:
        """Say what the checks leave open: sizes that nothing enforces, and values that could not be compared."""
        sites = dict.fromkeys(check.where for check in checks if check.what == "length")
        if sites and self.reading.dialect.is_sequential(self.reading.model):
            yield (
                f"{', '.join(sites)}: the lengths agree at the size that the model states, and a Sequential model lets "
                "itself be called at others, at which they may not; Input sizes of None would have them agree at all"
            )
        yield from (f"{check.where}: {check.detail}" for check in checks if check.what == "not run")

    def _renamed(self, new: Any) -> Iterator[str]:
        dialect, old = self.reading.dialect, self.reading.model
        for before, after in zip(
            dialect.output_layers(old), dialect.output_layers(new), strict=True
        ):
            if before != after:
                yield (
                    f"the output '{before}' keeps its name on this model object; a file saved from it will name the "
                    f"output after the layer that now makes it, '{after}'"
                )

    def _nothing(self) -> str:
        found = (
            f"none of {len(self.sites)} downsampling calls fits to={self.to!r} with method={self.method!r}; "
            "the report says why for each"
        )
        why = found if self.sites else "the model has no pool and no strided convolution"
        return f"nothing was swapped: {why}. The new model is a copy."


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector: thousands of long-lived objects in a row make it walk the whole heap."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
