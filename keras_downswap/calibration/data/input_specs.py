"""From what one batch of a source is to checked arrays, one per input of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.errors import BadData
from keras_downswap.ir.types import Array

Batch = list[Array]


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: Its name.
        shape: Its shape, with the batch axis first.
        dtype: The name of its dtype.
        place: The keys and indices that lead to it in the structure of inputs that the model was
            made with.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    place: tuple[Any, ...] = ()


def matched(element: Any, feeds: Sequence[InputSpec], where: str) -> Batch:
    """Return the arrays of a batch in the order of the feeds, their shapes checked; `where` names the batch.

    Raises:
        BadData: If inputs are missing, too many or unknown, are no arrays, or do not have the
            shapes of the feeds.
    """
    batch = [
        _array(v, feed, where)
        for v, feed in zip(_inputs(element, feeds, where), feeds, strict=True)
    ]
    counts = {feed.name: len(array) for feed, array in zip(feeds, batch, strict=True)}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of '{name}'" for name, count in counts.items())
        raise BadData(
            f"{where}: expected as many samples of each input; received {told}: pair them up"
        )
    return batch


def placed(element: Any, feeds: Sequence[InputSpec]) -> list[Any] | None:
    """Return the values of the inputs where the model's own structure has them; None where that is another one."""
    found = []
    for feed in feeds:
        value = element
        for key in feed.place:
            keys = (
                value
                if isinstance(value, Mapping)
                else range(len(value))
                if _is_container(value)
                else ()
            )
            if key not in keys:
                return None
            value = value[key]
        found.append(value)
    return None if any(map(_is_container, found)) or _leaves(element) != len(feeds) else found


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping))


def _leaves(element: Any) -> int:
    parts = element.values() if isinstance(element, Mapping) else element
    return sum(map(_leaves, parts)) if _is_container(element) else 1


def ready(
    batch: Batch, feeds: Sequence[InputSpec], rows: Sequence[int] | Array, where: str
) -> Batch:
    """Cast matched arrays to the dtypes of the feeds; `rows` tells which samples of the source they are.

    Raises:
        BadData: If a number is not finite, before the cast or after it.
    """
    return [_cast(array, feed, rows, where) for array, feed in zip(batch, feeds, strict=True)]


def unlabelled(element: Any, where: str) -> Any:
    """Return the inputs of `(inputs, labels, weights)`, `(inputs, labels)` or `(inputs,)`; anything else itself.

    Raises:
        BadData: If a tuple is of another length.
    """
    if not isinstance(element, tuple):
        return element
    if not 1 <= len(element) <= 3:
        raise BadData(
            f"{where}: expected a tuple of inputs, labels and sample weights; received one of {len(element)} entries: "
            f"put several inputs into a list or a dict"
        )
    return element[0]


def _inputs(element: Any, feeds: Sequence[InputSpec], where: str) -> list[Any]:
    found = unlabelled(element, where)
    names = [feed.name for feed in feeds]
    structured = placed(found, feeds)
    if structured is not None:
        return structured
    if isinstance(found, Mapping):
        if len(found) == len(feeds) == 1:
            return list(found.values())
        if set(found) != set(names):
            wanted, given = ", ".join(names), ", ".join(map(str, found)) or "none"
            raise BadData(
                f"{where}: expected the inputs {wanted}; received {given}: name the arrays like the inputs"
            )
        return [found[name] for name in names]
    values = list(found) if isinstance(found, (list, tuple)) else [found]
    if len(values) != len(feeds):
        note = (
            " (the first entry of a tuple is the inputs, the rest labels)"
            if isinstance(element, tuple)
            else ""
        )
        raise BadData(
            f"{where}: expected {len(feeds)} input{'s'[: len(feeds) != 1]} ({', '.join(names)}); received "
            f"{len(values)}{note}: give a list of one array per input, or a dict by input name"
        )
    return values


def _array(value: Any, feed: InputSpec, where: str) -> Array:
    name = f"{where}: input '{feed.name}'"
    try:
        array = np.asarray(value)
    except Exception as error:  # an array protocol may raise anything
        raise BadData(
            f"{name}: expected an array; received {type(value).__name__}, which NumPy cannot read "
            f"({type(error).__name__}: {error}): give a NumPy array"
        ) from error
    if not _castable(array.dtype, feed.dtype):
        fix = (
            "make ragged or sparse data dense, and texts numbers"
            if array.dtype.kind in "OSU"
            else "convert it"
        )
        raise BadData(
            f"{name}: expected {feed.dtype}; received {type(value).__name__} of dtype {array.dtype}: {fix}"
        )
    if not _fits(array.shape, feed.shape):
        raise BadData(
            f"{name}: expected shape {feed.shape}; received {array.shape}: {_advice(array.shape, feed)}"
        )
    return array


def _castable(given: np.dtype[Any], wanted: str) -> bool:
    """Tell whether values may be cast: numbers to numbers that are not complex unless wanted so, strings not at all."""
    if wanted == "string":
        return given.kind in "OSU"
    return given.kind in "biu" or (
        _is_float(given) and (given.kind != "c" or wanted.startswith("complex"))
    )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Tell whether all lengths but the first are the wanted ones."""
    return len(shape) == len(wanted) and all(
        b in (None, a) for a, b in zip(shape[1:], wanted[1:], strict=True)
    )


def _advice(shape: tuple[int, ...], feed: InputSpec) -> str:
    if _fits((1, *shape), feed.shape):
        return "the batch axis is missing; batch the samples first (of a tf.data.Dataset, with `.batch(32)`)"
    if len(shape) == len(feed.shape):
        return "resize the samples to what the model takes"
    return "reshape the data, with the samples along the first axis"


def _cast(array: Array, feed: InputSpec, rows: Sequence[int] | Array, where: str) -> Array:
    if feed.dtype == "string":
        return array
    _check_finite(array, feed, rows, where)
    with np.errstate(over="ignore"):
        cast = array.astype(np.dtype(feed.dtype), copy=False)
    _check_finite(cast, feed, rows, where)
    return cast


def _check_finite(array: Array, feed: InputSpec, rows: Sequence[int] | Array, where: str) -> None:
    if not _is_float(array.dtype):
        return
    finite = np.isfinite(array)
    if not finite.all():
        row = int(rows[int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))])
        raise BadData(
            f"{where}: input '{feed.name}': expected numbers that are finite in {feed.dtype}; received NaN or "
            f"infinity, first in sample index {row}: leave such samples out"
        )


def _is_float(dtype: np.dtype[Any]) -> bool:
    """Tell a float or complex number, also one of the package ml_dtypes (bfloat16), which is no float to NumPy."""
    return dtype.kind in "fc" or "float" in dtype.name
