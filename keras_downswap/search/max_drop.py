"""Swaps with a limit on what may be lost: each site gets the cheapest form that keeps to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras_downswap.errors import BadRequest
from keras_downswap.plan import Plan
from keras_downswap.report import Report
from keras_downswap.search.form_search import FormSearch


def search_forms(
    plan: Plan,
    max_drop: float,
    data: Any,
    budget: float | None = None,
    verbose: bool = True,
    stacklevel: int = 1,
) -> tuple[Any, Report]:
    """Build and fit the cheapest forms of a plan's approximate swaps that keep to a limit together.

    Args:
        plan: A plan with method `auto` and kernel `same`.
        max_drop: Share of right answers that may be lost, as expected on held-out samples from the
            original's own probabilities; of outputs that are no classifier's, the squared
            difference over the variance.
        data: Inputs of the model, in any form that `calibrate` accepts.
        budget: Seconds to be done in, about; None for no limit.
        verbose: Whether to show progress on stderr.
        stacklevel: How many calls above this one warnings are for.

    Returns:
        The new model and its report, whose `choices` say what was tried.

    Raises:
        BadRequest: If the limit is no share, the data is missing or does not fit, or the plan is of
            another kind.
        BrokenPromise: If a check fails; no model is returned then.
    """
    check_limit(plan, max_drop, data)
    search = FormSearch(plan, max_drop, data, budget, verbose)
    if search.clusters:
        built, choices = search.run()
    else:
        built, choices = plan.build(), None
    built.warn(stacklevel + 1)
    return built.model, replace(built.report, choices=choices)


def check_limit(plan: Plan, max_drop: float, data: Any) -> None:
    """Refuse a limit that cannot be kept to.

    Raises:
        BadRequest: If it is no share, there is no data to measure on, or the plan has chosen its
            forms already.
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
    request = plan.request
    if (request.method, request.kernel) != ("auto", "same"):
        raise BadRequest(
            "max_drop chooses the form of each site itself: expected method='auto' and "
            f"kernel='same', received method={request.method!r} and kernel={request.kernel!r}"
        )
