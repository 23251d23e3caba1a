"""Says in what a model differs from the one that a plan was made for."""

from __future__ import annotations

from dataclasses import fields

from keras_downswap.ir.graph import Call, Graph


def difference(planned: Graph, given: Graph) -> str | None:
    """Return the first difference in words; None where a plan for the one fits the other.

    The names of models do not count: no site refers to them.
    """
    if len(planned.calls) != len(given.calls):
        return f"expected {len(planned.calls)} calls of layers, received {len(given.calls)}"
    for expected, received in zip(planned.calls, given.calls, strict=True):
        different = _difference_of_calls(expected, received)
        if different is not None:
            return different
    for expected_tensor, received_tensor in zip(planned.tensors, given.tensors, strict=True):
        if expected_tensor != received_tensor:
            producer = planned.calls[expected_tensor.producer]
            return (
                f"the output of {producer.label} was {expected_tensor.shape} "
                f"{expected_tensor.dtype}, received {received_tensor.shape} {received_tensor.dtype}"
            )
    if (planned.inputs, planned.outputs) != (given.inputs, given.outputs):
        return "its inputs or outputs are other tensors"
    return None


def _difference_of_calls(expected: Call, received: Call) -> str | None:
    if (expected.class_name, expected.name) != (received.class_name, received.name):
        return f"expected {expected.label}, received {received.label}"
    for part in fields(Call):
        before = getattr(expected, part.name)
        now = getattr(received, part.name)
        if part.name == "nested_graph" and before is not None and now is not None:
            inside = difference(before, now)
            if inside is not None:
                return f"in {expected.label}, {inside}"
        elif before != now:
            return f"{part.name} of {expected.label} was {before}, received {now}"
    return None
