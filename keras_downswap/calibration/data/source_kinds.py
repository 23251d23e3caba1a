"""Which kinds of Python objects data may be, distinguished without importing any framework."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from keras_downswap.calibration.data.input_specs import InputSpec, by_structure
from keras_downswap.errors import BadData


def is_whole(source: Any, specs: Sequence[InputSpec]) -> bool:
    """Tell whether a source is all the data of a model's inputs, rather than batches of it."""
    if not isinstance(source, list):
        return isinstance(source, Mapping) or _is_array(source)
    if len(specs) == 1:
        # A list of several arrays is batches; of one it is the list of inputs, as Keras has it.
        return len(source) == 1 and _is_array(source[0])
    return by_structure(source, specs) is not None or any(map(_is_array, source))


def is_one_shot(source: Any) -> bool:
    """Tell whether a source is an iterator, which can be read only once."""
    return batch_iterator_for(source) is iter and iter(source) is source


def batch_iterator_for(source: Any) -> Callable[[Any], Iterator[Any]]:
    """Return the function that turns a source into an iterator over its batches, from the first.

    Raises:
        BadData: If the source is of no known kind.
    """
    # Python looks special methods up on the class, so an attribute of the object does not count.
    kind = type(source)
    if hasattr(source, "as_numpy_iterator") and hasattr(source, "element_spec"):
        return kind.as_numpy_iterator  # type: ignore[no-any-return]
    if isinstance(source, Mapping) or _is_array(source):
        return _single_batch
    if not isinstance(source, (str, bytes, PathLike)):
        has_length = hasattr(kind, "__len__") or hasattr(kind, "num_batches")
        if hasattr(kind, "__getitem__") and has_length:
            return _by_index
        if hasattr(kind, "__iter__"):
            return iter
        if callable(source):
            return _called
    raise BadData(
        "expected an array, a list or dict of arrays, a batched tf.data.Dataset, a Sequence or "
        "PyDataset, another iterable of batches, or a callable that returns one; received "
        f"{kind.__name__}: load the data first"
    )


def _single_batch(source: Any) -> Iterator[Any]:
    yield source


def _by_index(source: Any) -> Iterator[Any]:
    """Yield the batches of a Sequence or PyDataset; one whose `num_batches` is None never ends."""
    # Not by iteration: a PyDataset of Keras has none.
    count = len(source) if hasattr(type(source), "__len__") else source.num_batches
    indices = itertools.count() if count is None else range(count)
    return (source[index] for index in indices)


def _called(source: Any) -> Iterator[Any]:
    batches = source()
    return batch_iterator_for(batches)(batches)


def _is_array(value: Any) -> bool:
    return hasattr(type(value), "__array__")
