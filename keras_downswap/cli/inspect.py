"""The command `inspect`: where a saved model downsamples, and what swaps would do there."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from keras_downswap.cli.messages import out, print_text
from keras_downswap.cli.options import Source, SwapOptions, Trust, plan_file
from keras_downswap.files import io as files
from keras_downswap.files.formats import format_named
from keras_downswap.ir.graph import Shape
from keras_downswap.plan import Plan
from keras_downswap.planning.cost import site_cost
from keras_downswap.planning.sites import Site

NARROW = 100
"""Below so many columns, what is before and after a swap stands on two lines."""


def inspect(source: Source, swap: SwapOptions, trust: Trust = False) -> None:
    """Show every place where a saved model downsamples, and what a swap would do there."""
    arguments = swap.arguments()
    origin = files.identify(source)
    plan = plan_file(origin, arguments, trust)
    words = format_named(origin.format).words
    print_text(f"{source}: {words} saved by {origin.keras} {origin.version}")
    if plan.sites:
        out.print(site_table(plan, out.width))
    else:
        print_text("The model has no pool and no strided convolution.")


def site_table(plan: Plan, columns: int) -> Table:
    """Return a table of a plan's sites: layers, shapes, swap, parameters and MACs.

    Args:
        plan: The plan.
        columns: How many characters wide the table may be.
    """
    arrow = " ->\n" if columns < NARROW else " -> "
    table = Table(title=f"to {plan.to}", show_lines=True)
    for heading in ("site", "shapes", "swap", "parameters", "MACs"):
        # Folded where it is too wide: by default, rich would cut names of layers and rules off.
        table.add_column(heading, overflow="fold")
    for site in plan.sites:
        table.add_row(*_cells(plan, site, arrow))
    return table


def _cells(plan: Plan, site: Site, arrow: str) -> tuple[str, ...]:
    cost = site_cost(plan.graph_of(site), site)
    shapes = f"{shape_words(cost.input_shape)} ->\n{shape_words(cost.output_shape)}"
    before, after = cost.before, cost.after
    parameters = change(before.parameters, after.parameters, arrow)
    macs = change(before.macs, after.macs, arrow)
    # Names of layers may look like markup to rich.
    layers = escape("\n".join(site.layers))
    return layers, shapes, escape(_swap_words(site)), parameters, macs


def _swap_words(site: Site) -> str:
    if site.status == "swapped":
        return f"{site.promise}: {site.rule}"
    return f"kept: {site.reason}"


def shape_words(shape: Shape) -> str:
    """Return a shape without its batch axis, `?` where a length is unknown."""
    lengths = map(_length, shape[1:])
    return "x".join(lengths) or "scalar"


def _length(length: int | None) -> str:
    return "?" if length is None else str(length)


def change(before: int | None, after: int | None, arrow: str = " -> ") -> str:
    """Return a number, or two with an arrow where they differ; `?` where one is unknown."""
    old = _number(before)
    new = _number(after)
    return old if old == new else f"{old}{arrow}{new}"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
