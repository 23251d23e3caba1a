"""The cheapest exact answer within the limits of a device's profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.graph import POOLS, Call, Graph, Role
from keras_downswap.ir.replacement import Make, MakeConv, MakePool, Replacement, Step
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.planning.candidates import Answer, Refusal, candidate_answers, reason_of
from keras_downswap.planning.limits import Limits
from keras_downswap.planning.shapes import LayerShape, conv_facts_of, infer_shapes
from keras_downswap.planning.targets.target import (
    Decision,
    Question,
    Strategy,
    Target,
    alone,
    saving,
)
from keras_downswap.rulekit.kernel_padding import with_larger_kernel
from keras_downswap.rulekit.rule import Refused, Rule, require


@dataclass(frozen=True)
class WithinLimits(Strategy):
    """Swaps what is beyond some limits by the exact answer that saves most and is within them.

    Attributes:
        to: The target's name, `profile:NAME`.
        limits: The limits.
        verbatim: Whether all weights must move unchanged.
    """

    to: str
    limits: Limits
    verbatim: bool

    weighs_bars = True

    def rounds(self, rules: Sequence[Rule]) -> list[Sequence[Rule]]:
        """Return all rules at once."""
        return [rules]

    def concerns(self, graph: Graph, call: Call) -> bool:
        """Tell whether a call is beyond the limits."""
        if not call.windows:
            return False
        return self.limits.breach_of(call, graph.sizes(call)) is not None

    def why_not(self, name: str, call: Call) -> str:
        """Say why a downsampling call may stay."""
        has_limits = call.role in POOLS or call.role is Role.CONV
        if call.windows and has_limits:
            return f"{call.label} is within {name}"
        stays = call.obstacle or "is of a kind that profiles set no limits on"
        return f"{call.label} {stays}"

    def decide(self, question: Question) -> Decision:
        """Choose the answer within the limits that saves most."""
        graph, call = question.graph, question.call
        refusals: list[Refusal] = []
        best: Answer | None = None
        most = (0, 0)
        for answer in self._answers(graph, call, question.rules, refusals):
            barred = question.bar(answer.replacement)
            if barred is not None:
                refusals.append(Refusal(answer.rule, Refused(barred)))
                continue
            saved = saving(graph, answer.replacement)
            # The call has to go, even where that costs more. Of equals the first is used.
            if best is None or saved > most:
                best = answer
                most = saved
        breach = self.limits.breach_of(call, graph.sizes(call))
        reason = f"{call.label} exceeds {self.to}: {breach}; {reason_of(refusals)}"
        return Decision(best, reason)

    def _answers(
        self, graph: Graph, call: Call, rules: Sequence[Rule], refusals: list[Refusal]
    ) -> Iterator[Answer]:
        """Yield every answer whose layers are within the limits, or can be enlarged to be."""
        found: list[Answer] = []
        for rule in rules:
            # A rule answers for each of its targets, and any of the answers may be within limits.
            for to in sorted(rule.targets):
                found += candidate_answers(graph, call, [rule], to, refusals)
        found += self._same_layers(graph, call, rules, refusals)
        for rule, replacement in found:
            # A device may accept no max pools, and a max pool of size 1 only picks cells.
            for variant in (replacement, _with_means(replacement)):
                try:
                    within = self._fitted(graph, variant)
                    unchanged = not self.verbatim or within == variant
                    require(unchanged, f"{call.label} needs a larger kernel")
                except Refused as reason:
                    refusals.append(Refusal(rule, reason))
                    continue
                yield Answer(rule, within)

    def _same_layers(
        self, graph: Graph, call: Call, rules: Sequence[Rule], refusals: list[Refusal]
    ) -> Iterator[Answer]:
        """Yield the call itself as the answer of rules that enlarge kernels."""
        for rule in rules:
            if rule.enlarge is None or call.role is not Role.CONV:
                continue
            try:
                yield Answer(rule, rule.enlarge(graph, call))
            except Refused as reason:
                refusals.append(Refusal(rule, reason))

    def _fitted(self, graph: Graph, answer: Replacement) -> Replacement:
        """Return an answer within the limits, kernels that are too small enlarged.

        Raises:
            Refused: If some layer is beyond them for another reason.
        """
        steps: dict[int, tuple[Step, ...]] = dict.fromkeys(answer.steps, ())
        for shape in infer_shapes(graph, answer):
            # A call that stays is not for this swap to bring within the limits.
            index = shape.call.index
            if index not in steps:
                continue
            layers = self._enlarged(shape)
            for layer in layers:
                breach = self._breach(shape, layer)
                if breach:
                    beyond = f"the exact form of {shape.call.label} exceeds it too"
                    raise Refused(f"{beyond}: {breach}")
            steps[index] += layers
        return replace(answer, steps=steps)

    def _enlarged(self, shape: LayerShape) -> tuple[Step, ...]:
        if not isinstance(shape.step, MakeConv):
            return (shape.step,)
        sizes = self.limits.sizes(shape.step.strided)
        return with_larger_kernel(shape.call, shape.step, shape.before.lengths, sizes)

    def _breach(self, shape: LayerShape, layer: Step) -> str | None:
        lengths = shape.before.lengths
        if isinstance(layer, Make):
            facts = conv_facts_of(shape.call, layer)
            return self.limits.breach_by(layer, lengths, facts)
        return self.limits.breach_of(shape.call, lengths)


def _with_means(answer: Replacement) -> Replacement:
    """Return an answer with average pools instead of max pools of size 1, which are the same."""
    steps: dict[int, tuple[Step, ...]] = {}
    for index, layers in answer.steps.items():
        steps[index] = tuple(_mean_of_one(layer) for layer in layers)
    return replace(answer, steps=steps)


def _mean_of_one(layer: Step) -> Step:
    if not isinstance(layer, MakePool) or layer.kind is not LayerKind.MAX_POOLING:
        return layer
    single_cells = all(window.size == 1 for window in layer.axes)
    return replace(layer, kind=LayerKind.AVERAGE_POOLING) if single_cells else layer


def profile_target(to: str, limits: Limits, verbatim: bool) -> Target:
    """Return the target that a profile is."""
    strategy = WithinLimits(to, limits, verbatim)
    return Target(
        to,
        strategy=strategy,
        concerns=strategy.concerns,
        site_layers=_convs_of_pools,
        why_not=strategy.why_not,
    )


def _convs_of_pools(graph: Graph, call: Call) -> tuple[Call, ...]:
    """Return a pool with its convolutions, which exact rules need; a convolution alone."""
    is_pool = call.role in POOLS or call.role is Role.GLOBAL_POOL
    return convs_upstream(graph, call) if is_pool else alone(graph, call)
