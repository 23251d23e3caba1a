"""The command `keras-downswap`: puts the commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from keras_downswap import __version__
from keras_downswap.cli.convert import convert
from keras_downswap.cli.demo import demo
from keras_downswap.cli.flatten import flattened
from keras_downswap.cli.inspect import inspect
from keras_downswap.cli.messages import one_line_errors, out

COMMANDS = (convert, inspect, demo)
"""Every command, in the order of the help text."""

app = typer.Typer(
    help="Change how a Keras model downsamples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(one_line_errors(flattened(command)))


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"keras-downswap {__version__}", markup=False)
        raise typer.Exit


# Eager: it is answered before typer asks for a command.
Version = Annotated[
    bool,
    typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
]


@app.callback()
def _options(version: Version = False) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app(prog_name="keras-downswap")
