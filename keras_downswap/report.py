"""What was done, what was kept and why, and what was checked with which result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Protocol

from keras_downswap.calibration.forms import FormSearchReport
from keras_downswap.calibration.report import CalibrationReport, plain
from keras_downswap.checks import Check
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.build import Built
from keras_downswap.request import Request


@dataclass(frozen=True, repr=False)
class Report:
    """The account of one swap.

    Attributes:
        to: What downsamples afterwards.
        method: How swaps were chosen.
        form: What approximate swaps into convolutions put in place.
        sites: One entry per swap and one per kept call, in graph order.
        checks: Everything that was verified, with the numbers.
        notes: Further facts that a user must know.
        calibration: What fitting the new model to the original did; None where it was not fitted.
        choices: Which form each approximate site took to stay within `max_drop`, and why; None
            where none was given.
    """

    to: str
    method: str
    form: str
    sites: tuple[Site, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    calibration: CalibrationReport | None = None
    choices: FormSearchReport | None = None

    @classmethod
    def of(cls, request: Request, sites: tuple[Site, ...], built: Built) -> Report:
        """Return the account of a new model that was not fitted yet."""
        return cls(
            to=request.target_name,
            method=request.method,
            form=request.form,
            sites=sites,
            checks=built.checks,
            notes=built.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and None."""
        checks = [asdict(check) for check in self.checks]
        calibration = None if self.calibration is None else self.calibration.to_dict()
        choices = None if self.choices is None else plain(asdict(self.choices))
        return {
            "to": self.to,
            "method": self.method,
            "form": self.form,
            "sites": [site_dict(site) for site in self.sites],
            "checks": checks,
            "notes": list(self.notes),
            "calibration": calibration,
            "choices": choices,
        }

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __repr__(self) -> str:
        """Return the report in one line."""
        return f"<Report {summary_of(self)}, {self._passed}>"

    def __str__(self) -> str:
        """Return the report in words, a line a site."""
        lines = [describe_sites(self), *self._closing_lines()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the report as a table and a list, for a notebook."""
        table = sites_as_html(self)
        items = [f"<li>{escape(line)}</li>" for line in self._closing_lines()]
        return f"{table}<ul>{''.join(items)}</ul>"

    @property
    def _passed(self) -> str:
        return f"{len(self.checks)} checks passed"

    def _closing_lines(self) -> list[str]:
        lines = [f"note: {note}" for note in self.notes]
        lines.append(self._passed)
        if self.choices is not None:
            lines.append(str(self.choices))
        if self.calibration is not None:
            lines.append(str(self.calibration))
        return lines


def site_dict(site: Site) -> dict[str, Any]:
    """Return the public facts of a site."""
    return {
        "layers": list(site.layers),
        "status": site.status,
        "promise": site.promise,
        "rule": site.rule,
        "reason": site.reason,
    }


class Decided(Protocol):
    """What a plan and a report have in common: what was asked for, and what becomes of it."""

    @property
    def to(self) -> str:
        """What downsamples afterwards."""

    @property
    def method(self) -> str:
        """How swaps are chosen."""

    @property
    def form(self) -> str:
        """What approximate swaps into convolutions put in place."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """One entry per swap and one per kept call, in graph order."""


def summary_of(decided: Decided) -> str:
    """Return what was asked for, and how many sites are swapped and kept."""
    statuses = [site.status for site in decided.sites]
    request = f"to={decided.to!r}, method={decided.method!r}"
    if decided.form != "same":
        request += f", form={decided.form!r}"
    swapped = statuses.count("swapped")
    kept = statuses.count("kept")
    return f"{request}: {swapped} swapped, {kept} kept"


def describe_sites(decided: Decided) -> str:
    """Return a head line and a line for each site."""
    lines = [summary_of(decided)]
    for site in decided.sites:
        line = f"  {' + '.join(site.layers)} -> {_outcome(site)}"
        # An exact swap has no reason to give.
        if site.reason:
            line += f": {site.reason}"
        lines.append(line)
    return "\n".join(lines)


def sites_as_html(decided: Decided) -> str:
    """Return a table with a head line and a row for each site."""
    # Names of layers and reasons are a user's texts: they may hold what HTML takes for its own.
    rows = ["<tr><th>layers</th><th>outcome</th><th>reason</th></tr>"]
    for site in decided.sites:
        layers = "<br>".join(escape(name) for name in site.layers)
        outcome = escape(_outcome(site))
        reason = escape(site.reason)
        rows.append(f"<tr><td>{layers}</td><td>{outcome}</td><td>{reason}</td></tr>")
    caption = escape(summary_of(decided))
    return f"<table><caption>{caption}</caption>{''.join(rows)}</table>"


def _outcome(site: Site) -> str:
    return f"{site.promise} ({site.rule})" if site.status == "swapped" else "kept"
