"""Answers of rules that keep to the limits of a profile, kernels that are too small embedded in larger ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import Make, Replacement, Step
from keras_downswap.planning.candidates import Answer, Refusal, asked
from keras_downswap.planning.limits import Limits
from keras_downswap.planning.shapes import infer_shapes, settings_of
from keras_downswap.rulekit.kernel_padding import with_larger_kernel
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.rule import Refused, Rule, require
from keras_downswap.rules.kernel_into_larger import RULE as LARGER


def legal(
    bounds: Limits,
    graph: Graph,
    call: Call,
    rules: Sequence[Rule],
    verbatim: bool,
    refusals: list[Refusal],
) -> Iterator[Answer]:
    """Yield every answer whose layers are within the limits, or can be embedded in larger ones that are."""
    ways = [(rule, to) for rule in rules for to in sorted(rule.targets)]
    found = [one for rule, to in ways for one in asked(graph, call, [rule], to, refusals)]
    plain = call.role is Role.CONV and not any(isinstance(w.padding, tuple) for w in call.windows)
    if plain and call.obstacle is None:
        same = conv_layer(call, call.windows, call.windows[0].padding)
        found.append(Answer(LARGER, Replacement((call.index,), {call.index: (same,)})))
    for rule, replacement in found:
        for variant in (replacement, _with_means(replacement)):
            try:
                within = _within(bounds, graph, variant)
                require(not verbatim or within == variant, f"{call.label} needs a larger kernel")
                yield Answer(rule, within)
            except Refused as reason:
                refusals.append(Refusal(rule, reason))


def _with_means(answer: Replacement) -> Replacement:
    """Return an answer with average pools in the place of max pools of size 1, which are the same."""

    def turned(step: Step) -> Step:
        one = (
            isinstance(step, Make)
            and step.kind == "MaxPooling"
            and set(step.settings["pool_size"]) == {1}
        )
        return replace(step, kind="AveragePooling") if isinstance(step, Make) and one else step

    return replace(
        answer, steps={index: tuple(map(turned, steps)) for index, steps in answer.steps.items()}
    )


def _within(bounds: Limits, graph: Graph, answer: Replacement) -> Replacement:
    """Return an answer within limits, kernels that are too small embedded in larger ones.

    Raises:
        Refused: If some layer is beyond them for another reason.
    """
    steps: dict[int, tuple[Step, ...]] = dict.fromkeys(answer.steps, ())
    for stage in infer_shapes(graph, answer):
        if stage.call.index not in steps:
            continue
        layers: tuple[Step, ...] = (stage.step,)
        if isinstance(stage.step, Make) and stage.step.convolves:
            strided = any(stride > 1 for stride in stage.step.settings["strides"])
            layers = with_larger_kernel(
                stage.call, stage.step, stage.before.lengths, bounds.sizes(strided)
            )
        for layer in layers:
            breach = (
                bounds.breach_by(layer, stage.before.lengths, settings_of(stage.call, layer))
                if isinstance(layer, Make)
                else bounds.breach_of(stage.call, stage.before.lengths)
            )
            if breach:
                raise Refused(f"the exact form of {stage.call.label} is beyond it too: {breach}")
        steps[stage.call.index] += layers
    return replace(answer, steps=steps)
