"""What was done, what was kept and why, and what was checked with which result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

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
        how = (request.target_name, request.method, request.form)
        return cls(*how, sites, built.checks, built.notes)

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
        summary = summary_of(self.to, self.method, self.form, self.sites)
        return f"<Report {summary}, {self._passed}>"

    def __str__(self) -> str:
        """Return the report in words, a line a site."""
        lines = [describe_sites(self.to, self.method, self.form, self.sites)]
        lines += self._closing_lines()
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the report as a table and a list, for a notebook."""
        table = sites_as_html(self.to, self.method, self.form, self.sites)
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


def summary_of(to: str, method: str, form: str, sites: Sequence[Site]) -> str:
    """Return what was asked for, and how many sites are swapped and kept."""
    swapped = sum(site.status == "swapped" for site in sites)
    request = f"to={to!r}, method={method!r}"
    if form != "same":
        request += f", form={form!r}"
    return f"{request}: {swapped} swapped, {len(sites) - swapped} kept"


def describe_sites(to: str, method: str, form: str, sites: Sequence[Site]) -> str:
    """Return a head line and a line for each site."""
    lines = [summary_of(to, method, form, sites)]
    for site in sites:
        reason = f": {site.reason}" if site.reason else ""
        lines.append(f"  {' + '.join(site.layers)} -> {_outcome(site)}{reason}")
    return "\n".join(lines)


def sites_as_html(to: str, method: str, form: str, sites: Sequence[Site]) -> str:
    """Return a table with a head line and a row for each site."""
    rows = ["<tr><th>layers</th><th>outcome</th><th>reason</th></tr>"]
    for site in sites:
        layers = "<br>".join(escape(name) for name in site.layers)
        outcome = escape(_outcome(site))
        rows.append(f"<tr><td>{layers}</td><td>{outcome}</td><td>{escape(site.reason)}</td></tr>")
    caption = escape(summary_of(to, method, form, sites))
    return f"<table><caption>{caption}</caption>{''.join(rows)}</table>"


def _outcome(site: Site) -> str:
    return f"{site.promise} ({site.rule})" if site.status == "swapped" else "kept"
