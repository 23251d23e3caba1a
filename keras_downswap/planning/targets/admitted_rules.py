"""A target, a method and a form, checked, and the rules that they admit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from keras_downswap.errors import BadRequest
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.planning.limits import PREFIX, limits
from keras_downswap.planning.targets.table import FIRST_RULE, names_of_targets, target_named
from keras_downswap.planning.targets.target import Strategy, Target
from keras_downswap.planning.targets.within_limits import profile_target
from keras_downswap.rulekit.rule import Promise, Rule

Method = Literal["auto", "exact", "copy"]
METHODS: tuple[Method, ...] = get_args(Method)
"""How swaps are chosen."""
Form = Literal["same", "cover", "wide"]
FORMS: tuple[Form, ...] = get_args(Form)
"""What approximate swaps into convolutions put in place, the cheapest first."""
KEEP_FORM = "kept"
"""The form of a call that no approximate swap may take."""


@dataclass(frozen=True)
class AdmittedRules:
    """The rules that a target, a method and a form admit.

    Attributes:
        target: What downsamples afterwards.
        method: How swaps are chosen.
        form: What approximate swaps put in place, where a call asks for nothing else.
        target_rules: The rules that serve the target, in the order in which they are asked.
    """

    target: Target
    method: Method
    form: Form
    target_rules: Sequence[Rule]

    @classmethod
    def of(
        cls, rules: Sequence[Rule], to: str | Target, method: Method, form: Form = "same"
    ) -> AdmittedRules:
        """Return what a target, a method and a form admit of some rules.

        Raises:
            BadRequest: If one of them is unknown, or a profile does not exist.
        """
        if form not in FORMS:
            expected = ", ".join(FORMS)
            raise BadRequest(f"unknown form={form!r}: expected one of {expected}")
        if method not in METHODS:
            expected = ", ".join(METHODS)
            raise BadRequest(f"unknown method={method!r}: expected one of {expected}")
        if isinstance(to, Target):
            return cls._of_target(rules, to, method, form)
        if to.startswith(PREFIX):
            # Of all targets, since any exact form will do that is within the limits.
            exact = [rule for rule in rules if rule.promise is Promise.EXACT]
            bounds = limits(to.removeprefix(PREFIX))
            target = profile_target(to, bounds, verbatim=method == "copy")
            return cls(target, method, form, exact)
        known = target_named(to, rules)
        if known is None:
            expected = ", ".join(sorted(names_of_targets(rules)))
            message = f"unknown target to={to!r}: expected one of {expected}, or {PREFIX}NAME"
            raise BadRequest(message)
        return cls._of_target(rules, known, method, form)

    @classmethod
    def _of_target(
        cls, rules: Sequence[Rule], target: Target, method: Method, form: Form
    ) -> AdmittedRules:
        serving = [rule for rule in rules if target.name in rule.targets]
        own = [rule for rule in target.rules if rule not in serving]
        return cls(target, method, form, (*own, *serving))

    @property
    def to(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def strategy(self) -> Strategy:
        """How the target chooses among the rules."""
        return FIRST_RULE if self.target.strategy is None else self.target.strategy

    @cached_property
    def rules(self) -> Sequence[Rule]:
        """The rules that serve the target and that the method admits."""
        if self.method == "exact":
            return [rule for rule in self.target_rules if rule.promise is Promise.EXACT]
        if self.method == "copy":
            return [rule for rule in self.target_rules if rule.verbatim]
        return self.target_rules

    @property
    def weighs_bars(self) -> bool:
        """Whether the strategy itself weighs why a call could not be swapped alike elsewhere."""
        return self.strategy.weighs_bars

    def rounds(self) -> list[Sequence[Rule]]:
        """Return the admitted rules to ask until nothing changes, then those to ask besides."""
        return self.strategy.rounds(self.rules)

    def in_form(self, rules: Sequence[Rule], form: str | None) -> Sequence[Rule]:
        """Return the rules that put a form in place.

        Args:
            rules: Some of the admitted rules.
            form: The form; None for the one that was asked for. `KEEP_FORM` leaves exact rules.
        """
        if form == KEEP_FORM:
            return [rule for rule in rules if rule.promise is Promise.EXACT]
        # Most rules have no form: they are asked whichever is wanted.
        wanted = self.form if form is None else form
        return [rule for rule in rules if rule.form in ("", wanted)]

    def concerns(self, graph: Graph, call: Call) -> bool:
        """Tell whether the target is about a call."""
        if self.target.concerns is not None:
            return self.target.concerns(graph, call)
        return any(rule.anchors(call) for rule in self.target_rules)

    def site_layers(self, graph: Graph, call: Call) -> tuple[Call, ...]:
        """Return the calls that a kept call is reported with."""
        return self.target.site_layers(graph, call)

    def why_not(self, call: Call) -> str:
        """Say why a downsampling call is none that the target is about."""
        return self.target.why_not(self.to, call)
