"""Inputs without labels from any Python source: arrays given whole, or a stream of batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_downswap.calibration.data.input_specs import (
    Batch,
    InputSpec,
    align_to_inputs,
    cast_batch,
    without_labels,
)
from keras_downswap.calibration.data.source_kinds import batch_iterator_for, is_one_shot, is_whole
from keras_downswap.errors import BadData, BadRequest
from keras_downswap.ir.types import Array

ITERATOR_SAMPLES_MAX = 4096
"""How many samples are kept of an iterator, which can be read only once."""


class Data(ABC):
    """Samples for a model's inputs.

    Batches have one array for each input, in the order of the model's inputs, in its dtype.
    Whatever a batch of the source is, labels beside the inputs are ignored, as in Keras: a tuple is
    `(inputs, labels, weights)` or shorter. The length of an input's batch axis is not checked.

    Attributes:
        count: How many samples there are; None for a stream whose end was not seen.
    """

    count: int | None = None

    @classmethod
    def of(cls, source: Any, specs: Sequence[InputSpec]) -> Data:
        """Wrap an array, a list or mapping of arrays, or anything that yields batches of these.

        What is indexed or iterated over is read anew for each pass, and a callable without
        arguments called anew. Of an iterator at most `ITERATOR_SAMPLES_MAX` samples are read at
        once, and kept. A list is one array per input where the model has several inputs or the list
        one entry; else it is batches. A mapping is matched by input names.

        Raises:
            BadData: If the source is of no known kind, or if arrays given whole do not fit the
                inputs.
        """
        # A tuple of tuples is batches with labels, any other tuple inputs with labels.
        if isinstance(source, tuple) and source and not isinstance(source[0], tuple):
            source = without_labels(source, "the data")
        if is_whole(source, specs):
            return _ArrayData(specs, align_to_inputs(source, specs, "the data"))
        batch_iterator_for(source)  # refuses an unknown kind now, not at the first pass
        stream = _StreamData(specs, _Source(source))
        return _kept_in_memory(stream) if is_one_shot(source) else stream

    @abstractmethod
    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield all samples once, in batches of a size; the last may be smaller.

        With a seed, arrays are shuffled, by index. Streams keep their order, and a batch of theirs
        also ends where the samples change shape. The arrays may share memory with the source's:
        they are not to be written to.

        Raises:
            BadData: If there is nothing to yield, or a batch does not fit the inputs or is not
                finite.
        """

    @abstractmethod
    def split(
        self, fraction: float, at_most: int, seed: int, at_least: int = 1
    ) -> tuple[Data, Batch]:
        """Hold out a fraction of the samples; return the rest, and those.

        Of arrays they are drawn by the seed. Of a stream they are the first, which each later pass
        skips, so a stream should not be in another order on each pass; `at_most / fraction` samples
        of it are read to see how many there are.

        Args:
            fraction: The share to hold out, between 0 and 1.
            at_most: How many samples may be held out.
            seed: Of the choice.
            at_least: How many should be held out, as far as they are no more than a quarter.

        Raises:
            BadData: As `batches`, and if there are fewer than 2 samples.
        """

    def first(self, count: int, seed: int | None = None) -> Batch:
        """Return the first samples, at most so many, as one batch.

        With a seed, of arrays, they are any samples in any order.

        Raises:
            BadData: As `batches`.
        """
        first = next(self.batches(count, seed))
        return [np.array(array) for array in first]


class _ArrayData(Data):
    """Some samples of arrays that are given whole."""

    def __init__(
        self, specs: Sequence[InputSpec], arrays: Batch, rows: Array | None = None
    ) -> None:
        """Wrap arrays; `rows` are the samples of them that count, None for all."""
        self._specs = specs
        self._arrays = arrays
        self._rows = np.arange(len(arrays[0])) if rows is None else rows
        self.count = len(self._rows)
        if not self.count:
            raise BadData("the data is empty: give at least 2 samples")

    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        _check_positive(size=size)
        rows = self._rows
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        for start in range(0, len(rows), size):
            yield self._take(rows[start : start + size])

    def split(
        self, fraction: float, at_most: int, seed: int, at_least: int = 1
    ) -> tuple[Data, Batch]:
        count = _held_out_count(len(self._rows), fraction, at_most, at_least)
        rows = np.random.default_rng(seed).permutation(self._rows)
        held_out = self._take(np.sort(rows[:count]))
        rest = _ArrayData(self._specs, self._arrays, np.sort(rows[count:]))
        return rest, held_out

    def _take(self, rows: Array) -> Batch:
        # Cast only now: a copy of all arrays in another dtype may not fit into memory.
        batch = [array[rows] for array in self._arrays]
        return cast_batch(batch, self._specs, rows, "the data")


@dataclass
class _Source:
    """What a stream is read from; shared with what is split off.

    Attributes:
        value: The source.
        has_given: Whether it has ever given a sample.
    """

    value: Any
    has_given: bool = False


