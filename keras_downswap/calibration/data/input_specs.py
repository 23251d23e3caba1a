"""From one batch of a source to checked arrays, one for each input of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.errors import BadData
from keras_downswap.ir.types import Array

Batch = list[Array]
"""One array for each input of a model, samples first."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: Its name.
        shape: Its shape, with the batch axis first.
        dtype: The name of its dtype.
        path: The keys and indices that lead to it in the structure of inputs that the model was
            built with.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    path: tuple[Any, ...] = ()


def align_to_inputs(element: Any, specs: Sequence[InputSpec], where: str) -> Batch:
    """Return the arrays of a batch in the order of the model's inputs, their shapes checked.

    Args:
        element: What the source gave.
        specs: The inputs.
        where: What messages call the batch.

    Raises:
        BadData: If inputs are missing, too many or unknown, are no arrays, or do not have the
            shapes of the model's.
    """
    values = _input_values(element, specs, where)
    batch = []
    for value, spec in zip(values, specs, strict=True):
        batch.append(_checked_array(value, spec, where))
    counts = [len(array) for array in batch]
    if len(set(counts)) > 1:
        pairs = zip(specs, counts, strict=True)
        received = ", ".join(f"{count} of '{spec.name}'" for spec, count in pairs)
        raise BadData(
            f"{where}: expected as many samples of each input; received {received}: pair them up"
        )
    return batch


def by_structure(element: Any, specs: Sequence[InputSpec]) -> list[Any] | None:
    """Return the values that stand where the model's own structure has its inputs.

    None where the element is structured in another way.
    """
    found = []
    for spec in specs:
        value = element
        for key in spec.path:
            if not _has_key(value, key):
                return None
            value = value[key]
        if _is_container(value):
            return None
        found.append(value)
    return found if _count_leaves(element) == len(specs) else None


def _has_key(container: Any, key: Any) -> bool:
    if isinstance(container, Mapping):
        return key in container
    return _is_container(container) and key in range(len(container))


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping))


def _count_leaves(element: Any) -> int:
    if not _is_container(element):
        return 1
    parts = element.values() if isinstance(element, Mapping) else element
    return sum(_count_leaves(part) for part in parts)


def cast_batch(
    batch: Batch, specs: Sequence[InputSpec], rows: Sequence[int] | Array, where: str
) -> Batch:
    """Cast aligned arrays to the dtypes of the inputs.

    Args:
        batch: The arrays.
        specs: The inputs.
        rows: Which samples of the source they are.
        where: What messages call the batch.

    Raises:
        BadData: If a number is not finite, before the cast or after it.
    """
    return [_cast(array, spec, rows, where) for array, spec in zip(batch, specs, strict=True)]


def without_labels(element: Any, where: str) -> Any:
    """Return the inputs of a tuple of inputs, labels and weights; anything else itself.

    Raises:
        BadData: If a tuple has not one, two or three entries.
    """
    if not isinstance(element, tuple):
        return element
    if not 1 <= len(element) <= 3:
        raise BadData(
            f"{where}: expected a tuple of inputs, labels and sample weights; received one of "
            f"{len(element)} entries: put several inputs into a list or a dict"
        )
    return element[0]


def _input_values(element: Any, specs: Sequence[InputSpec], where: str) -> list[Any]:
    """Return the value of each input, found by structure, by name or by order."""
    inputs = without_labels(element, where)
    structured = by_structure(inputs, specs)
    if structured is not None:
        return structured
    if isinstance(inputs, Mapping):
        return _by_name(inputs, specs, where)
    values = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if len(values) == len(specs):
        return values
    noun = "input" if len(specs) == 1 else "inputs"
    names = ", ".join(spec.name for spec in specs)
    note = ""
    if isinstance(element, tuple):
        note = " (the first entry of a tuple is the inputs, the rest labels)"
    raise BadData(
        f"{where}: expected {len(specs)} {noun} ({names}); received {len(values)}{note}: "
        "give a list of one array per input, or a dict by input name"
    )


def _by_name(inputs: Mapping[Any, Any], specs: Sequence[InputSpec], where: str) -> list[Any]:
    if len(inputs) == len(specs) == 1:
        return list(inputs.values())
    names = [spec.name for spec in specs]
    if set(inputs) != set(names):
        received = ", ".join(map(str, inputs)) or "none"
        raise BadData(
            f"{where}: expected the inputs {', '.join(names)}; received {received}: "
            "name the arrays like the inputs"
        )
    return [inputs[name] for name in names]


def _checked_array(value: Any, spec: InputSpec, where: str) -> Array:
    name = f"{where}: input '{spec.name}'"
    try:
        array = np.asarray(value)
    except Exception as error:  # an array protocol may raise anything
        raise BadData(
            f"{name}: expected an array; received {type(value).__name__}, which NumPy cannot read "
            f"({type(error).__name__}: {error}): give a NumPy array"
        ) from error
    if not _castable(array.dtype, spec.dtype):
        advice = "convert it"
        if array.dtype.kind in "OSU":
            advice = "convert ragged or sparse data to dense arrays, and texts to numbers"
        raise BadData(
            f"{name}: expected {spec.dtype}; received {type(value).__name__} of dtype "
            f"{array.dtype}: {advice}"
        )
    if not _has_shape(array.shape, spec.shape):
        advice = _advice_on_shape(array.shape, spec)
        raise BadData(f"{name}: expected shape {spec.shape}; received {array.shape}: {advice}")
    return array


def _castable(given: np.dtype[Any], wanted: str) -> bool:
    """Tell whether values may be cast.

    Numbers to numbers, but complex ones only where complex ones are wanted; strings to strings.
    """
    if wanted == "string":
        return given.kind in "OSU"
    if given.kind == "c":
        return wanted.startswith("complex")
    return given.kind in "biu" or _is_float(given)


def _has_shape(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Tell whether all lengths but the first are the wanted ones."""
    if len(shape) != len(wanted):
        return False
    pairs = zip(shape[1:], wanted[1:], strict=True)
    return all(expected in (None, length) for length, expected in pairs)


def _advice_on_shape(shape: tuple[int, ...], spec: InputSpec) -> str:
    if _has_shape((1, *shape), spec.shape):
        return (
            "the batch axis is missing; batch the samples first "
            "(of a tf.data.Dataset, with `.batch(32)`)"
        )
    if len(shape) == len(spec.shape):
        return "resize the samples to the shape of the input"
    return "reshape the data, with the samples along the first axis"


def _cast(array: Array, spec: InputSpec, rows: Sequence[int] | Array, where: str) -> Array:
    if spec.dtype == "string":
        return array
    _check_finite(array, spec, rows, where)
    # What overflows becomes infinite, which the second check reports in this package's words.
    with np.errstate(over="ignore"):
        cast = array.astype(np.dtype(spec.dtype), copy=False)
    _check_finite(cast, spec, rows, where)
    return cast


def _check_finite(array: Array, spec: InputSpec, rows: Sequence[int] | Array, where: str) -> None:
    if not _is_float(array.dtype):
        return
    finite = np.isfinite(array)
    if finite.all():
        return
    is_sample_finite = finite.reshape(len(finite), -1).all(axis=1)
    first = int(np.argmin(is_sample_finite))
    raise BadData(
        f"{where}: input '{spec.name}': expected numbers that are finite in {spec.dtype}; received "
        f"NaN or infinity, first in sample index {int(rows[first])}: leave such samples out"
    )


def _is_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is of floating-point or complex numbers.

    To NumPy bfloat16 and the other types of the package ml_dtypes are no floats.
    """
    return dtype.kind in "fc" or "float" in dtype.name
