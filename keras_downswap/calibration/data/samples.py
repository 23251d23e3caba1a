"""Inputs without labels from any kind of Python source: arrays given whole, or a stream of batches."""

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
    matched,
    ready,
    unlabelled,
)
from keras_downswap.calibration.data.source_kinds import is_one_shot, is_whole, opener
from keras_downswap.errors import BadData, BadRequest
from keras_downswap.ir.types import Array

__all__ = ["ONE_SHOT", "Batch", "Data", "InputSpec"]

ONE_SHOT = 4096
"""How many samples are kept of an iterator, which can be read only once."""


class Data(ABC):
    """Samples for a model's inputs. Batches have one array per input, in the order of `feeds`, in its dtype.

    Whatever a batch of the source is, labels beside the inputs are ignored, as in Keras: a tuple is
    `(inputs, labels, weights)` or shorter. The length of a feed's batch axis is not checked.

    Attributes:
        count: How many samples there are; None for a stream whose end was not seen.
    """

    count: int | None = None

    @classmethod
    def of(cls, source: Any, feeds: Sequence[InputSpec]) -> Data:
        """Wrap an array, a list or mapping of arrays, or anything that yields batches of these.

        What is indexed or iterated over is read anew for each pass, and a callable without
        arguments called anew. Of an iterator at most `ONE_SHOT` samples are read at once, and kept.
        A list is one array per input where the model has several inputs or the list one entry; else
        it is batches. A mapping is matched by input names.

        Raises:
            BadData: If the source is of no known kind, or if arrays given whole do not fit the
                feeds.
        """
        if isinstance(source, tuple) and source and not isinstance(source[0], tuple):
            source = unlabelled(source, "the data")
        if is_whole(source, feeds):
            return _Arrays(feeds, matched(source, feeds, "the data"))
        opener(source)
        stream = _Stream(feeds, _Source(source))
        return _kept(stream) if is_one_shot(source) else stream

    @abstractmethod
    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield all samples once, in batches of a size; the last may be smaller.

        With a seed, arrays are shuffled, by index. Streams keep their order, and a batch of theirs
        also ends where the samples change shape. The arrays may share memory with the source's:
        they are not to be written to.

        Raises:
            BadData: If there is nothing to yield, or a batch does not fit the feeds or is not
                finite.
        """

    @abstractmethod
    def split(self, fraction: float, most: int, seed: int, least: int = 1) -> tuple[Data, Batch]:
        """Hold out a fraction of the samples, but at least 1 and at most `most`; return the rest, and those.

        Where the fraction is fewer than `least`, these are held out, as far as they are no more
        than a quarter. Of arrays they are drawn by the seed. Of a stream they are the first, which
        each later pass skips, so a stream should not be in another order on each pass; `most /
        fraction` samples of it are read to see how many there are.

        Raises:
            BadData: As `batches`, and if there are fewer than 2 samples.
        """

    def first(self, count: int, seed: int | None = None) -> Batch:
        """Return the first samples, at most `count`, as one batch; with a seed, of arrays, any, in any order.

        Raises:
            BadData: As `batches`.
        """
        return [np.array(array) for array in next(self.batches(count, seed))]


class _Arrays(Data):
    """Some rows of arrays that are given whole."""

    def __init__(
        self, feeds: Sequence[InputSpec], arrays: Batch, rows: Array | None = None
    ) -> None:
        self._feeds, self._arrays = feeds, arrays
        self._rows = np.arange(len(arrays[0])) if rows is None else rows
        self.count = len(self._rows)
        if not self.count:
            raise BadData("the data is empty: give at least 2 samples")

    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        _check_positive(size=size)
        rows = self._rows if seed is None else np.random.default_rng(seed).permutation(self._rows)
        for start in range(0, len(rows), size):
            yield self._take(rows[start : start + size])

    def split(self, fraction: float, most: int, seed: int, least: int = 1) -> tuple[Data, Batch]:
        held = _held_out(len(self._rows), fraction, most, least)
        rows = np.random.default_rng(seed).permutation(self._rows)
        return _Arrays(self._feeds, self._arrays, np.sort(rows[held:])), self._take(
            np.sort(rows[:held])
        )

    def _take(self, rows: Array) -> Batch:
        return ready([array[rows] for array in self._arrays], self._feeds, rows, "the data")


@dataclass
class _Source:
    """What a stream is read from, and whether it has ever given a sample; shared with what is split off."""

    value: Any
    gave: bool = False


class _Stream(Data):
    """Batches that are read anew for each pass, after the first samples are skipped."""

    def __init__(
        self,
        feeds: Sequence[InputSpec],
        source: _Source,
        skipped: int = 0,
        count: int | None = None,
    ) -> None:
        self._feeds, self._source, self._skipped, self.count = feeds, source, skipped, count

    def batches(self, size: int, seed: int | None = None) -> Iterator[Batch]:
        _check_positive(size=size)
        return _rebatched(self._read(), size)

    def split(self, fraction: float, most: int, seed: int, least: int = 1) -> tuple[Data, Batch]:
        _held_out(2, fraction, most)
        first: Batch = []
        seen = 0
        for batch in self.batches(most):
            first = first or [np.array(array) for array in batch]
            seen += len(batch[0])
            if seen >= max(2, math.ceil(most / fraction)):
                whole = False
                break
        else:
            whole = True
        held = min(_held_out(seen, fraction, most, least), len(first[0]))
        count = seen - held if whole else None
        return _Stream(self._feeds, self._source, self._skipped + held, count), [
            array[:held] for array in first
        ]

    def _read(self) -> Iterator[Batch]:
        seen = 0
        for number, element in enumerate(opener(self._source.value)(self._source.value)):
            where = f"batch index {number} of the data"
            batch = matched(element, self._feeds, where)
            rows = range(seen, seen + len(batch[0]))
            seen = rows.stop
            self._source.gave |= seen > 0
            start = max(0, self._skipped - rows.start)
            if start < len(rows):
                yield ready([array[start:] for array in batch], self._feeds, rows[start:], where)
        if seen <= self._skipped:
            raise BadData(self._nothing(seen))

    def _nothing(self, seen: int) -> str:
        if not self._source.gave:
            return "the data is empty: it gave no batch with a sample in it"
        held = f", no more than the {self._skipped} that are held out" if self._skipped else ""
        return (
            f"a later pass over the data gave {seen} samples{held}, though there were more before: the data must start "
            f"anew on each pass; give a callable that returns a new iterator each time, or the iterator itself, of "
            f"which up to {ONE_SHOT} samples are kept"
        )


def _kept(stream: _Stream) -> Data:
    """Read up to `ONE_SHOT` samples of a stream into memory; they stay a stream where their shapes differ."""
    pieces: list[Batch] = []
    room = ONE_SHOT
    for batch in stream.batches(ONE_SHOT):
        pieces.append([np.array(array[:room]) for array in batch])
        room -= len(pieces[-1][0])
        if not room:
            break
    return (
        _Arrays(stream._feeds, pieces[0])
        if len(pieces) == 1
        else _Stream(stream._feeds, _Source(pieces))
    )


def _rebatched(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yield the samples in batches of a size; what waits for the next batch is copied, as sources reuse buffers."""
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and [a.shape[1:] for a in waiting[0]] != [a.shape[1:] for a in batch]:
            yield _joined(waiting)
            waiting = []
        start, count = 0, sum(len(part[0]) for part in waiting)
        while count + len(batch[0]) - start >= size:
            stop = start + size - count
            whole = _joined([*waiting, [array[start:stop] for array in batch]])
            waiting, count, start = [], 0, stop
            yield whole
        if start < len(batch[0]):
            waiting.append([array[start:].copy() for array in batch])
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Batch]) -> Batch:
    return (
        parts[0]
        if len(parts) == 1
        else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    )


def _held_out(count: int, fraction: float, most: int, least: int = 1) -> int:
    _check_positive(most=most)
    if not 0 < fraction < 1:
        raise BadRequest(f"expected a fraction between 0 and 1 to hold out; received {fraction}")
    if count < 2:
        raise BadData(
            f"expected at least 2 samples, one to fit and one to hold out; received {count}: give more data"
        )
    return min(max(1, int(count * fraction), min(least, count // 4)), most)


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise BadRequest(f"expected {name} to be at least 1; received {value}")
