"""Data without labels: every kind of source gives the same batches; every fault is described."""

from __future__ import annotations

import gc
import io
import re
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_downswap.calibration.data.input_specs import Batch, InputSpec
from keras_downswap.calibration.data.samples import ITERATOR_SAMPLES_MAX, Data
from keras_downswap.errors import BadData, BadRequest

IMAGE = InputSpec("image", (None, 2, 2, 1), "float32")
SIZE = InputSpec("size", (None, 3), "int32")
ONE, TWO = [IMAGE], [IMAGE, SIZE]
COUNT = 10


def images(count: int = COUNT, start: int = 0) -> np.ndarray[Any, Any]:
    """Images of which each holds its own index in all pixels."""
    return np.broadcast_to(
        np.arange(start, start + count, dtype="float32")[:, None, None, None], (count, 2, 2, 1)
    )


def sizes(count: int = COUNT, start: int = 0) -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.arange(start, start + count)[:, None], (count, 3))


def pieces(length: int = 4, count: int = COUNT) -> list[np.ndarray[Any, Any]]:
    return [images(count)[start : start + length] for start in range(0, count, length)]


def indices(batch: Batch) -> list[int]:
    return [int(value) for value in batch[0][:, 0, 0, 0]]


def walked(data: Data, size: int = 3, seed: int | None = None) -> list[int]:
    return [index for batch in data.batches(size, seed) for index in indices(batch)]


def refusal(act: Callable[[], Any], *words: str) -> None:
    with pytest.raises(BadData) as refused:
        act()
    for word in words:
        assert word in str(refused.value), str(refused.value)


def read(source: Any, specs: list[InputSpec] = ONE) -> list[Batch]:
    return list(Data.of(source, specs).batches(4))


NESTED = [
    InputSpec("image", (None, 2, 2, 1), "float32", ("rest", 1)),
    InputSpec("size", (None, 3), "int32", ("rest", 0, "b")),
]


def nested(start: int = 0, stop: int = COUNT) -> Any:
    count = stop - start
    return {"rest": [{"b": sizes(count, start)}, images(count, start)]}


@pytest.mark.parametrize(
    "source",
    [
        nested(),
        (nested(), np.zeros(COUNT)),
        [nested(0, 4), nested(4, 7), nested(7)],
        lambda: iter([(nested(0, 6), np.zeros(6)), (nested(6), np.zeros(4))]),
        [images(), sizes()],
        {"size": sizes(), "image": images()},
    ],
    ids=["whole", "labelled", "batches", "labelled batches", "by order", "by name"],
)
def test_inputs_may_be_structured_like_those_of_the_model(source: Any) -> None:
    batches = read(source, NESTED)
    assert [int(i) for batch in batches for i in batch[0][:, 0, 0, 0]] == list(range(COUNT))
    assert [int(i) for batch in batches for i in batch[1][:, 0]] == list(range(COUNT))


def test_a_list_without_an_array_of_its_own_is_whole_where_it_is_structured_like_the_inputs() -> (
    None
):
    specs = [replace(IMAGE, path=(0, 0)), replace(SIZE, path=(1, 0))]
    (batch, *_) = read([[images()], [sizes()]], specs)
    assert (
        [int(i) for i in batch[0][:, 0, 0, 0]] == [int(i) for i in batch[1][:, 0]] == [0, 1, 2, 3]
    )


def test_the_structure_goes_before_names() -> None:
    specs = [replace(IMAGE, name="b", path=("a",)), replace(IMAGE, name="a", path=("b",))]
    (batch, *_) = read({"a": images(), "b": images() + 100}, specs)
    assert [float(array[0, 0, 0, 0]) for array in batch] == [0, 100]


def test_another_structure_is_refused_and_what_is_no_array_named() -> None:
    refusal(
        lambda: read({"rest": [images(), sizes()]}, NESTED),
        "expected the inputs image, size; received rest",
    )
    refusal(
        lambda: read([images(), object()], TWO), "input 'size'", "received object of dtype object"
    )


class Indexed:
    """What a Sequence is to Keras, and no more."""

    def __init__(self, batches: list[Any]) -> None:
        self.stored = batches

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: int) -> Any:
        return self.stored[index]


class Iterable:
    def __init__(self, batches: list[Any]) -> None:
        self.stored = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stored)