class _StreamData(Data):
    """Batches that are read anew for each pass, after the first samples are skipped."""

    def __init__(
        self,
        specs: Sequence[InputSpec],
        source: _Source,
        skipped: int = 0,
        count: int | None = None,
    ) -> None:
        """Wrap a source of which so many samples are skipped, and so many are left."""
        self._specs = specs
        self._source = source
        self._skipped = skipped
        self.count = count

    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        _check_positive(size=size)
        return _rebatched(self._read(), size)

    def split(
        self, fraction: float, at_most: int, seed: int, at_least: int = 1
    ) -> tuple[Data, Batch]:
        _held_out_count(2, fraction, at_most)  # refuses bad arguments before anything is read
        first: Batch = []
        seen = 0
        at_end = True
        for batch in self.batches(at_most):
            first = first or [np.array(array) for array in batch]
            seen += len(batch[0])
            # So many samples are enough to know that the fraction is `at_most` or more.
            if seen >= max(2, math.ceil(at_most / fraction)):
                at_end = False
                break
        # The first batch may be shorter than `at_most`, where the samples change shape after it.
        held_out = min(_held_out_count(seen, fraction, at_most, at_least), len(first[0]))
        count = seen - held_out if at_end else None
        rest = _StreamData(self._specs, self._source, self._skipped + held_out, count)
        return rest, [array[:held_out] for array in first]

    def _read(self) -> Iterator[Batch]:
        """Yield the batches of the source from the first sample that is not skipped."""
        seen = 0
        open_source = batch_iterator_for(self._source.value)
        for number, element in enumerate(open_source(self._source.value)):
            where = f"batch index {number} of the data"
            batch = align_to_inputs(element, self._specs, where)
            rows = range(seen, seen + len(batch[0]))
            seen = rows.stop
            self._source.has_given |= seen > 0
            start = max(0, self._skipped - rows.start)
            if start < len(rows):
                rest = [array[start:] for array in batch]
                yield cast_batch(rest, self._specs, rows[start:], where)
        if seen <= self._skipped:
            raise BadData(self._why_empty(seen))

    def _why_empty(self, seen: int) -> str:
        if not self._source.has_given:
            return "the data is empty: it gave no batch with a sample in it"
        held_out = ""
        if self._skipped:
            held_out = f", no more than the {self._skipped} that are held out"
        return (
            f"a later pass over the data gave {seen} samples{held_out}, though there were more "
            "before: the data must start anew on each pass; give a callable that returns a new "
            "iterator each time, or the iterator itself, of which up to "
            f"{ITERATOR_SAMPLES_MAX} samples are kept"
        )


def _kept_in_memory(stream: _StreamData) -> Data:
    """Read the first samples of a stream; they stay a stream where their shapes differ."""
    pieces: list[Batch] = []
    missing = ITERATOR_SAMPLES_MAX
    for batch in stream.batches(ITERATOR_SAMPLES_MAX):
        pieces.append([np.array(array[:missing]) for array in batch])
        missing -= len(pieces[-1][0])
        if not missing:
            break
    if len(pieces) == 1:
        return _ArrayData(stream._specs, pieces[0])
    return _StreamData(stream._specs, _Source(pieces))


def _rebatched(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yield the samples in batches of a size, shorter ones where the shape changes."""
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and sample_shapes(waiting[0]) != sample_shapes(batch):
            yield joined(waiting)
            waiting = []
        start = 0
        count = sum(len(part[0]) for part in waiting)
        while count + len(batch[0]) - start >= size:
            stop = start + size - count
            filled = joined([*waiting, [array[start:stop] for array in batch]])
            waiting, count = [], 0
            start = stop
            yield filled
        if start < len(batch[0]):
            # Copied, since a source may write its next batch into the same buffer.
            waiting.append([array[start:].copy() for array in batch])
    if waiting:
        yield joined(waiting)


def sample_shapes(batch: Batch) -> list[tuple[int, ...]]:
    """Return the shape of one sample of each input."""
    return [array.shape[1:] for array in batch]


def joined(parts: list[Batch]) -> Batch:
    """Return batches as a single one."""
    if len(parts) == 1:
        return parts[0]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _held_out_count(count: int, fraction: float, at_most: int, at_least: int = 1) -> int:
    """Return how many of so many samples are held out."""
    _check_positive(at_most=at_most)
    if not 0 < fraction < 1:
        raise BadRequest(f"expected a fraction between 0 and 1 to hold out; received {fraction}")
    if count < 2:
        raise BadData(
            "expected at least 2 samples, one to fit and one to hold out; "
            f"received {count}: give more data"
        )
    few = min(at_least, count // 4)
    wanted = max(1, int(count * fraction), few)
    return min(wanted, at_most)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise BadRequest(f"expected {name} to be at least 1; received {value}")
