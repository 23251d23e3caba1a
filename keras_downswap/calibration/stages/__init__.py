"""The methods of calibration: each file declares one as `STAGE`, and the folder is their index."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from keras_downswap.calibration.stage import Stage
from keras_downswap.errors import BadRequest

AUTO = "auto"
"""The method that runs all stages in turn."""


def all_stages() -> tuple[Stage, ...]:
    """Return the stage of each file of this folder, in the order in which `auto` runs them."""
    found: list[Stage] = []
    for module in pkgutil.iter_modules(__path__):
        found.append(import_module(f"{__name__}.{module.name}").STAGE)
    found.sort(key=lambda stage: stage.order)
    return tuple(found)


def method_names() -> tuple[str, ...]:
    """Return every value of `method`."""
    return (AUTO, *(stage.name for stage in all_stages()))


def stages_of(method: str) -> tuple[Stage, ...]:
    """Return the stages that a method runs, in order.

    Raises:
        BadRequest: If there is no such method.
    """
    stages = all_stages()
    if method == AUTO:
        return stages
    for stage in stages:
        if stage.name == method:
            return (stage,)
    raise BadRequest(
        f"unknown method={method!r} of calibrate: expected one of {', '.join(method_names())}"
    )


def quick_stage() -> Stage:
    """Return the stage by which a single form is measured: the last that is a closed form."""
    return [stage for stage in all_stages() if stage.closed_form][-1]
