"""The command line: files in, files out, exit codes; no decisions of its own."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_downswap import __version__
from keras_downswap.api import plan_swaps
from keras_downswap.dialects.quiet_import import import_quietly
from keras_downswap.errors import BadRequest, DownswapError, NothingSwapped, SomethingLost
from keras_downswap.files import io as files
from keras_downswap.files.format import Origin
from keras_downswap.ir.graph import Shape
from keras_downswap.plan import Plan
from keras_downswap.planning.cost import site_cost
from keras_downswap.planning.find import METHODS
from keras_downswap.planning.limits import PREFIX, profiles
from keras_downswap.report import Report, describe_sites
from keras_downswap.rules import TARGETS
from keras_downswap.search.max_drop import check_limit, search_forms

app = typer.Typer(
    help="Change how a Keras model downsamples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(width=None if sys.stdout.isatty() else 120, highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

In = Annotated[
    Path,
    typer.Argument(
        help="A .keras or .h5 file of either Keras, or a SavedModel folder of tf_keras."
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        help=f"What downsamples afterwards: {', '.join(TARGETS)}.", show_default="strided_conv"
    ),
]
How = Annotated[str, typer.Option("--method", help=f"How swaps are chosen: {', '.join(METHODS)}.")]
Profile = Annotated[
    str | None,
    typer.Option(
        help=f"Cheapest exact forms within limits: {', '.join(profiles())}, or a .toml file."
    ),
]
Include = Annotated[
    str | None,
    typer.Option(help="Swap only sites with a layer whose name this expression matches."),
]
Exclude = Annotated[
    str | None, typer.Option(help="Keep sites with a layer whose name this expression matches.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Let code that IN brings along run.")]


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn the package's errors into one line on stderr and exit code 1, and its warnings into a line each."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except DownswapError as error:
        err.print(f"error: {escape(' '.join(str(error).split()))}")
        raise typer.Exit(1) from None
    except Exception as error:
        if os.environ.get("KERAS_DOWNSWAP_TRACEBACK"):
            raise
        words = " ".join(str(error).split())[:300]
        advice = "set KERAS_DOWNSWAP_TRACEBACK=1 to see where, and please report it"
        err.print(f"error: unexpected {type(error).__name__}: {escape(words)} ({advice})")
        raise typer.Exit(1) from None
    finally:
        for warning in caught:
            if (
                issubclass(warning.category, NothingSwapped | SomethingLost)
                or "keras_downswap" in warning.filename
            ):
                err.print(f"warning: {escape(str(warning.message))}")


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        with _one_line_errors():
            command(*args, **kwargs)

    return run


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"keras-downswap {__version__}", markup=False)
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
]


@app.callback()
def _options(version: Version = False) -> None:
    pass


@app.command()
@_guarded
def convert(
    source: In,
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Where to write: .keras, .h5, or a SavedModel folder."),
    ],
    to: To = None,
    method: How = "auto",
    include: Include = None,
    exclude: Exclude = None,
    profile: Profile = None,
    kernel: Annotated[
        str, typer.Option(help="Kernel of approximate swaps: same, or cover (what both saw).")
    ] = "same",
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Fit approximate swaps on inputs: .npy, .npz, image folder, MODULE:FUNCTION.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Be done with fitting after this long.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Give each site the cheapest form with which no more is lost: 0.01 is 1 %."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and write no model.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Swap the downsampling of a saved model, check the result, and save it."""
    origin = files.identify(source)
    _own_path(report, IN=source, OUT=target)
    if not dry_run:
        files.check_target(target, overwrite, origin.keras)
    if report is not None:
        files.check_place(report, overwrite)
    plan = _plan(origin, _target(to, profile), method, include, exclude, trust, kernel)
    if max_drop is not None:
        check_limit(plan, max_drop, calibrate)
    data = None if calibrate is None else plan.data(calibrate)
    if dry_run or max_drop is None:
        out.print(str(plan), markup=False, soft_wrap=True)
    if dry_run:
        new, account = None, Report(plan.to, plan.method, plan.sites, (), ())
        if max_drop is not None:
            out.print("Which site takes which form within --max-drop is measured, not planned.")
    elif max_drop is None:
        new, account = plan.apply(return_report=True, calibration_data=data, budget=budget)
    else:
        new, account = search_forms(plan, max_drop, data, budget)
        out.print(
            describe_sites(account.to, account.method, account.sites), markup=False, soft_wrap=True
        )
    if new is not None:
        files.save(new, target, overwrite=overwrite)
    if report is not None:
        files.write_text(report, account.to_json() + "\n", overwrite=overwrite)
    out.print(_closing(account, None if dry_run else target), markup=False, soft_wrap=True)


