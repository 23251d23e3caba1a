"""Swaps with a limit on what may be lost: each site gets the cheapest form that keeps to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_downswap.calibration.forms import FormSearchReport
from keras_downswap.dialects.reading import Reading
from keras_downswap.errors import BadRequest, warn_caller
from keras_downswap.planning.sites import Site
from keras_downswap.report import Report
from keras_downswap.request import FitOptions, Request
from keras_downswap.search.form_search import FormSearch


def search_forms(
    reading: Reading, request: Request, sites: Sequence[Site], data: Any, options: FitOptions
) -> tuple[Any, Report]:
    """Build and fit the cheapest forms of approximate swaps that keep to a limit together.

    Args:
        reading: The original model.
        request: What was asked of the swap, with method `auto` and form `same`.
        sites: What becomes of each downsampling call.
        data: Inputs of the model, in any form that `calibrate` accepts.
        options: How to fit. Its `max_drop` is the share of right answers that may be lost, as
            expected on held-out samples from the original's own probabilities; of outputs that are
            no classifier's, the squared difference over the variance.

    Returns:
        The new model and its report, whose `choices` say what was tried.

    Raises:
        BadRequest: If the limit is no share, the data is missing or does not fit, or the request is
            of another kind.
        BrokenPromise: If a check fails; no model is returned then.
    """
    max_drop = 0.0 if options.max_drop is None else options.max_drop
    check_limit(request, max_drop, data)
    # Without a cluster no swap is approximate, and nothing can be lost: there is no search.
    search = FormSearch(reading, request, sites, data, options)
    choices: FormSearchReport | None = None
    if search.clusters:
        found, choices = search.run()
    else:
        found = search.build(sites)
    for warning in found.warnings:
        warn_caller(warning)
    return found.model, replace(found.report, choices=choices)


def check_limit(request: Request, max_drop: float, data: Any) -> None:
    """Refuse a limit that cannot be kept to.

    Raises:
        BadRequest: If it is no share, there is no data to measure on, or the request has chosen
            its forms already.
    """
    if not 0 <= max_drop < 1:
        raise BadRequest(
            f"max_drop is a share of right answers: expected 0 <= max_drop < 1, received {max_drop}"
        )
    if data is None:
        raise BadRequest(
            "max_drop is measured on inputs: "
            "expected calibration_data (--calibrate DATA), received none"
        )
    if (request.method, request.form) != ("auto", "same"):
        raise BadRequest(
            "max_drop chooses the form of each site itself: expected method='auto' and "
            f"form='same', received method={request.method!r} and form={request.form!r}"
        )
