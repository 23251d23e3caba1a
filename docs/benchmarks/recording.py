"""Writes what a benchmark measured to docs/measurements/NAME.json, with where it was measured.

A file holds `runs` and `rows`. A run says on which machine, with which versions, at which commit,
on which day and with which settings rows were measured; a row says which run it comes from.
Measuring some rows again replaces those rows only, so no row is ever dated by a run that did not
measure it.
`docs/tables.py` makes the tables of the pages from these files.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "measurements"
PACKAGES = ("tensorflow", "tf-keras", "keras", "numpy", "keras-downswap")
Row = dict[str, Any]


def record(
    name: str,
    rows: Sequence[Row],
    key: Sequence[str],
    settings: Mapping[str, Any],
    folder: Path = FOLDER,
) -> Path:
    """Write rows that were just measured, in place of older rows of the same key.

    Args:
        name: Of the file, without its ending.
        rows: What was measured. Each needs the fields of `key`; all else is the benchmark's own.
        key: The fields by which a row is known.
        settings: What the benchmark was asked: seeds, rounds, sizes. Paths are cut to their names.
        folder: Where the file is.
    """
    path = folder / f"{name}.json"
    known: dict[str, Any] = {"runs": {}, "rows": []}
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
    run = facts_of_this_run(settings)
    label = f"{run['date']} {run['commit']}"
    while label in known["runs"]:
        label += "'"

    def identity(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(field) for field in key)

    # A row that is measured again keeps its place, so that the tables keep their order.
    measured = {identity(row): {"run": label, **row} for row in rows}
    merged = [measured.pop(identity(row), row) for row in known["rows"]]
    merged.extend(measured.values())

    used = {row["run"] for row in merged}
    runs = {**known["runs"], label: run}
    kept = {each: facts for each, facts in runs.items() if each in used}
    write(path, {"runs": kept, "rows": merged})
    return path


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of measurements, one row a line, so that a diff shows which rows changed."""
    runs = json.dumps(content["runs"], indent=2).replace("\n", "\n  ")
    rows = ",\n".join(f"    {json.dumps(row)}" for row in content["rows"])
    path.write_text(f'{{\n  "runs": {runs},\n  "rows": [\n{rows}\n  ]\n}}\n', "utf-8")


def facts_of_this_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the machine in general words, versions, commit, day (UTC) and settings."""
    plain = {
        name: value.name if isinstance(value, Path) else value for name, value in settings.items()
    }
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": _commit(),
        "machine": {"cores": os.cpu_count(), "processor": _processor()},
        "versions": {"python": platform.python_version(), **_versions()},
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "settings": plain,
        "source": "written by the benchmark",
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> str:
    """Return the short name of the commit; one whose code was changed since ends in `+changes`."""
    try:
        commit = _git("rev-parse", "--short=7", "HEAD")
        changed = _git("status", "--porcelain", "-uno", "--", "keras_downswap", "docs/benchmarks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if changed else commit


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    """Return the model of the processor, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
