"""The command `convert`: a saved model in, a saved model out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_downswap.cli.messages import print_text
from keras_downswap.cli.options import Source, SwapOptions, Trust, plan_file
from keras_downswap.errors import BadRequest
from keras_downswap.files import io as files
from keras_downswap.files.formats import ending_words
from keras_downswap.plan import Plan
from keras_downswap.report import Report, describe_sites
from keras_downswap.search.max_drop import check_limit

CALIBRATION = "Calibration of approximate swaps"
OUTPUT = "What is written"
calibration_option = functools.partial(typer.Option, rich_help_panel=CALIBRATION)
output_option = functools.partial(typer.Option, rich_help_panel=OUTPUT)

Target = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help=f"Where to write; its ending says the format: {ending_words()}.",
    ),
]


@dataclass(frozen=True)
class CalibrationOptions:
    """How approximate swaps are fitted to the original."""

    calibrate: Annotated[
        str | None,
        calibration_option(
            metavar="DATA",
            help="Fit the new model to the original on these inputs, without labels: a .npy or "
            ".npz file, a folder of images, or MODULE:FUNCTION.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        calibration_option(
            metavar="SECONDS",
            help="How long fitting may take, about.",
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        calibration_option(
            metavar="SHARE",
            help="Share of correct predictions that may be lost (0.01 is 1 %): each site gets the "
            "cheapest form within it.",
        ),
    ] = None


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where."""

    dry_run: Annotated[
        bool,
        output_option(
            "--dry-run",
            help="Print the plan and write no model.",
        ),
    ] = False
    report: Annotated[
        Path | None,
        output_option(
            metavar="FILE.json",
            help="Write the report here, as JSON.",
        ),
    ] = None
    overwrite: Annotated[
        bool,
        output_option(
            "--overwrite",
            help="Replace files that exist.",
        ),
    ] = False


def convert(
    source: Source,
    target: Target,
    swap: SwapOptions,
    calibration: CalibrationOptions,
    output: OutputOptions,
    trust: Trust = False,
) -> None:
    """Swap the downsampling of a saved model, check the result, and save it."""
    # Whatever can be refused is refused here: loading a model takes long, and fitting longer.
    arguments = swap.arguments()
    origin = files.identify(source)
    _check_report_path(output.report, source, target)
    if not output.dry_run:
        files.check_target(target, output.overwrite, origin.keras)
    if output.report is not None:
        files.check_place(output.report, output.overwrite)

    plan = plan_file(origin, arguments, trust)
    if calibration.max_drop is not None:
        check_limit(plan.request, calibration.max_drop, calibration.calibrate)
    data = None if calibration.calibrate is None else plan.data(calibration.calibrate)

    # The model is saved before the report: a report of a model that is nowhere would mislead.
    if output.dry_run:
        report = _preview(plan, calibration)
    else:
        model, report = _swap(plan, calibration, data)
        files.save(model, target, overwrite=output.overwrite)
    if output.report is not None:
        text = report.to_json() + "\n"
        files.write_text(output.report, text, overwrite=output.overwrite)
    print_text(_closing(report, None if output.dry_run else target))


def _check_report_path(report: Path | None, source: Path, target: Path) -> None:
    """Refuse to write a report over a model."""
    if report is None:
        return
    models = {"IN": source, "OUT": target}
    for name, path in models.items():
        if report.resolve() == path.resolve():
            raise BadRequest(f"{report}: --report and {name} are one path; give the report its own")


def _preview(plan: Plan, calibration: CalibrationOptions) -> Report:
    print_text(str(plan))
    if calibration.max_drop is not None:
        print_text("Which form each site gets within --max-drop is measured, so not planned.")
    # Nothing was built, so there is nothing that was checked.
    return Report(plan.to, plan.method, plan.form, plan.sites, checks=(), notes=())


def _swap(plan: Plan, calibration: CalibrationOptions, data: Any) -> tuple[Any, Report]:
    budget = calibration.budget
    if calibration.max_drop is None:
        print_text(str(plan))
        return plan.apply(return_report=True, calibration_data=data, budget=budget)
    model, report = plan.apply(
        return_report=True, calibration_data=data, max_drop=calibration.max_drop, budget=budget
    )
    # The plan says nothing of the forms that were chosen, so the sites are printed afterwards.
    print_text(describe_sites(report))
    return model, report


def _closing(report: Report, target: Path | None) -> str:
    """Return the last lines: what was done, and what to know of it.

    Args:
        report: The report.
        target: Where the model was saved; None where nothing was done.
    """
    promises = [site.promise for site in report.sites]
    exact = promises.count("exact")
    approximate = promises.count("approximate")
    kept = promises.count(None)
    summary = f"{exact} exact and {approximate} approximate swaps, {kept} kept"
    if target is not None:
        summary += f"; {len(report.checks)} checks passed"
    lines = [summary]
    if report.choices is not None:
        lines.append(str(report.choices))
    if report.calibration is not None:
        lines.append(str(report.calibration))
    elif approximate and target is not None:
        lines.append(
            "Approximate swaps keep shapes and weights, but change the outputs: fit the model "
            "to the original (--calibrate DATA) or train it before use."
        )
    lines += [f"note: {note}" for note in report.notes]
    if target is not None:
        lines.append(f"wrote {target}")
    return "\n".join(lines)
