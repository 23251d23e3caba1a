"""Builds the new model that a plan asks for, checks it, and collects what its user must know."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keras_downswap.checks import Check
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import NothingSwapped, SomethingLost
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.restore import recompile
from keras_downswap.rebuilding.rewrite import rewrite
from keras_downswap.rebuilding.verify import traces, verify
from keras_downswap.request import Request


@dataclass(frozen=True)
class Built:
    """A new model that was checked.

    Attributes:
        model: The model.
        checks: Everything that was checked, with the numbers.
        notes: Further facts that a user must know.
        warnings: What the caller is to be warned of.
    """

    model: Any
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    warnings: tuple[UserWarning, ...]


def build(reading: Reading, request: Request, sites: Sequence[Site]) -> Built:
    """Build the new model and check it.

    Args:
        reading: The original model, read.
        request: What was asked of the swap.
        sites: What becomes of each downsampling call of the original.

    Returns:
        The new model; the original is not changed.

    Raises:
        BrokenPromise: If a check fails; no model is returned then.
    """
    with _collector_paused():
        before = traces(reading)
        new = rewrite(reading, sites)
        checks = verify(reading, before, sites, new)
    compiled, not_compiled = recompile(reading.dialect, reading.model, new.model)

    losses = [*new.notes, *not_compiled]
    notes = [*losses, *compiled]
    notes += _renamed_outputs(reading, new.model)
    notes += _limits_of(checks, reading)
    warnings: list[UserWarning] = []
    if not any(site.status == "swapped" for site in sites):
        warnings.append(NothingSwapped(_nothing_swapped(request, sites)))
    warnings += [SomethingLost(loss) for loss in losses]
    return Built(new.model, checks, tuple(notes), tuple(warnings))


def _renamed_outputs(reading: Reading, new: Any) -> Iterator[str]:
    """Say which outputs a saved file will name otherwise: Keras names them after their layers."""
    dialect = reading.dialect
    olds = dialect.output_layers(reading.model)
    news = dialect.output_layers(new)
    for old, made in zip(olds, news, strict=True):
        if old != made:
            yield (
                f"the output '{old}' keeps its name in this model object. A file saved from it "
                f"names the output '{made}', after the layer that now produces it"
            )


def _limits_of(checks: Sequence[Check], reading: Reading) -> Iterator[str]:
    """Say what the checks leave open: other input sizes, and values that were not compared."""
    sites = dict.fromkeys(check.where for check in checks if check.what == "length")
    # A functional model refuses any size but the declared one; a Sequential model does not.
    if sites and reading.dialect.is_sequential(reading.model):
        yield (
            f"{', '.join(sites)}: output lengths were verified for the declared input size only. "
            "Keras lets a Sequential model be called with other sizes, where they may differ. "
            "Declare the size as None to have every size verified"
        )
    for check in checks:
        if check.what == "not run":
            yield f"{check.where}: {check.detail}"


def _nothing_swapped(request: Request, sites: Sequence[Site]) -> str:
    if not sites:
        reason = "the model has no pool and no strided convolution"
    else:
        reason = (
            f"none of {len(sites)} downsampling calls fits to={request.to!r} "
            f"with method={request.method!r}; the report says why for each"
        )
    return f"nothing was swapped: {reason}. The new model is a copy."


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector while thousands of objects are made that all stay.

    Each of its runs would walk the whole heap and find nothing to free.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
