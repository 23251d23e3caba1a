"""The public functions: plan a swap, or plan it, build the new model, check it and fit it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from keras_downswap.deprecated import accepts_older_spellings
from keras_downswap.dialects import read_model
from keras_downswap.plan import Plan
from keras_downswap.planning.sites import Selector
from keras_downswap.planning.targets import Form, Method, Target
from keras_downswap.report import Report
from keras_downswap.request import FitOptions, Request
from keras_downswap.rulekit.rule import Rule
from keras_downswap.rules import all_rules, checked_rules


@accepts_older_spellings
def plan_swaps(
    model: Any,
    *,
    to: str | Target = "strided_conv",
    method: Method = "auto",
    form: Form = "same",
    include: Selector = None,
    exclude: Selector = None,
    rules: Sequence[Rule] = (),
) -> Plan:
    """Decide what a swap would do to a model, and build nothing.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`.
        to: What downsamples afterwards, one of `keras_downswap.planning.targets.TARGETS`, such as
            `strided_conv`, `max_pool` or `subsample`; or `profile:NAME` (`profile:FILE.toml`) for
            the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else approximate), `exact` (only exact
            swaps) or `copy` (all weights move verbatim, kernels included).
        form: The form of approximate swaps into convolutions: `same` (the same kernel with the
            pool's stride), `cover` (a kernel as large as the receptive field of the convolution
            and the pool together, started at the mean) or `wide` (a strided convolution of twice
            the filters, a ReLU and a 1x1 convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names,
            or a callable on the site; None for all.
        exclude: Sites to keep, likewise.
        rules: Rules of your own, which are asked before all others.

    Returns:
        The plan; `print` it, then `apply` it.

    Raises:
        UnreadableModel: If the value is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown or names no layer.
    """
    reading = read_model(model)
    own = checked_rules(rules, all_rules())
    request = Request(to, method, form, include, exclude, own)
    return Plan.of(reading, request)


@overload
def swap_downsampling(
    model: Any,
    *,
    to: str | Target = ...,
    method: Method = ...,
    form: Form = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    return_report: Literal[False] = ...,
    rules: Sequence[Rule] = ...,
    calibration_data: Any = ...,
    max_drop: float | None = ...,
    budget: float | None = ...,
    seed: int = ...,
    scope: Literal["all", "sites"] = ...,
    verbose: bool = ...,
) -> Any: ...
@overload
def swap_downsampling(
    model: Any,
    *,
    to: str | Target = ...,
    method: Method = ...,
    form: Form = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    return_report: Literal[True],
    rules: Sequence[Rule] = ...,
    calibration_data: Any = ...,
    max_drop: float | None = ...,
    budget: float | None = ...,
    seed: int = ...,
    scope: Literal["all", "sites"] = ...,
    verbose: bool = ...,
) -> tuple[Any, Report]: ...
@accepts_older_spellings
def swap_downsampling(
    model: Any,
    *,
    to: str | Target = "strided_conv",
    method: Method = "auto",
    form: Form = "same",
    include: Selector = None,
    exclude: Selector = None,
    return_report: bool = False,
    rules: Sequence[Rule] = (),
    calibration_data: Any = None,
    max_drop: float | None = None,
    budget: float | None = None,
    seed: int = 0,
    scope: Literal["all", "sites"] = "all",
    verbose: bool = True,
) -> Any:
    """Return a new model that downsamples in another way; the given one is not changed.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`, any input sizes, fixed or
            unknown.
        to: What downsamples afterwards, one of `keras_downswap.planning.targets.TARGETS`, such as
            `strided_conv`, `max_pool` or `subsample`; or `profile:NAME` (`profile:FILE.toml`) for
            the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else approximate), `exact` (only exact
            swaps) or `copy` (all weights move verbatim, kernels included).
        form: The form of approximate swaps into convolutions: `same` (the same kernel with the
            pool's stride), `cover` (a kernel as large as the receptive field of the convolution
            and the pool together, started at the mean) or `wide` (a strided convolution of twice
            the filters, a ReLU and a 1x1 convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names,
            or a callable on the site; None for all.
        exclude: Sites to keep, likewise.
        return_report: Whether to return the report as well.
        rules: Rules of your own, which are asked before all others.
        calibration_data: Inputs of the model, in any form that `calibrate` accepts: where a swap is
            approximate, the new model is fitted to the original on them. No labels are needed.
        max_drop: The share of right answers that the fitted model may lose, as expected on held-out
            samples from the original's own probabilities (of outputs that are no classifier's, the
            squared difference over the variance): each site gets the cheapest form that stays
            within it (`same`, `cover`, `wide`, or kept).
        budget: Seconds that fitting may take, about; None for no limit.
        seed: Of everything that fitting draws.
        scope: `all` lets every trainable layer change in the fit, `sites` only those that were
            swapped.
        verbose: Whether fitting shows its progress on stderr.

    Returns:
        The new model, with the same inputs, outputs and shapes; with `return_report`, the model and
        a `Report`.

    Raises:
        UnreadableModel: If the value is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown or names no layer.
        BrokenPromise: If the new model fails a check; nothing is returned then.

    Warns:
        NothingSwapped: If no site was swapped; the model returned is a faithful copy.
        SomethingLost: If the new model's class, compile state or own weights could not be carried
            over.
    """
    plan = plan_swaps(
        model, to=to, method=method, form=form, include=include, exclude=exclude, rules=rules
    )
    options = FitOptions(max_drop, budget, seed, scope, verbose)
    new, report = plan.carry_out(calibration_data, options)
    return (new, report) if return_report else new
