"""The options that several commands share, and what they ask for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_downswap.api import plan_swaps
from keras_downswap.cli.messages import print_warning
from keras_downswap.dialects.quiet_import import import_quietly
from keras_downswap.errors import BadRequest
from keras_downswap.files.format import Origin
from keras_downswap.files.formats import format_words
from keras_downswap.files.io import load_identified
from keras_downswap.plan import Plan
from keras_downswap.planning.limits import PREFIX, profiles
from keras_downswap.planning.targets import FORMS, METHODS, names_of_targets
from keras_downswap.rules import all_rules

DEFAULT_TARGET = "strided_conv"
SWAPS = "Which swaps"
"""The panel of the help text in which the options of `SwapOptions` are."""
swap_option = functools.partial(typer.Option, rich_help_panel=SWAPS)
_ANY_OF_NAMES = "with a layer whose name matches this regular expression"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _choices(names: Sequence[str]) -> str:
    return "|".join(names)


Source = Annotated[
    Path,
    typer.Argument(metavar="IN", help=f"A saved model: {format_words()}, of either Keras."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Load IN even if code that it contains would run."),
]


@dataclass(frozen=True)
class SwapOptions:
    """Which swaps are asked for."""

    to: Annotated[
        str | None,
        swap_option(
            metavar="TARGET",
            help=f"What downsamples afterwards: {_listed(names_of_targets())}.",
            show_default=DEFAULT_TARGET,
        ),
    ] = None
    profile: Annotated[
        str | None,
        swap_option(
            metavar="PROFILE",
            help="Instead of --to: the cheapest exact forms within the limits of a device or "
            f"tool: {_listed(profiles())}, or a .toml file.",
        ),
    ] = None
    # A free text with choices of our own, since typer's would know neither the older spelling nor
    # how to end with one line.
    method: Annotated[
        str,
        swap_option(
            metavar=_choices(METHODS),
            help="Which swaps are allowed: auto (exact where possible, else approximate), exact, "
            "or copy (all weights unchanged).",
        ),
    ] = "auto"
    form: Annotated[
        str | None,
        swap_option(
            metavar=_choices(FORMS),
            help="What an approximate swap puts in place: same (the same kernel with a larger "
            "stride), cover (a kernel as large as the receptive field of convolution and pool), "
            "or wide (twice the filters, a ReLU and a 1x1 convolution).",
            show_default=FORMS[0],
        ),
    ] = None
    include: Annotated[
        str | None,
        swap_option(
            metavar="REGEX",
            help=f"Swap only sites {_ANY_OF_NAMES}.",
        ),
    ] = None
    exclude: Annotated[
        str | None,
        swap_option(
            metavar="REGEX",
            help=f"Keep sites {_ANY_OF_NAMES}.",
        ),
    ] = None
    kernel: Annotated[
        str | None,
        typer.Option(hidden=True, help="Older spelling of --form."),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `plan_swaps`, with older spellings replaced.

        Raises:
            BadRequest: If an option is unknown, or two contradict each other.
        """
        method = "auto" if self.method == "wide" else self.method
        _check_choice("--method", method, METHODS)
        form = self._form()
        _check_choice("--form", form, FORMS)
        return {
            "to": self._target(),
            "method": method,
            "form": form,
            "include": self.include,
            "exclude": self.exclude,
        }

    def _target(self) -> str:
        if self.to is not None and self.profile is not None:
            raise BadRequest(f"--to {self.to} and --profile {self.profile}: give one of both")
        if self.profile is not None:
            return f"{PREFIX}{self.profile}"
        target = DEFAULT_TARGET if self.to is None else self.to
        # A profile may also be given as a target, as in Python.
        if not target.startswith(PREFIX):
            _check_choice("--to", target, names_of_targets(all_rules()))
        return target

    def _form(self) -> str:
        """Return the form that --form names, or one of its two older spellings."""
        older = self._older_forms()
        given = dict(older)
        if self.form is not None:
            given[f"--form {self.form}"] = self.form
        forms = set(given.values())
        if not forms:
            return FORMS[0]
        if len(forms) > 1:
            raise BadRequest(f"{' and '.join(given)} ask for different forms: give --form alone")
        form = forms.pop()
        for spelling in older:
            print_warning(f"{spelling} is deprecated: write --form {form} instead")
        return form

    def _older_forms(self) -> dict[str, str]:
        """Return the forms that older spellings ask for, by the spelling."""
        forms: dict[str, str] = {}
        if self.kernel is not None:
            _check_choice("--kernel", self.kernel, FORMS)
            forms[f"--kernel {self.kernel}"] = self.kernel
        if self.method == "wide":
            # `--kernel same` was the default: beside `--method wide` it asked for nothing.
            forms.pop("--kernel same", None)
            forms["--method wide"] = "wide"
        return forms


def plan_file(origin: Origin, arguments: dict[str, Any], trust: bool) -> Plan:
    """Load a saved model and plan its swaps.

    Args:
        origin: The file, identified.
        arguments: Those of `plan_swaps` after the model.
        trust: Whether code in the file may run.
    """
    import_quietly(origin.keras)
    model = load_identified(origin, trust=trust)
    return plan_swaps(model, **arguments)


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise BadRequest(f"unknown {option} {value!r}: expected one of {_listed(choices)}")
