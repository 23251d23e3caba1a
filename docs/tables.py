"""Writes the tables of measured numbers in README.md and docs/*.md, from docs/measurements/*.json.

    python docs/tables.py

A page holds a table between `<!-- measured: NAME -->` and `<!-- end of measured -->`, where NAME is
one of `TABLES`. A line under each table says when, where and with which versions it was measured.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGES = (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))
MARKED = re.compile(
    r"(?P<start><!-- measured: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of measured -->)",
    re.DOTALL,
)
MEASURED_WORDS = re.compile(
    r"\b(seconds|s|ms|minutes|points|accuracy|ratio|time|growth|lost)\b", re.IGNORECASE
)
Row = dict[str, Any]
Cells = list[str]


class Measurements:
    """The rows of one file, each asked for by its fields; remembers which runs were used."""

    def __init__(self, name: str) -> None:
        self.name = name
        content = json.loads((DOCS / "measurements" / f"{name}.json").read_text("utf-8"))
        self.runs: dict[str, Row] = content["runs"]
        self.rows: list[Row] = content["rows"]
        self.used: list[Row] = []

    def row(self, **wanted: Any) -> Row:
        """Return the one row with these fields; a missing field is None."""
        found = self.find(**wanted)
        if found is None:
            raise LookupError(f"{self.name}.json has no row {wanted}")
        return found

    def find(self, **wanted: Any) -> Row | None:
        """Return the one row with these fields, or None where there is none."""
        for row in self.rows:
            if all(row.get(field) == value for field, value in wanted.items()):
                run = self.runs[row["run"]]
                if run not in self.used:
                    self.used.append(run)
                return row
        return None

    def origin(self) -> str:
        """Return a sentence that says when and where the rows that were used were measured."""
        days: dict[str, list[str]] = {}
        for run in sorted(self.used, key=lambda run: (run["date"], run["commit"])):
            commits = days.setdefault(run["date"], [])
            if run["commit"] not in commits:
                commits.append(run["commit"])
        when = " and ".join(f"{day} ({', '.join(commits)})" for day, commits in days.items())
        cores = sorted({run["machine"]["cores"] for run in self.used})
        versions = ", ".join(
            f"{title} {' and '.join(sorted({run['versions'][package] for run in self.used}))}"
            for title, package in (("Keras", "keras"), ("TensorFlow", "tensorflow"))
        )
        machine = " or ".join(str(count) for count in cores)
        return (
            f"Measured {when} on {machine} cores with {versions};\n"
            f"docs/measurements/{self.name}.json has each run."
        )


# ------------------------------------------------------------------------------------- cells


def rounded(value: float, digits: int) -> str:
    """Return a number with so many digits; halves go up, as readers expect."""
    step = Decimal(1).scaleb(-digits)
    return str(Decimal(str(value)).quantize(step, ROUND_HALF_UP))


def points(row: Row | None) -> str:
    """Return the median of the points of accuracy lost over the seeds."""
    return rounded(statistics.median(row["points_lost"]), 1) if row else "-"


def seconds(row: Row) -> str:
    """Return the median of the seconds over the seeds; a dash where they were not written down."""
    if "seconds_below" in row:
        return f"under {row['seconds_below']}"
    if "seconds" not in row:
        return "-"
    median = statistics.median(row["seconds"])
    return "under 1" if 0 < median < 0.5 else rounded(median, 0)


def site_macs(row: Row) -> str:
    """Return the MACs of the swapped sites by those before.

    There are several where seeds took several forms.
    """
    found = row["site_macs"]
    ratios = found if isinstance(found, list) else [found]
    return " or ".join(sorted({rounded(ratio, 2) for ratio in ratios}))


def table(head: Sequence[str], rows: Sequence[Cells]) -> str:
    """Return a table of Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


# ------------------------------------------------------------------------------------ tables

CLOSED = "cover, closed form"
AVERAGE = "max -> average pool, closed form"
FORMS: dict[tuple[str, int], str] = {
    ("same kernel, copied", 0): "same kernel, copied",
    ("same kernel", 4096): "same kernel, fitted",
    ("cover", 4096): "kernel that covers the pair (`cover`), fitted",
    ("cover", 50_000): "the same",
    (CLOSED, 1024): "the same, in closed form only",
    ("wide", 1024): "twice the filters (`wide`), fitted",
    (AVERAGE, 512): "max pools to average pools, in closed form only",
    ("max_drop=0.01", 4096): "a form for each site, `max_drop=0.01`",
    ("copy", 4096): "same kernel, fitted",
    ("exact only", 0): "exact forms",
}
"""The rows of the tables, by form and number of images, in their order."""


IN_SHORT = [key for key in FORMS if key[0] not in (CLOSED, "copy", "exact only")]
"""The rows that the README shows."""


def forms_of(file: Measurements, wanted: Sequence[tuple[str, int]]) -> list[Cells]:
    """Return form, images, points lost and seconds of some rows."""
    lines = []
    for form, images in wanted:
        row = file.row(form=form, images=images, budget=None)
        lines.append([FORMS[form, images], f"{images:,}", points(row), seconds(row)])
    return lines


def in_short() -> tuple[str, Measurements]:
    """The README's table: the forms of the first network and what they cost."""
    file = Measurements("calibrate-cifar10")
    lines = []
    for form, images in IN_SHORT:
        row = file.row(form=form, images=images, budget=None)
        macs = site_macs(row)
        lines.append([FORMS[form, images], macs, f"{images:,}", points(row), seconds(row)])
    head = ("form", "MACs of the sites", "images", "points lost", "seconds")
    return table(head, lines), file