class Protocol:
    """A framework's tensor, as far as NumPy is concerned."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return images()


def npz() -> Any:
    file = io.BytesIO()
    np.savez(file, image=images())
    file.seek(0)
    return np.load(file)


def dataset(labelled: int = 0) -> Any:
    import tensorflow as tf

    structure: Any = (
        images() if not labelled else (images(), np.arange(COUNT), np.ones(COUNT))[:labelled]
    )
    return tf.data.Dataset.from_tensor_slices(structure).batch(4)


def tensor() -> Any:
    import tensorflow as tf

    return tf.constant(images())


WHOLE = {
    "array": images,
    "integers": lambda: images().astype("uint8"),
    "array protocol": Protocol,
    "tensor": tensor,
    "list of one array": lambda: [images()],
    "dict": lambda: {"image": images()},
    "dict of another name": lambda: {"x": images()},
    "dict of a nested list": lambda: {"image": images().tolist()},
    "mapping": lambda: UserDict(image=images()),
    "npz": npz,
    "inputs and labels": lambda: (images(), np.arange(COUNT)),
}
STREAMS = {
    "dataset": dataset,
    "dataset of (x,)": lambda: dataset(1),
    "dataset of (x, y)": lambda: dataset(2),
    "dataset of (x, y, w)": lambda: dataset(3),
    "indexed": lambda: Indexed(pieces()),
    "iterable": lambda: Iterable(pieces()),
    "iterable of tensors": lambda: Iterable(list(dataset())),
    "list of arrays": pieces,
    "list of dicts": lambda: [{"image": piece} for piece in pieces()],
    "list of (x, y)": lambda: [(piece, np.zeros(7)) for piece in pieces()],
    "list of (x,)": lambda: [(piece,) for piece in pieces()],
    "list of [x]": lambda: [[piece] for piece in pieces()],
    "tuple of (x, y)": lambda: tuple((piece, None) for piece in pieces()),
    "dataset and labels": lambda: (dataset(), None),
    "callable": lambda: lambda: iter(pieces()),
    "generator function": lambda: lambda: (piece for piece in pieces()),
    "callable for a dataset": lambda: dataset,
    "callable for an array": lambda: images,
    "callable for a dict": lambda: lambda: {"x": images()},
    "class": lambda: type(
        "Batches", (Iterable,), {"__init__": lambda self: Iterable.__init__(self, pieces())}
    ),
    "with an empty batch": lambda: [images(0), *pieces()],
}
ITERATORS = {"iterator": lambda: iter(pieces()), "generator": lambda: (piece for piece in pieces())}


@pytest.mark.parametrize("kind", [*WHOLE, *STREAMS, *ITERATORS])
def test_every_kind_gives_all_samples_in_batches_of_the_size_on_every_pass(kind: str) -> None:
    data = Data.of({**WHOLE, **STREAMS, **ITERATORS}[kind](), ONE)
    for _ in range(2):
        batches = list(data.batches(3))
        assert [indices(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
        assert {array.dtype.name for batch in batches for array in batch} == {"float32"}
    assert indices(data.first(4)) == [0, 1, 2, 3]
    assert indices(data.first(99)) == list(range(COUNT))
    assert data.count == (None if kind in STREAMS else COUNT)


def test_a_sequence_of_either_keras_is_read_by_index(K: Any) -> None:
    base = K.utils.Sequence if hasattr(K.utils, "Sequence") else K.utils.PyDataset
    cls = type(
        "Batches",
        (base,),
        {"__len__": lambda self: 3, "__getitem__": lambda self, i: (pieces()[i], None)},
    )
    data = Data.of(cls(), ONE)
    assert [walked(data), walked(data)] == [list(range(COUNT))] * 2


def test_an_endless_py_dataset_has_no_length() -> None:
    import keras

    cls = type(
        "Endless",
        (keras.utils.PyDataset,),
        {
            "num_batches": property(lambda self: None),
            "__getitem__": lambda self, i: images(2, 2 * i),
        },
    )
    for kind in (
        cls,
        type("Bare", (), {name: vars(cls)[name] for name in ("num_batches", "__getitem__")}),
    ):
        batches = Data.of(kind(), ONE).batches(3)
        assert [indices(next(batches)) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_shuffling_image_iterator_of_keras_2_is_read_by_index_although_it_never_ends() -> None:
    import tf_keras

    flow = tf_keras.preprocessing.image.ImageDataGenerator().flow(
        np.array(images()), batch_size=4, seed=1
    )
    data = Data.of(flow, ONE)
    assert data.count is None
    assert sorted(walked(data)) == sorted(walked(data)) == list(range(COUNT))


PAIRS = {
    "list": lambda: [images(), sizes()],
    "dict in another order": lambda: {"size": sizes(), "image": images()},
    "labelled list": lambda: ([images(), sizes()], np.arange(COUNT)),
    "batches of lists": lambda: [[images(4), sizes(4)], [images(6, 4), sizes(6, 4)]],
    "batches of dicts": lambda: [({"size": sizes(), "image": images()}, np.arange(3))],
    "batches of tuples": lambda: [((images(), sizes()), np.arange(3))],
}


@pytest.mark.parametrize("kind", PAIRS)
def test_several_inputs_come_in_the_order_of_the_specs_and_in_their_dtypes(kind: str) -> None:
    batches = list(Data.of(PAIRS[kind](), TWO).batches(4))
    assert [len(batch[0]) for batch in batches] == [4, 4, 2]
    assert [index for batch in batches for index in indices(batch)] == list(range(COUNT))
    assert [index for batch in batches for index in batch[1][:, 2]] == list(range(COUNT))
    assert [array.dtype.name for array in batches[0]] == ["float32", "int32"]


def test_a_dataset_of_dicts_is_matched_by_name() -> None:
    import tensorflow as tf

    source = tf.data.Dataset.from_tensor_slices(
        ({"size": sizes(), "image": images()}, np.arange(COUNT))
    ).batch(4)
    first = Data.of(source, TWO).first(5)
    assert [array.shape for array in first] == [(5, 2, 2, 1), (5, 3)]


def test_strings_stay_strings() -> None:
    feed = InputSpec("text", (None,), "string")
    words = np.array(["a", "bc"])
    assert Data.of(words, [feed]).first(2)[0].tolist() == ["a", "bc"]
    refusal(lambda: Data.of(np.zeros(3), [feed]), "'text'", "expected string", "float64")


def test_unknown_lengths_match_anything_and_a_batch_ends_where_the_shape_changes() -> None:
    feed = InputSpec("image", (None, None, 1), "float32")
    shapes = [(2, 5, 1), (1, 5, 1), (3, 7, 1)]
    for source in ([np.zeros(shape) for shape in shapes], (np.zeros(shape) for shape in shapes)):
        data = Data.of(source, [feed])
        for _ in range(2):
            assert [batch[0].shape for batch in data.batches(4)] == [(3, 5, 1), (3, 7, 1)]
        rest, held = data.split(0.9, 5, 0)
        assert (held[0].shape, [batch[0].shape for batch in rest.batches(4)]) == (
            (3, 5, 1),
            [(3, 7, 1)],
        )


# Shuffling and splitting


def test_arrays_are_shuffled_by_seed_and_in_order_without() -> None:
    data = Data.of(images(50), ONE)
    shuffled = walked(data, 8, seed=3)
    assert shuffled == walked(data, 8, seed=3)
    assert shuffled != walked(data, 8, seed=4)
    assert shuffled != walked(data, 8) == list(range(50)) == sorted(shuffled)


def test_several_inputs_are_shuffled_alike() -> None:
    for batch in Data.of([images(50), sizes(50)], TWO).batches(8, seed=1):
        assert indices(batch) == batch[1][:, 0].tolist()


def test_streams_keep_their_order() -> None:
    assert walked(Data.of(pieces(), ONE), seed=3) == list(range(COUNT))


@pytest.mark.parametrize("kind", [*WHOLE, *STREAMS, *ITERATORS])
def test_what_is_held_out_is_not_in_the_rest(kind: str) -> None:
    rest, held = Data.of({**WHOLE, **STREAMS, **ITERATORS}[kind](), ONE).split(0.3, 99, seed=5)
    for _ in range(2):
        assert sorted([*walked(rest), *indices(held)]) == list(range(COUNT))
    assert len(held[0]) == 3
    assert rest.count == 7, "its end was seen"
    if kind in STREAMS:
        assert indices(held) == [0, 1, 2]


def test_arrays_are_split_by_seed() -> None:
    def held(seed: int) -> list[int]:
        return indices(Data.of(images(50), ONE).split(0.2, 99, seed)[1])

    assert held(1) == held(1) != held(2)
    assert len(held(1)) == 10


def test_the_rest_may_be_shuffled_and_split_again() -> None:
    for source in (images(20), pieces(6, 20)):
        rest, held = Data.of(source, ONE).split(0.25, 99, seed=1)
        least, more = rest.split(0.2, 99, seed=1)
        assert (len(held[0]), len(more[0])) == (5, 3)
        assert sorted([*walked(least, seed=2), *indices(more), *indices(held)]) == list(range(20))


@pytest.mark.parametrize(
    ("count", "fraction", "most", "held"),
    [(100, 0.5, 7, 7), (3, 0.01, 9, 1), (2, 0.99, 9, 1), (40, 0.1, 9, 4)],
)
def test_how_many_are_held_out(count: int, fraction: float, most: int, held: int) -> None:
    for source in (images(count), pieces(6, count)):
        rest, out = Data.of(source, ONE).split(fraction, most, 0)
        assert (len(out[0]), len(walked(rest))) == (held, count - held)


def test_arrays_are_not_copied_whole_and_what_is_held_out_is_a_copy() -> None:
    whole = np.array(images(50))
    data = Data.of(whole, ONE)
    rest, held = data.split(0.2, 99, seed=1)
    stream_rest, stream_held = Data.of(Iterable([whole]), ONE).split(0.2, 99, seed=1)
    first = [Data.of(source, ONE).first(50) for source in (whole, Iterable([whole]))]
    whole[:] = -1
    assert all(indices(batch) == list(range(50)) for batch in first)
    assert walked(data, seed=0) == [-1] * 50
    assert walked(rest) == walked(stream_rest) == [-1] * 40
    assert -1 not in indices(held) + indices(stream_held)


# Memory


class Watched:
    """A stream of batches that knows how many of them are alive, now and at most."""

    def __init__(self, batches: int, length: int) -> None:
        self.batches, self.length = batches, length
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.peak = self.read = 0

    def __call__(self) -> Iterator[np.ndarray[Any, Any]]:
        for number in range(self.batches):
            batch = np.array(images(self.length, number * self.length)).view(Counted)
            self.alive.add(batch)
            self.peak = max(self.peak, len(self.alive))
            self.read += 1
            yield batch
            del batch


class Counted(np.ndarray[Any, Any]):
    """An array that a set can hold weakly."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return self is other


