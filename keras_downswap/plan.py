"""What a swap will do to a model, decided before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, overload

from keras_downswap.calibration.calibrate import calibrate
from keras_downswap.calibration.data.command_line import load
from keras_downswap.calibration.data.model_inputs import input_specs_of
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadRequest, warn_caller
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Site
from keras_downswap.planning.targets import Form, Method
from keras_downswap.rebuilding.build import build
from keras_downswap.rebuilding.same_graph import difference
from keras_downswap.report import Report, describe_sites, sites_as_html, summary_of
from keras_downswap.request import FitOptions, Request
from keras_downswap.search.max_drop import search_forms


@dataclass(frozen=True, repr=False)
class Plan:
    """What a swap will do to a model, decided before anything is built; print it, then `apply` it.

    A plan is a value: it can be pickled, and then applied to the same model in another process.
    The model itself is held beside it, and is not pickled.

    Attributes:
        request: What was asked for.
        sites: One entry per swap and one per kept call, in graph order.
        graph: The model as it was planned on.
        held: The model, read; None after unpickling.
    """

    request: Request
    sites: tuple[Site, ...]
    graph: Graph
    held: Reading | None = field(default=None, compare=False)

    @classmethod
    def of(cls, reading: Reading, request: Request) -> Plan:
        """Decide what a request does to a model."""
        graph = reading.graph
        return cls(request, request.sites(graph, {}), graph, reading)

    def in_forms(self, forms: Mapping[CallRef, str]) -> Plan:
        """Return the plan in which the approximate swaps of some calls take other forms."""
        return replace(self, sites=self.request.sites(self.graph, forms))

    def for_model(self, model: Any) -> Plan:
        """Return this plan with a model beside it to which it is then applied.

        Raises:
            UnreadableModel: If the value is no Keras model, or a model without a graph.
            BadRequest: If the model is another one than the plan was made for.
        """
        reading = read_model(model)
        # Sites name calls by their indices: on another graph they would be other calls.
        different = difference(self.graph, reading.graph)
        if different is not None:
            raise BadRequest(
                f"the plan was made for another model: {different}. Call plan_swaps with this model"
            )
        return replace(self, held=reading)

    @property
    def reading(self) -> Reading:
        """The model that is held beside the plan.

        Raises:
            BadRequest: If there is none.
        """
        if self.held is None:
            raise BadRequest(
                "a plan that was unpickled holds no model: give it, as in plan.apply(model)"
            )
        return self.held

    @property
    def to(self) -> str:
        """What downsamples afterwards."""
        return self.request.target_name

    @property
    def method(self) -> Method:
        """How swaps are chosen."""
        return self.request.method

    @property
    def form(self) -> Form:
        """What an approximate swap puts in place."""
        return self.request.form

    @property
    def swaps(self) -> tuple[Site, ...]:
        """The sites that will be swapped."""
        return tuple(self._sites_of("swapped"))

    @property
    def refusals(self) -> tuple[Site, ...]:
        """The sites that will be kept, each with its reason."""
        return tuple(self._sites_of("kept"))

    def _sites_of(self, status: str) -> list[Site]:
        return [site for site in self.sites if site.status == status]

    def graph_of(self, site: Site) -> Graph:
        """Return the graph (the model's, or a nested model's) that holds a site."""
        return self._graphs[site.scope]

    @cached_property
    def _graphs(self) -> Mapping[int, Graph]:
        return {graph.scope: graph for _, graph in self.graph.scopes()}

    def __repr__(self) -> str:
        """Return the plan in one line."""
        return f"<Plan {summary_of(self)}>"

    def __str__(self) -> str:
        """Return the plan in words, a line a site."""
        return describe_sites(self)

    def _repr_html_(self) -> str:
        """Return the plan as a table, for a notebook."""
        return sites_as_html(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the model, and what can be computed again."""
        return {
            "request": self.request,
            "sites": self.sites,
            "graph": self.graph,
            "held": None,
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        """Return the plan itself: nothing in it changes, and its model is not to be copied."""
        return self

    def data(self, place: str) -> Any:
        """Return the inputs that a command line names, for `apply`.

        Args:
            place: A .npy or .npz file, a folder of images, or `MODULE:FUNCTION`.

        Raises:
            BadRequest: If there is no such place, it cannot be read, or it does not fit the model.
        """
        return load(place, input_specs_of(self.reading))

    @overload
    def apply(
        self,
        model: Any = ...,
        *,
        return_report: Literal[False] = ...,
        calibration_data: Any = ...,
        max_drop: float | None = ...,
        budget: float | None = ...,
        seed: int = ...,
        scope: Literal["all", "sites"] = ...,
        verbose: bool = ...,
    ) -> Any: ...
    @overload
    def apply(
        self,
        model: Any = ...,
        *,
        return_report: Literal[True],
        calibration_data: Any = ...,
        max_drop: float | None = ...,
        budget: float | None = ...,
        seed: int = ...,
        scope: Literal["all", "sites"] = ...,
        verbose: bool = ...,
    ) -> tuple[Any, Report]: ...
    def apply(
        self,
        model: Any = None,
        *,
        return_report: bool = False,
        calibration_data: Any = None,
        max_drop: float | None = None,
        budget: float | None = None,
        seed: int = 0,
        scope: Literal["all", "sites"] = "all",
        verbose: bool = True,
    ) -> Any:
        """Build the new model, check it, and fit it to the original where data is given.

        Args:
            model: The model that was planned on, where the plan was unpickled; None for the one
                that is held beside the plan.
            return_report: Whether to return the report as well.
            calibration_data: Inputs of the model, in any form that `calibrate` accepts; where a
                swap is approximate, the new model is fitted to the original on them.
            max_drop: The share of right answers that the fitted model may lose; each site then gets
                the cheapest form that stays within it. See `swap_downsampling`.
            budget: Seconds that fitting may take, about; None for no limit.
            seed: Of everything that fitting draws.
            scope: `all` lets every trainable layer change in the fit, `sites` only those that were
                swapped.
            verbose: Whether fitting shows its progress on stderr.

        Returns:
            The new model, which shares no variable with the original; with `return_report`, the
            model and a `Report`.

        Raises:
            BrokenPromise: If a check fails; no model is returned then.
            BadRequest: If the data does not fit the model, or the model is another one than the
                plan was made for, or none is given and none held.

        Warns:
            NothingSwapped: If no site was swapped; the model returned is a faithful copy.
            SomethingLost: If the new model's class, compile state or own weights could not be
                carried over.
        """
        plan = self if model is None else self.for_model(model)
        options = FitOptions(max_drop, budget, seed, scope, verbose)
        new, report = plan.carry_out(calibration_data, options)
        return (new, report) if return_report else new

    def carry_out(self, data: Any, options: FitOptions) -> tuple[Any, Report]:
        """Do what `apply` does for the model that is held, and return the report as well."""
        reading = self.reading
        # The search builds models itself, with forms of its own choice, and fits each.
        if options.max_drop is not None:
            return search_forms(reading, self.request, self.sites, data, options)
        built = build(reading, self.request, self.sites)
        report = Report.of(self.request, self.sites, built)
        for warning in built.warnings:
            warn_caller(warning)
        # Exact swaps compute what the original does: a fit could only make them worse.
        is_approximate = any(site.promise == "approximate" for site in self.swaps)
        if data is None or not is_approximate:
            return built.model, report
        fitted = calibrate(
            built.model,
            original=reading.model,
            data=data,
            scope=options.scope,
            seed=options.seed,
            budget=options.budget,
            verbose=options.verbose,
        )
        return built.model, replace(report, calibration=fitted)