def all_forms() -> tuple[str, Measurements]:
    """Every form of the first network."""
    file = Measurements("calibrate-cifar10")
    wanted = [key for key in FORMS if key[0] != "copy"]
    return table(("form", "images", "points lost", "seconds"), forms_of(file, wanted)), file


def without_batchnorm() -> tuple[str, Measurements]:
    """The network without BatchNormalization."""
    file = Measurements("calibrate-cifar10-plain")
    wanted = [("same kernel", 4096), ("cover", 4096), (CLOSED, 1024), (AVERAGE, 512)]
    return table(("form", "images", "points lost", "seconds"), forms_of(file, wanted)), file


def mnist_max() -> tuple[str, Measurements]:
    """The network for MNIST with max pools."""
    file = Measurements("calibrate-mnist")
    wanted = [("same kernel", 4096), ("cover", 4096), (CLOSED, 1024), (AVERAGE, 512)]
    return table(("form", "images", "points lost", "seconds"), forms_of(file, wanted)), file


def mnist_average() -> tuple[str, Measurements]:
    """The network for MNIST with average pools."""
    file = Measurements("calibrate-mnist-average")
    wanted = [("copy", 4096), ("exact only", 0)]
    return table(("form", "images", "points lost", "seconds"), forms_of(file, wanted)), file


def over_images(name: str) -> tuple[str, Measurements]:
    """What more images give, in closed form and end to end."""
    file = Measurements(name)
    counts = {row["images"] for row in file.rows if row["form"] in ("cover", CLOSED)}
    lines = []
    for images in sorted(counts):
        closed = file.find(form=CLOSED, images=images, budget=None)
        whole = file.find(form="cover", images=images, budget=None)
        longest = whole or closed
        assert longest is not None
        lines.append([f"{images:,}", points(closed), points(whole), seconds(longest)])
    head = ("images", "points lost, closed form", "points lost, end to end", "seconds")
    return table(head, lines), file


def over_budgets() -> tuple[str, Measurements]:
    """What more time gives."""
    file = Measurements("calibrate-cifar10")
    limits = sorted({row["budget"] for row in file.rows if row["budget"] is not None})
    lines = []
    for limit in limits:
        row = file.row(form="cover", images=4096, budget=limit)
        lines.append([str(limit), points(row)])
    free = file.row(form="cover", images=4096, budget=None)
    lines.append([f"no limit: {seconds(free)}", points(free)])
    return table(("seconds (`budget`)", "points lost"), lines), file


def rewrite() -> tuple[str, Measurements]:
    """A swap against the framework's own copy."""
    file = Measurements("rewrite")
    lines = []
    for known in file.rows:
        row = file.row(**known)
        lines.append(
            [
                row["keras"],
                row["model"],
                f"{row['layers']:,}",
                rounded(row["copy_seconds"], 2),
                rounded(row["swap_seconds"], 2),
                rounded(row["ratio"], 2),
            ]
        )
    columns = ("clone_model + set_weights, s", "swap_downsampling, s", "ratio")
    return table(("Keras", "model", "layers", *columns), lines), file


def rewrite_growth() -> tuple[str, Measurements]:
    """Time per call of small and large graphs."""
    file = Measurements("rewrite-growth")
    lines = []
    for large in (row for row in file.rows if row["calls"] == 3200):
        small = file.row(keras=large["keras"], graph=large["graph"], calls=400)
        large = file.row(**large)
        times = [rounded(row["ms_a_call"], 2) for row in (small, large)]
        lines.append([large["keras"], large["graph"], *times, rounded(large["growth"], 2)])
    head = ("Keras", "graph", "ms a call at 400 calls", "ms a call at 3,200 calls", "growth")
    return table(head, lines), file


def exact_forms() -> tuple[str, Measurements]:
    """Time and MACs of exact forms, by those of the original."""
    file = Measurements("forms")
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in file.rows):
        cells = [pair]
        for form in ("fused", "cheapest"):
            row = file.row(pair=pair, form=form)
            cells += [rounded(row["macs"], 2), rounded(row["time"], 2)]
        lines.append(cells)
    return table(("pair", "fused: MACs", "time", "cheapest: MACs", "time"), lines), file


TABLES: dict[str, Callable[[], tuple[str, Measurements]]] = {
    "calibration-in-short": in_short,
    "calibration-forms": all_forms,
    "calibration-without-batchnorm": without_batchnorm,
    "calibration-mnist-max": mnist_max,
    "calibration-mnist-average": mnist_average,
    "calibration-over-images": lambda: over_images("calibrate-cifar10"),
    "calibration-over-images-mnist": lambda: over_images("calibrate-mnist"),
    "calibration-over-budgets": over_budgets,
    "rewrite": rewrite,
    "rewrite-growth": rewrite_growth,
    "exact-forms": exact_forms,
}


# ------------------------------------------------------------------------------------- pages


def filled(text: str) -> str:
    """Return a page with each marked table made anew."""

    def fill(found: re.Match[str]) -> str:
        body, file = TABLES[found["name"]]()
        return f"{found['start']}{body}\n{file.origin()}\n{found['end']}"

    return MARKED.sub(fill, text)


def tables_outside_marks(text: str) -> list[str]:
    """Return the heads of tables that hold measured numbers and stand outside of the marks."""
    rest = MARKED.sub("", text)
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", rest, re.MULTILINE):
        lines = block.splitlines()
        titles = [lines[0], *(line.split("|")[1] for line in lines[2:])]
        has_numbers = any(re.search(r"\|\s*\d", line) for line in lines[2:])
        if has_numbers and any(MEASURED_WORDS.search(title) for title in titles):
            found.append(lines[0])
    return found


def main() -> None:
    """Fill each page in place."""
    for page in PAGES:
        text = page.read_text("utf-8")
        new = filled(text)
        if new != text:
            page.write_text(new, "utf-8")
            print(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
