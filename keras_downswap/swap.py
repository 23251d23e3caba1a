"""The story: read, plan, rewrite, verify, report."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from keras_downswap.check import Check
from keras_downswap.dialects import dialect_of
from keras_downswap.dialects.dress import recompile
from keras_downswap.dialects.reading import Reading
from keras_downswap.graph import Graph
from keras_downswap.plan import KernelForm, Method, find_sites
from keras_downswap.recover.calibrate import calibrate, feeds_of
from keras_downswap.recover.sources import load
from keras_downswap.report import Report, describe_sites
from keras_downswap.rewrite import rewrite
from keras_downswap.rule import Rule
from keras_downswap.rules import RULES, checked_rules
from keras_downswap.site import Selector, Site
from keras_downswap.verify import traces, verify


class NothingSwapped(UserWarning):
    """The swap changed nothing: the model has no site that the request could swap."""


class SomethingLost(UserWarning):
    """The new model lacks something of the original that no copy could carry; the report's notes say it too."""


@dataclass(frozen=True)
class Plan:
    """What a swap will do to a model, decided before anything is built; print it, then `apply` it.

    Attributes:
        to: What downsamples afterwards.
        method: How swaps are chosen.
        sites: One entry per swap and one per kept call, in graph order.
    """

    to: str
    method: Method
    sites: tuple[Site, ...]
    _reading: Reading = field(repr=False)

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
        return self._reading.scopes[site.scope].graph

    def __str__(self) -> str:
        """Return the plan in words, a line a site."""
        return describe_sites(self.to, self.method, self.sites)

    def data(self, place: str) -> Any:
        """Return the inputs that a command line names, for `apply`: a .npy or .npz file, a folder, a function.

        Raises:
            BadRequest: If there is no such place, it cannot be read, or it does not fit the model.
        """
        return load(place, feeds_of(self._reading))

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
            The new model, which shares no variable with the old one; with `return_report`, the model and a `Report`.

        Raises:
            BrokenPromise: If a check fails; no model is returned then.
            BadRequest: If the data does not fit the model.
        """
        new, report = self._apply(3, calibration_data, budget, verbose)
        return (new, report) if return_report else new

    def _apply(
        self, stacklevel: int, data: Any = None, budget: float | None = None, verbose: bool = True
    ) -> tuple[Any, Report]:
        dialect, old = self._reading.dialect, self._reading.model
        with _collector_paused():
            before = traces(self._reading)
            new = rewrite(self._reading, self.sites)
            checks = verify(self._reading, before, self.sites, new)
        if not self.swaps:
            warnings.warn(self._nothing(), NothingSwapped, stacklevel=stacklevel)
        compiled, lost = recompile(dialect, old, new.model)
        losses = (*new.notes, *lost)
        for loss in losses:
            warnings.warn(loss, SomethingLost, stacklevel=stacklevel)
        notes = (*losses, *compiled, *self._renamed(new.model), *self._limits(checks))
        fitted = None
        if data is not None and any(site.promise == "approximate" for site in self.swaps):
            fitted = calibrate(new.model, old, data, budget=budget, verbose=verbose)
        return new.model, Report(self.to, self.method, self.sites, checks, notes, fitted)

    def _limits(self, checks: tuple[Check, ...]) -> Iterator[str]:
        """Say what the checks leave open: sizes that nothing enforces, and values that could not be compared."""
        sites = dict.fromkeys(check.where for check in checks if check.what == "length")
        if sites and self._reading.dialect.is_sequential(self._reading.model):
            yield (
                f"{', '.join(sites)}: the lengths agree at the size that the model states, and a Sequential model lets "
                "itself be called at others, at which they may not; Input sizes of None would have them agree at all"
            )
        yield from (f"{check.where}: {check.detail}" for check in checks if check.what == "not run")

    def _renamed(self, new: Any) -> Iterator[str]:
        dialect, old = self._reading.dialect, self._reading.model
        for before, after in zip(dialect.output_layers(old), dialect.output_layers(new), strict=True):
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


def plan_swaps(
    model: Any,
    to: str = "strided_conv",
    method: Method = "auto",
    include: Selector = None,
    exclude: Selector = None,
    rules: Sequence[Rule] = (),
    kernel: KernelForm = "same",
) -> Plan:
    """Decide what a swap would do to a model, and build nothing.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`.
        to: What downsamples afterwards, one of `keras_downswap.rules.TARGETS`, such as `strided_conv`, `max_pool` or
            `subsample`; or `profile:NAME` (`profile:FILE.toml`) for the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else the same kernel, approximate), `exact` (only exact swaps),
            `copy` (same kernel, all weights verbatim) or `wide` (exact where an identity exists, else a strided
            convolution of twice the filters, a ReLU and a 1x1 convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names, or a callable on
            the site; None for all.
        exclude: Sites to keep, likewise.
        rules: Rules of your own, which are asked before all others.
        kernel: Of approximate swaps into convolutions: the `same` kernel, or one that `cover`s all that the
            convolution and the pool saw together, started at the mean.

    Returns:
        The plan; `print` it, then `apply` it.

    Raises:
        UnreadableModel: If the value is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown or names no layer.
    """
    reading = dialect_of(model).read(model)
    sites = find_sites(reading.graph, (*checked_rules(rules), *RULES), to, method, include, exclude, kernel)
    return Plan(to, method, sites, reading)


@overload
def swap_downsampling(
    model: Any,
    to: str = ...,
    method: Method = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    return_report: Literal[False] = ...,
    rules: Sequence[Rule] = ...,
    kernel: KernelForm = ...,
    calibration_data: Any = ...,
    verbose: bool = ...,
) -> Any: ...
@overload
def swap_downsampling(
    model: Any,
    to: str = ...,
    method: Method = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    *,
    return_report: Literal[True],
    rules: Sequence[Rule] = ...,
    kernel: KernelForm = ...,
    calibration_data: Any = ...,
    verbose: bool = ...,
) -> tuple[Any, Report]: ...
def swap_downsampling(
    model: Any,
    to: str = "strided_conv",
    method: Method = "auto",
    include: Selector = None,
    exclude: Selector = None,
    return_report: bool = False,
    rules: Sequence[Rule] = (),
    kernel: KernelForm = "same",
    calibration_data: Any = None,
    verbose: bool = True,
) -> Any:
    """Return a new model that downsamples in another way; the given one is not changed.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`, any input sizes, fixed or unknown.
        to: What downsamples afterwards, one of `keras_downswap.rules.TARGETS`, such as `strided_conv`, `max_pool` or
            `subsample`; or `profile:NAME` (`profile:FILE.toml`) for the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else the same kernel, approximate), `exact` (only exact swaps),
            `copy` (same kernel, all weights verbatim) or `wide` (exact where an identity exists, else a strided
            convolution of twice the filters, a ReLU and a 1x1 convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names, or a callable on
            the site; None for all.
        exclude: Sites to keep, likewise.
        return_report: Whether to return the report as well.
        rules: Rules of your own, which are asked before all others.
        kernel: Of approximate swaps into convolutions: the `same` kernel, or one that `cover`s all that the
            convolution and the pool saw together, started at the mean.
        calibration_data: What the model takes, in any form that `calibrate` takes: where a swap is approximate, the new
            model is fitted to the original on it. No labels are needed.
        verbose: Whether fitting shows its progress on stderr.

    Returns:
        The new model, with the same inputs, outputs and shapes; with `return_report`, the model and a `Report`.

    Raises:
        UnreadableModel: If the value is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown or names no layer.
        BrokenPromise: If the new model fails a check; nothing is returned then.

    Warns:
        NothingSwapped: If no site was swapped; the model returned is a faithful copy.
        SomethingLost: If the new model's class, compile state or own weights could not be carried over.
    """
    plan = plan_swaps(model, to, method, include, exclude, rules, kernel)
    new, report = plan._apply(3, calibration_data, None, verbose)
    return (new, report) if return_report else new