@app.command()
@_guarded
def inspect(
    source: In,
    to: To = None,
    method: How = "auto",
    include: Include = None,
    exclude: Exclude = None,
    profile: Profile = None,
    trust: Trust = False,
) -> None:
    """Show every place where a saved model downsamples, and what a swap would do there."""
    origin = files.identify(source)
    plan = _plan(origin, _target(to, profile), method, include, exclude, trust)
    out.print(f"{source}: {origin.keras} {origin.version}, {origin.format}", markup=False)
    out.print(
        site_table(plan) if plan.sites else "The model has no pool and no strided convolution."
    )


@app.command()
@_guarded
def demo() -> None:
    """Swap a small trained model that ships with the package, and show what that changes."""
    from keras_downswap.demo.run import demonstrate

    import_quietly("keras")
    demonstrate(out)


def _plan(
    origin: Origin,
    to: str,
    method: str,
    include: str | None,
    exclude: str | None,
    trust: bool,
    kernel: str = "same",
) -> Plan:
    import_quietly(origin.keras)
    chosen: Any = {"method": method, "kernel": kernel}
    return plan_swaps(
        files.load(origin.path, trust=trust), to, include=include, exclude=exclude, **chosen
    )


def _target(to: str | None, profile: str | None) -> str:
    """Return the target that --to or --profile names."""
    if to is not None and profile is not None:
        raise BadRequest(f"--to {to} and --profile {profile}: give one of both")
    return (to or "strided_conv") if profile is None else f"{PREFIX}{profile}"


def _own_path(report: Path | None, **others: Path) -> None:
    """Refuse to write a report over a model."""
    for name, path in others.items():
        if report is not None and report.resolve() == path.resolve():
            raise BadRequest(f"{report}: --report and {name} are one path; give the report its own")


def _closing(account: Report, target: Path | None) -> str:
    promises = [site.promise for site in account.sites]
    exact, near, kept = (promises.count(promise) for promise in ("exact", "approximate", None))
    lines = [
        f"{exact} exact and {near} approximate swaps, {kept} kept; {len(account.checks)} checks held"
    ]
    lines += [] if account.choices is None else [str(account.choices)]
    if account.calibration is not None:
        lines.append(str(account.calibration))
    elif near and target:
        lines.append(
            "Approximate swaps keep shapes and weights, not values: fit the model first (--calibrate), or train it."
        )
    lines += [f"note: {note}" for note in account.notes]
    lines += [f"wrote {target}"] if target else []
    return "\n".join(lines)


def site_table(plan: Plan) -> Table:
    """Return the table of a plan: layers, shapes, verdict, parameters and MACs of each site before and after."""
    table = Table(
        "site",
        "shapes in -> out",
        "swap",
        "parameters",
        "MACs",
        title=f"to {plan.to}",
        show_lines=True,
    )
    for site in plan.sites:
        cost = site_cost(plan.graph_of(site), site)
        verdict = (
            f"{site.promise}: {site.rule}" if site.status == "swapped" else f"kept: {site.reason}"
        )
        table.add_row(
            escape("\n".join(site.layers)),
            f"{shape_words(cost.input_shape)} ->\n{shape_words(cost.output_shape)}",
            escape(verdict),
            change([c.parameters for c in (cost.before, cost.after)]),
            change([c.macs for c in (cost.before, cost.after)]),
        )
    return table


def shape_words(shape: Shape) -> str:
    """Return a shape without its batch axis, `?` where a length is unknown."""
    return "x".join("?" if n is None else str(n) for n in shape[1:]) or "scalar"


def change(values: Sequence[int | None]) -> str:
    """Return a number, or two with an arrow where they differ."""
    words = ["?" if v is None else f"{v:,}" for v in values]
    return words[0] if words[0] == words[1] else " -> ".join(words)


def main() -> None:
    """Run the command line."""
    app(prog_name="keras-downswap")