@pytest.mark.parametrize("size", [1, 5, 8, 20])
def test_a_stream_of_any_length_holds_few_batches_in_memory(size: int) -> None:
    source = Watched(100, 5)
    data = Data.of(source, ONE)
    rest, _ = data.split(0.5, 20, 0)
    assert source.read <= 9
    assert sum(len(batch[0]) for batch in rest.batches(size)) == 480
    assert source.peak <= 4
    gc.collect()
    assert not source.alive


def test_a_source_may_write_each_batch_into_the_same_array() -> None:
    def reusing() -> Iterator[np.ndarray[Any, Any]]:
        buffer = np.empty((3, 2, 2, 1), "float32")
        for start in range(0, 9, 3):
            buffer[:] = images(3, start)
            yield buffer

    for source in (reusing, reusing()):
        assert walked(Data.of(source, ONE), 4) == list(range(9))
    assert indices(Data.of(reusing, ONE).split(0.5, 2, 0)[1]) == [0, 1]


def test_of_an_iterator_the_first_samples_are_kept() -> None:
    source = Watched(2 * ITERATOR_SAMPLES_MAX // 1000, 1000)
    data = Data.of(source(), ONE)
    assert data.count == ITERATOR_SAMPLES_MAX
    assert source.read == ITERATOR_SAMPLES_MAX // 1000 + 1
    assert walked(data, 999) == walked(data, 999) == list(range(ITERATOR_SAMPLES_MAX))


def test_what_is_kept_of_an_iterator_is_a_copy() -> None:
    whole = np.array(images(ITERATOR_SAMPLES_MAX))
    data = Data.of(iter([whole]), ONE)
    whole[:] = -1
    assert walked(data, 999) == list(range(ITERATOR_SAMPLES_MAX))


# Faults


def test_bad_data_is_a_bad_request() -> None:
    assert issubclass(BadData, BadRequest)


@pytest.mark.parametrize("source", ["photos.npy", b"photos", 3, None, object(), 1.5])
def test_an_unknown_kind_of_data(source: Any) -> None:
    refusal(
        lambda: Data.of(source, ONE),
        "tf.data.Dataset",
        f"received {type(source).__name__}",
        "load the data first",
    )


def test_a_callable_that_returns_no_batches() -> None:
    refusal(lambda: read(lambda: None), "received NoneType")


@pytest.mark.parametrize(
    "source", [images(0), [], {"image": images(0)}, [images(0)], Iterable([]), iter([]), ()]
)
def test_empty_data(source: Any) -> None:
    refusal(lambda: read(source), "data is empty")


def test_an_empty_list_for_several_inputs() -> None:
    refusal(lambda: read([], TWO), "data is empty")


def test_a_fixed_batch_size_of_the_model_does_not_bind_the_data() -> None:
    assert walked(Data.of(images(), [InputSpec("image", (4, 2, 2, 1), "float32")])) == list(
        range(COUNT)
    )


@pytest.mark.parametrize("source", [images(1), [images(1), images(0)], iter([images(1)])])
def test_a_single_sample_cannot_be_split(source: Any) -> None:
    refusal(
        lambda: Data.of(source, ONE).split(0.5, 9, 0),
        "at least 2 samples",
        "received 1",
        "give more data",
    )


@pytest.mark.parametrize(
    ("source", "shape", "fix"),
    [
        (np.zeros((5, 4)), "(5, 4)", "reshape the data"),
        (np.zeros((2, 2, 1)), "(2, 2, 1)", "the batch axis is missing"),
        (np.zeros((5, 3, 2, 1)), "(5, 3, 2, 1)", "resize"),
        (np.zeros((5, 1, 2, 2)), "(5, 1, 2, 2)", "resize"),
        (np.float32(3), "()", "reshape the data"),
    ],
)
def test_a_wrong_shape(source: Any, shape: str, fix: str) -> None:
    words = ("input 'image'", "expected shape (None, 2, 2, 1)", f"received {shape}", fix)
    refusal(lambda: Data.of(source, ONE), "the data: ", *words)
    refusal(lambda: read([images(), source, images()]), "batch index 1 of the data: ", *words)


def test_a_dataset_that_is_not_batched() -> None:
    refusal(
        lambda: read(dataset().unbatch()),
        "batch index 0",
        "(2, 2, 1)",
        "batch axis is missing",
        "`.batch(32)`",
    )
    refusal(lambda: read(dataset(2).unbatch()), "`.batch(32)`")


def test_ragged_data() -> None:
    import tensorflow as tf

    ragged = tf.ragged.constant([[1.0], [2.0, 3.0]])
    for source in ([ragged], tf.data.Dataset.from_tensors(ragged)):
        refusal(
            lambda source=source: read(source, [InputSpec("x", (None, None), "float32")]),
            "'x'",
            "object",
            "dense",
        )


def test_texts_and_complex_numbers_are_no_floats() -> None:
    refusal(
        lambda: Data.of(np.full((3, 2, 2, 1), "a"), ONE),
        "'image'",
        "expected float32",
        "<U1",
        "texts to numbers",
    )
    refusal(
        lambda: Data.of(np.array(images(), complex), ONE),
        "'image'",
        "expected float32",
        "complex128",
    )


def test_an_array_protocol_that_fails() -> None:
    import keras

    refusal(
        lambda: Data.of(keras.KerasTensor((2, 2, 2, 1)), ONE),
        "'image'",
        "KerasTensor",
        "symbolic",
        "NumPy array",
    )


def test_different_numbers_of_samples() -> None:
    words = ("10 of 'image'", "9 of 'size'", "as many samples")
    refusal(lambda: Data.of([images(), sizes(9)], TWO), "the data", *words)
    refusal(lambda: read([[images(), sizes()], [images(), sizes(9)]], TWO), "batch index 1", *words)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite(value: float) -> None:
    bad = np.array(images(), "float64")
    bad[[7, 9], 1, 0, 0] = value
    words = ("input 'image'", "NaN or infinity", "sample index 7")
    data = Data.of(bad, ONE)
    assert walked(Data.of(bad[:7], ONE)) == list(range(7))
    refusal(lambda: data.first(8), *words)
    refusal(lambda: list(data.batches(2)), *words)
    refusal(lambda: [data.split(0.5, 9, seed) for seed in range(9)], "sample index")
    refusal(lambda: read([bad[:4], bad[4:]]), "batch index 1", *words)
    refusal(lambda: Data.of([bad[:4], bad[4:]], ONE).split(0.9, 9, 0), "batch index 1", *words)
    refusal(lambda: Data.of(iter([bad[:4], bad[4:]]), ONE), "batch index 1", *words)


def test_a_number_that_is_not_finite_is_no_integer() -> None:
    bad = sizes(4).astype("float32")
    bad[2, 1] = np.nan
    refusal(lambda: read(bad, [SIZE]), "'size'", "int32", "sample index 2")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (images(), ("2 inputs (image, size)", "received 1")),
        ([images(), sizes(), sizes()], ("2 inputs (image, size)", "received 3")),
        ((images(), sizes()), ("2 inputs (image, size)", "received 1", "dict by input name")),
        ([(images(), sizes())], ("batch index 0", "2 inputs", "received 1", "the rest labels")),
        ({"image": images()}, ("expected the inputs image, size", "received image")),
        (
            {"image": images(), "label": sizes()},
            ("expected the inputs image, size", "received image, label"),
        ),
        (
            [{"image": images(), "size": sizes(), "x": 1}],
            ("batch index 0", "received image, size, x"),
        ),
        ({}, ("expected the inputs image, size", "received none")),
        ((images(),) * 4, ("labels and sample weights", "4 entries")),
    ],
)
def test_inputs_that_are_missing_or_too_many(source: Any, words: tuple[str, ...]) -> None:
    refusal(lambda: read(source, TWO), *words)


