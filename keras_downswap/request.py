"""What is asked of a swap and of the fit after it, as values; and the sites that it leads to."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.shared_layers import CallRef
from keras_downswap.planning.sites import Selector, Site
from keras_downswap.planning.targets import FORMS, METHODS, Form, Method, Target
from keras_downswap.rulekit.rule import Rule
from keras_downswap.rules import with_all_rules


@dataclass(frozen=True)
class Request:
    """What is asked of a swap; the arguments of `plan_swaps`.

    Attributes:
        to: What downsamples afterwards.
        method: How swaps are chosen.
        form: What an approximate swap puts in place.
        include: Sites to swap.
        exclude: Sites to keep.
        rules: The caller's own rules, which are asked before all others.
        not_pickled: Names of the arguments that were lost when this value was pickled.
    """

    to: str | Target
    method: Method = "auto"
    form: Form = "same"
    include: Selector = None
    exclude: Selector = None
    rules: tuple[Rule, ...] = ()
    not_pickled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown method or form.

        Raises:
            BadRequest: If one of them is unknown.
        """
        _check_known("method", self.method, METHODS)
        _check_known("form", self.form, FORMS)

    @property
    def target_name(self) -> str:
        """The name of what downsamples afterwards."""
        return self.to.name if isinstance(self.to, Target) else self.to

    def sites(self, graph: Graph, forms: Mapping[CallRef, str]) -> tuple[Site, ...]:
        """Return what becomes of each downsampling call of a graph.

        Args:
            graph: The graph of a whole model.
            forms: Calls whose approximate swap takes another form than the request's.

        Raises:
            BadRequest: If `to` is unknown, or a selector names no layer, or an argument was lost
                when this value was pickled.
        """
        # With an empty selector in its place, the plan would silently swap other sites.
        if self.not_pickled:
            lost = " and ".join(self.not_pickled)
            raise BadRequest(
                f"{lost} could not be pickled with the plan, and forms are chosen anew within "
                "max_drop: call plan_swaps again with the model"
            )
        return find_sites(
            graph,
            with_all_rules(self.rules),
            self.to,
            self.method,
            include=self.include,
            exclude=self.exclude,
            form=self.form,
            forms=forms,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: functions that have no importable name are left out.

        What they decided is in a plan's sites already.
        """
        state = dict(vars(self))
        lost = list(self.not_pickled)
        empty: dict[str, Any] = {"include": None, "exclude": None, "rules": ()}
        for argument, nothing in empty.items():
            if not _pickles(state[argument]):
                state[argument] = nothing
                lost.append(argument)
        state["not_pickled"] = tuple(lost)
        return state


def _check_known(argument: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        expected = ", ".join(known)
        raise BadRequest(f"unknown {argument}={value!r}: expected one of {expected}")


def _pickles(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 (a caller's own object says no in whatever way it does)
        return False
    return True


@dataclass(frozen=True)
class FitOptions:
    """How a new model is fitted; arguments that `Plan.apply` and `swap_downsampling` share.

    Attributes:
        max_drop: Share of right answers that may be lost; None for no search of forms.
        budget: Seconds after which to be done, about; None for no limit.
        seed: Of everything that is drawn.
        scope: `all` lets every trainable layer change, `sites` only those that were swapped.
        verbose: Whether to show progress on stderr.
    """

    max_drop: float | None = None
    budget: float | None = None
    seed: int = 0
    scope: Literal["all", "sites"] = "all"
    verbose: bool = True
