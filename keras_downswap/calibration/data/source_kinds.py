"""Which kinds of Python objects data may be, told apart without importing any framework."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from keras_downswap.calibration.data.input_specs import InputSpec, placed
from keras_downswap.errors import BadData


def is_whole(source: Any, feeds: Sequence[InputSpec]) -> bool:
    """Tell whether a source is all the data of a model's inputs, rather than batches of it."""
    if isinstance(source, list):
        if len(feeds) == 1:
            return len(source) == 1 and _is_array(source[0])
        return placed(source, feeds) is not None or any(map(_is_array, source))
    return isinstance(source, Mapping) or _is_array(source)


def is_one_shot(source: Any) -> bool:
    """Tell whether a source is an iterator, which can be read only once."""
    return opener(source) is iter and iter(source) is source


def opener(source: Any) -> Callable[[Any], Iterator[Any]]:
    """Return the function that turns a source into an iterator over its batches, from the first.

    Raises:
        BadData: If the source is of no known kind.
    """
    kind = type(source)
    if hasattr(source, "as_numpy_iterator") and hasattr(source, "element_spec"):
        return kind.as_numpy_iterator  # type: ignore[no-any-return]
    if isinstance(source, Mapping) or _is_array(source):
        return _alone
    if not isinstance(source, (str, bytes, PathLike)):
        if hasattr(kind, "__getitem__") and (
            hasattr(kind, "__len__") or hasattr(kind, "num_batches")
        ):
            return _by_index
        if hasattr(kind, "__iter__"):
            return iter
        if callable(source):
            return _called
    raise BadData(
        f"expected an array, a list or dict of arrays, a batched tf.data.Dataset, a Sequence or PyDataset, another "
        f"iterable of batches, or a callable that returns one; received {kind.__name__}: load the data first"
    )


def _alone(source: Any) -> Iterator[Any]:
    yield source


def _by_index(source: Any) -> Iterator[Any]:
    """Yield the batches of a Sequence or PyDataset; one whose `num_batches` is None never ends."""
    count = len(source) if hasattr(type(source), "__len__") else source.num_batches
    return (source[index] for index in (itertools.count() if count is None else range(count)))


def _called(source: Any) -> Iterator[Any]:
    found = source()
    return opener(found)(found)


def _is_array(value: Any) -> bool:
    return hasattr(type(value), "__array__")
