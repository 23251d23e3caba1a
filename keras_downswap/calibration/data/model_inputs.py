"""What the inputs of a model are called, and their shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_downswap.calibration.data.input_specs import InputSpec
from keras_downswap.dialects.reading import Reading


def input_specs_of(model: Reading) -> list[InputSpec]:
    """Return the inputs of a model, in its order."""
    graph = model.graph
    structure, _ = model.dialect.boundary(model.model)
    paths = dict(_paths_of_leaves(structure))
    specs = []
    for tensor in graph.inputs:
        facts = graph.tensors[tensor]
        name = graph.calls[facts.producer].name
        live_tensor = model.scopes[0].tensors[tensor]
        path = paths.get(id(live_tensor), ())
        specs.append(InputSpec(name, facts.shape, facts.dtype, path))
    return specs


def _paths_of_leaves(
    structure: Any, path: tuple[Any, ...] = ()
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the identity of each leaf of a nested structure, and the keys that lead to it."""
    if isinstance(structure, Mapping):
        parts = list(structure.items())
    elif isinstance(structure, (list, tuple)):
        parts = list(enumerate(structure))
    else:
        yield id(structure), path
        return
    for key, part in parts:
        yield from _paths_of_leaves(part, (*path, key))
