"""What the command line prints: results on stdout; errors and warnings on stderr, a line each."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from keras_downswap.errors import DownswapError, NothingSwapped, SomethingLost

PIPE_COLUMNS = 120
"""How wide tables are where stdout is no terminal, whose width would count."""
MESSAGE_CHARACTERS = 300
"""How much is shown of an error that this package did not raise on purpose."""
TRACEBACK_VARIABLE = "KERAS_DOWNSWAP_TRACEBACK"

out = Console(
    width=None if sys.stdout.isatty() else PIPE_COLUMNS,
    highlight=False,
    emoji=False,
)
# Soft-wrapped: a message stays one line, however narrow the terminal.
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Print text to stdout as it is: names in it are no markup, and lines are not broken."""
    out.print(text, markup=False, soft_wrap=True)


def print_warning(text: str) -> None:
    """Print a warning to stderr."""
    err.print(f"warning: {escape(text)}")


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end with one line on stderr and exit code 1 where it raises an error."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        with _printed_warnings(), _printed_errors():
            command(*args, **kwargs)

    return run


@contextmanager
def _printed_errors() -> Iterator[None]:
    try:
        yield
    except DownswapError as error:
        err.print(f"error: {escape(_one_line(error))}")
        raise typer.Exit(1) from None
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        words = escape(_one_line(error)[:MESSAGE_CHARACTERS])
        advice = f"set {TRACEBACK_VARIABLE}=1 to see where, and please report it"
        err.print(f"error: unexpected {type(error).__name__}: {words} ({advice})")
        raise typer.Exit(1) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print this package's warnings once the command has ended; leave out those of frameworks."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if _is_ours(warning):
                    print_warning(str(warning.message))


def _is_ours(warning: warnings.WarningMessage) -> bool:
    # Only the two classes are ours beyond doubt. Any other warning counts by where it was given.
    if issubclass(warning.category, (NothingSwapped, SomethingLost)):
        return True
    return "keras_downswap" in warning.filename
