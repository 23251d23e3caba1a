"""Models that no call leads to: a layer holds them in an attribute, a closure or an object."""

from __future__ import annotations

from typing import Any

from keras_downswap.dialects.base import Dialect
from keras_downswap.dialects.copying.deep_copy import EMPTIED, PLAIN, TRACKED
from keras_downswap.dialects.copying.introspection import parts_of

NOT_FOLLOWED = frozenset({*EMPTIED, *TRACKED, "_functional"})
"""Attributes of a layer that lead elsewhere, or where others lead too.

Nodes lead to calls in other models. The `_functional` of a Sequential model of Keras 3 is the graph
as which that model is read already; what is listed for saving names it among the other attributes.
"""


def models_held_by(dialect: Dialect, model: Any) -> list[Any]:
    """Return the models with a graph that can be reached from a model, itself left out.

    A copy of the model copies these too, so they belong to what is read of it. Followed are
    attributes, containers, closures and the user's own objects; of the Keras' own objects only
    layers, since others may lead to whatever else the process holds.
    """
    found = []
    seen: set[int] = set()
    to_visit = [model]
    while to_visit:
        value = to_visit.pop()
        if type(value) in PLAIN or id(value) in seen:
            continue
        seen.add(id(value))
        if dialect.is_layer(value):
            if dialect.has_graph(value) and value is not model:
                found.append(value)
            for key, held in vars(value).items():
                if key not in NOT_FOLLOWED:
                    to_visit.append(held)
        elif not (dialect.is_variable(value) or dialect.is_tensor(value)):
            to_visit.extend(parts_of(value))
    return found
