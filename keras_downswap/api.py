"""The story: read, plan, rewrite, verify, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from keras_downswap.dialects import read_model
from keras_downswap.plan import Plan, Request
from keras_downswap.planning.sites import Selector
from keras_downswap.planning.targets import Target
from keras_downswap.report import Report
from keras_downswap.rulekit.rule import Rule
from keras_downswap.rules import with_all_rules
from keras_downswap.search.max_drop import search_forms


def plan_swaps(
    model: Any,
    to: str | Target = "strided_conv",
    method: Any = "auto",
    include: Selector = None,
    exclude: Selector = None,
    rules: Sequence[Rule] = (),
    kernel: Any = "same",
) -> Plan:
    """Decide what a swap would do to a model, and build nothing.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`.
        to: What downsamples afterwards, one of `keras_downswap.planning.targets.TARGETS`, such as
            `strided_conv`, `max_pool` or `subsample`; or `profile:NAME` (`profile:FILE.toml`) for
            the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else the same kernel, approximate), `exact`
            (only exact swaps), `copy` (same kernel, all weights verbatim) or `wide` (exact where an
            identity exists, else a strided convolution of twice the filters, a ReLU and a 1x1
            convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names,
            or a callable on the site; None for all.
        exclude: Sites to keep, likewise.
        rules: Rules of your own, which are asked before all others.
        kernel: Of approximate swaps into convolutions: the `same` kernel, or one that `cover`s all
            that the convolution and the pool saw together, started at the mean.

    Returns:
        The plan; `print` it, then `apply` it.

    Raises:
        UnreadableModel: If the value is no Keras model, or a model without a graph.
        BadRequest: If an argument is unknown or names no layer.
    """
    reading = read_model(model)
    return Plan.of(
        reading,
        Request(to, method, include, exclude, with_all_rules(rules), kernel),
    )


@overload
def swap_downsampling(
    model: Any,
    to: str | Target = ...,
    method: Any = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    return_report: Literal[False] = ...,
    rules: Sequence[Rule] = ...,
    kernel: Any = ...,
    calibration_data: Any = ...,
    max_drop: float | None = ...,
    verbose: bool = ...,
) -> Any: ...
@overload
def swap_downsampling(
    model: Any,
    to: str | Target = ...,
    method: Any = ...,
    include: Selector = ...,
    exclude: Selector = ...,
    *,
    return_report: Literal[True],
    rules: Sequence[Rule] = ...,
    kernel: Any = ...,
    calibration_data: Any = ...,
    max_drop: float | None = ...,
    verbose: bool = ...,
) -> tuple[Any, Report]: ...
def swap_downsampling(
    model: Any,
    to: str | Target = "strided_conv",
    method: Any = "auto",
    include: Selector = None,
    exclude: Selector = None,
    return_report: bool = False,
    rules: Sequence[Rule] = (),
    kernel: Any = "same",
    calibration_data: Any = None,
    max_drop: float | None = None,
    verbose: bool = True,
) -> Any:
    """Return a new model that downsamples in another way; the given one is not changed.

    Args:
        model: A functional or Sequential model of `tf_keras` or `keras`, any input sizes, fixed or
            unknown.
        to: What downsamples afterwards, one of `keras_downswap.planning.targets.TARGETS`, such as
            `strided_conv`, `max_pool` or `subsample`; or `profile:NAME` (`profile:FILE.toml`) for
            the cheapest exact forms within a device's limits.
        method: `auto` (exact where an identity exists, else the same kernel, approximate), `exact`
            (only exact swaps), `copy` (same kernel, all weights verbatim) or `wide` (exact where an
            identity exists, else a strided convolution of twice the filters, a ReLU and a 1x1
            convolution, to be fitted).
        include: Sites to swap: a regular expression searched in layer names, a list of layer names,
            or a callable on the site; None for all.
        exclude: Sites to keep, likewise.
        return_report: Whether to return the report as well.
        rules: Rules of your own, which are asked before all others.
        kernel: Of approximate swaps into convolutions: the `same` kernel, or one that `cover`s all
            that the convolution and the pool saw together, started at the mean.
        calibration_data: What the model takes, in any form that `calibrate` takes: where a swap is
            approximate, the new model is fitted to the original on it. No labels are needed.
        max_drop: Of a fitted model, the share of right answers that it may lose, as expected on
            held-out samples from the original's own probabilities (of outputs that are no
            classifier's, the squared difference over the variance): each site gets the cheapest
            form that keeps to it (the same kernel, `cover`, `wide`, or kept).
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
    plan = plan_swaps(model, to, method, include, exclude, rules, kernel)
    if max_drop is None:
        new, report = plan.carry_out(calibration_data, None, verbose, stacklevel=2)
    else:
        new, report = search_forms(plan, max_drop, calibration_data, None, verbose, stacklevel=2)
    return (new, report) if return_report else new