def test_one_input_and_several_arrays() -> None:
    refusal(lambda: read([[images(), images()]]), "batch index 0", "1 input (image)", "received 2")
    refusal(
        lambda: read({"x": images(), "y": images()}), "expected the inputs image", "received x, y"
    )


class Spent:
    """Batches that are gone after one pass, hidden behind an object that seems to start anew."""

    def __init__(self, **_: Any) -> None:
        self.rest = iter(pieces())

    def __iter__(self) -> Iterator[Any]:
        yield from self.rest


def test_a_stream_that_gives_nothing_on_the_second_pass() -> None:
    words = ("a later pass", "gave 0 samples", "callable that returns a new iterator")
    data = Data.of(Spent(), ONE)
    assert walked(data) == list(range(COUNT))
    refusal(lambda: walked(data), *words)
    rest, _ = Data.of(Spent(), ONE).split(0.3, 9, 0)
    refusal(lambda: walked(rest), *words, "no more than the 3 that are held out")
    gone = iter(pieces())
    data = Data.of(lambda: gone, ONE)
    assert walked(data) == list(range(COUNT))
    refusal(lambda: walked(data), *words)


def test_what_a_source_raises_itself_is_not_hidden() -> None:
    def broken() -> Iterator[Any]:
        yield images()
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        read(broken)


