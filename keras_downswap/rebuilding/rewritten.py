"""A new model before it is verified, and what verification must know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from keras_downswap.planning.shared_layers import CallRef


@dataclass
class Rewritten:
    """A new model, and which of its layers succeeds which old one.

    Attributes:
        model: The new model.
        layers: New layer by the number of the old one; replaced and removed layers are absent.
        made: For each replaced call (scope, index), the layers called in its place, in order.
        tensors: New symbolic tensor by (scope, number of the old one), for tensors that survive.
        sharing: Numbers of layers that could only be shared with the original.
        notes: What a user must know of layers that could not be copied.
        untied: Names of swapped layers to whose old weights something else in the new model still
            refers.
    """

    model: Any = None
    layers: dict[int, Any] = field(default_factory=dict)
    made: dict[CallRef, list[Any]] = field(default_factory=dict)
    tensors: dict[tuple[int, int], Any] = field(default_factory=dict)
    sharing: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)
