"""Asks a rule about a call, and holds its answer to what the engine can carry out."""

from __future__ import annotations

from keras_downswap.errors import BrokenPromise, DownswapError
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import KEEP, Make, Replacement
from keras_downswap.planning.shapes import infer_shapes
from keras_downswap.rulekit.rule import Refused, Rule


def answer_of(rule: Rule, graph: Graph, call: Call, to: str) -> Replacement:
    """Return what a rule answers about a call.

    Raises:
        Refused: If the rule refuses the call.
        BrokenPromise: If the rule fails, or its answer is none that can be carried out.
    """
    try:
        answer = rule.ask(graph, call, to)
    except (Refused, DownswapError):
        raise
    # A rule may be a user's own, with a mistake of any kind: the error names rule and call.
    except Exception as error:
        raise _broken(rule, call, "an answer or a refusal", _words(error)) from error
    _check(rule, graph, call, answer)
    # Steps that cannot follow each other are found here, before anything is built of them.
    try:
        infer_shapes(graph, answer)
    except Exception as error:
        raise _broken(rule, call, "layers that can follow each other", _words(error)) from error
    return answer


def _check(rule: Rule, graph: Graph, call: Call, answer: Replacement) -> None:
    """Check that an answer is about calls of the graph, and made of steps."""
    if not isinstance(answer, Replacement):
        raise _broken(rule, call, "a Replacement", repr(answer))
    for index in answer.chain:
        if index not in range(len(graph.calls)):
            expected = f"a chain of calls of the graph, by indices below {len(graph.calls)}"
            raise _broken(rule, call, expected, str(answer.chain))
    for index, steps in answer.steps.items():
        if index not in answer.chain:
            expected = f"steps for calls of its chain {answer.chain}"
            raise _broken(rule, call, expected, f"steps for call {index}")
        for step in steps:
            if step is not KEEP and not isinstance(step, Make):
                raise _broken(rule, call, "steps that are a Make or KEEP", repr(step))
        removed = graph.calls[index]
        # Whoever read the output of a removed call reads its input: there must be one of each.
        has_both = removed.inputs and len(removed.outputs) == 1
        if not steps and not has_both:
            expected = "a call of one output where nothing is called in its place"
            raise _broken(rule, call, expected, f"no steps for {removed.label}")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _broken(rule: Rule, call: Call, expected: str, received: str) -> BrokenPromise:
    return BrokenPromise(
        f"the rule {rule.name} broke its promise at {call.label}: expected {expected}, "
        f"received {received}. Nothing was returned or written; please correct the rule where it "
        "is your own."
    )