@pytest.mark.parametrize("source", [images(), [images(), images()]])
def test_arguments_without_sense(source: Any) -> None:
    data = Data.of(source, ONE)
    for act, words in (
        (lambda: list(data.batches(0)), "size to be at least 1; received 0"),
        (lambda: data.first(0), "size to be at least 1; received 0"),
        (lambda: data.split(0.5, 0, 0), "at_most to be at least 1; received 0"),
        (lambda: data.split(0.0, 9, 0), "between 0 and 1 to hold out; received 0.0"),
        (lambda: data.split(1.0, 9, 0), "between 0 and 1 to hold out; received 1.0"),
    ):
        with pytest.raises(BadRequest, match=re.escape(words)):
            act()


def test_of_arrays_that_hold_more_any_are_drawn_by_a_seed() -> None:
    data = Data.of(images(50), ONE)
    assert indices(data.first(20)) == list(range(20))
    drawn = indices(data.first(20, seed=3))
    assert drawn == indices(data.first(20, seed=3)) != list(range(20))
    assert len(set(drawn)) == 20
    assert max(drawn) > 20, "sorted data shows all its classes"
    assert sorted(all_of_them := indices(data.first(50, seed=3))) == list(range(50)) != all_of_them
    assert indices(
        Data.of([images(50)[i : i + 10] for i in range(0, 50, 10)], ONE).first(20, seed=3)
    ) == list(range(20))
