"""Approximate swaps that share layers, and so take one form together; most often a single one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_downswap.calibration.forms import Option
from keras_downswap.ir.replacement import Replacement, Step
from keras_downswap.plan import Plan
from keras_downswap.planning.cost import cost_of, effort
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Site


@dataclass(frozen=True)
class Cluster:
    """Approximate swaps that share layers, and so take one form."""

    sites: tuple[Site, ...]

    @property
    def places(self) -> frozenset[CallRef]:
        """The calls that they span."""
        return frozenset((site.scope, index) for site in self.sites for index in site.calls)

    def touches(self, site: Site) -> bool:
        """Tell whether a site of another plan stands where one of these does."""
        return not self.places.isdisjoint((site.scope, index) for index in site.calls)

    def option(self, plan: Plan, form: str, drop: float) -> Option:
        """Return what a plan makes of these sites, and what they cost in it."""
        mine = [site for site in plan.sites if self.touches(site)]
        swapped = [(site, site.replacement) for site in mine if site.replacement is not None]
        macs = sum(_macs(plan, site, {}) for site in self.sites)
        for site, after in swapped:
            macs += _macs(plan, site, after.steps) - _macs(plan, site, {})
        return Option(
            form, " + ".join(dict.fromkeys(site.rule or "" for site, _ in swapped)), macs, drop
        )


def _macs(plan: Plan, site: Site, steps: Mapping[int, tuple[Step, ...]]) -> int:
    """Return what the calls of a site cost with some steps in their place, unknown lengths taken for some."""
    graph, replacement = plan.graph_of(site), Replacement(site.calls, steps)
    known = cost_of(graph, replacement).macs
    return effort(graph, replacement)[0] if known is None else known


def clusters_of(plan: Plan) -> list[Cluster]:
    """Return the approximate swaps of a plan, those together that share layers."""
    found: list[tuple[set[int], tuple[Site, ...]]] = []
    for site in plan.swaps:
        if site.promise != "approximate":
            continue
        calls = [plan.graph_of(site).calls[index] for index in site.calls]
        layers = {layer for call in calls for layer in (call.layer, *call.inner_layers)}
        sites: tuple[Site, ...] = (site,)
        for others in [other for other in found if not layers.isdisjoint(other[0])]:
            found.remove(others)
            layers, sites = layers | others[0], (*others[1], *sites)
        found.append((layers, sites))
    return [Cluster(sites) for _, sites in found]
