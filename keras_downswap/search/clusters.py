"""Approximate swaps that share layers, and so have one form together; most often a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from keras_downswap.calibration.forms import Option
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.replacement import Replacement, Step
from keras_downswap.planning.cost import cost_of, effort
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Site

Steps = Mapping[int, tuple[Step, ...]]
"""The layers that replace calls, by the index of the call."""


@dataclass(frozen=True)
class Cluster:
    """Approximate swaps that share layers, and so have one form."""

    sites: tuple[Site, ...]

    @property
    def calls(self) -> frozenset[CallRef]:
        """The calls that they span."""
        return frozenset(call for site in self.sites for call in _calls_of(site))

    def touches(self, site: Site) -> bool:
        """Tell whether a site of another plan spans a call that one of these does."""
        return not self.calls.isdisjoint(_calls_of(site))

    def option(self, reading: Reading, sites: Sequence[Site], form: str, drop: float) -> Option:
        """Return what a plan does to these sites, and what they cost in it."""
        rules = []
        macs = sum(_macs(reading, site, {}) for site in self.sites)
        # A plan may cut the same calls into other sites, so each pays for what it changes.
        for site in sites:
            if site.replacement is None or not self.touches(site):
                continue
            rules.append(site.rule or "")
            before = _macs(reading, site, {})
            after = _macs(reading, site, site.replacement.steps)
            macs += after - before
        different_rules = dict.fromkeys(rules)
        return Option(form, " + ".join(different_rules), macs, drop)


def _calls_of(site: Site) -> list[CallRef]:
    return [(site.scope, index) for index in site.calls]


def _macs(reading: Reading, site: Site, steps: Steps) -> int:
    """Return what the calls of a site cost with some steps in their place.

    Where a length is unknown, the cost is for a length that is usual.
    """
    graph = reading.scopes[site.scope].graph
    replacement = Replacement(site.calls, steps)
    known = cost_of(graph, replacement).macs
    if known is not None:
        return known
    estimated_macs, *_ = effort(graph, replacement)
    return estimated_macs


def clusters_of(reading: Reading, sites: Sequence[Site]) -> list[Cluster]:
    """Return the approximate swaps among the sites of a model, those together that share layers."""
    found: list[_Layers] = []
    for site in sites:
        if site.promise != "approximate":
            continue
        layers = _layers_of(reading, site)
        together: tuple[Site, ...] = (site,)
        # A site may share one layer with one cluster and another with a second: all become one.
        sharing = [earlier for earlier in found if not layers.isdisjoint(earlier.layers)]
        for earlier in sharing:
            found.remove(earlier)
            layers |= earlier.layers
            together = (*earlier.sites, *together)
        found.append(_Layers(layers, together))
    return [Cluster(one.sites) for one in found]


class _Layers(NamedTuple):
    """The numbers of the layers that some sites call."""

    layers: set[int]
    sites: tuple[Site, ...]


def _layers_of(reading: Reading, site: Site) -> set[int]:
    """Return the numbers of the layers that a site calls, those inside of them included."""
    graph = reading.scopes[site.scope].graph
    layers: set[int] = set()
    for index in site.calls:
        call = graph.calls[index]
        layers |= {call.layer, *call.inner_layers}
    return layers
