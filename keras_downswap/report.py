"""What was done, what was kept and why, and what was checked with which result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keras_downswap.calibration.forms import FormSearchReport
from keras_downswap.calibration.report import CalibrationReport, plain
from keras_downswap.checks import Check
from keras_downswap.planning.sites import Site


@dataclass(frozen=True)
class Report:
    """The account of one swap.

    Attributes:
        to: What downsamples afterwards.
        method: How swaps were chosen.
        sites: One entry per swap and one per kept call, in graph order.
        checks: Everything that was verified, with the numbers.
        notes: Further facts that a user must know.
        calibration: What fitting the new model to the original did; None where it was not fitted.
        choices: Which form each approximate site took to stay within `max_drop`, and why; None
            where none was given.
    """

    to: str
    method: str
    sites: tuple[Site, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    calibration: CalibrationReport | None = None
    choices: FormSearchReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and None."""
        return {
            "to": self.to,
            "method": self.method,
            "sites": [site_dict(site) for site in self.sites],
            "checks": [{"what": c.what, "where": c.where, "detail": c.detail} for c in self.checks],
            "notes": list(self.notes),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "choices": None if self.choices is None else plain(asdict(self.choices)),
        }

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Return the report in words, a line a site."""
        lines = [describe_sites(self.to, self.method, self.sites)]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"{len(self.checks)} checks held")
        lines += [] if self.choices is None else [str(self.choices)]
        lines += [] if self.calibration is None else [str(self.calibration)]
        return "\n".join(lines)


def site_dict(site: Site) -> dict[str, Any]:
    """Return the public facts of a site."""
    return {
        "layers": list(site.layers),
        "status": site.status,
        "promise": site.promise,
        "rule": site.rule,
        "reason": site.reason,
    }


def describe_sites(to: str, method: str, sites: Sequence[Site]) -> str:
    """Return a head line and a line for each site."""
    swapped = sum(site.status == "swapped" for site in sites)
    lines = [f"to={to!r}, method={method!r}: {swapped} swapped, {len(sites) - swapped} kept"]
    for site in sites:
        verdict = f"{site.promise} ({site.rule})" if site.status == "swapped" else "kept"
        reason = f": {site.reason}" if site.reason else ""
        lines.append(f"  {' + '.join(site.layers)} -> {verdict}{reason}")
    return "\n".join(lines)
