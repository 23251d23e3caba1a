"""What a command line may name as data, and what it says where it may not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_downswap.calibration.data.command_line import IMAGES_OF_BATCH, load
from keras_downswap.calibration.data.input_specs import InputSpec
from keras_downswap.calibration.data.samples import Data
from keras_downswap.errors import BadRequest

RGB = [InputSpec("image", (None, 6, 4, 3), "float32")]
GREY = [InputSpec("image", (None, 6, 4, 1), "float32")]


def refusal(place: Path | str, *words: str, feeds: list[InputSpec] = RGB) -> None:
    with pytest.raises(BadRequest) as refused:
        load(str(place), feeds)
    for word in words:
        assert word in str(refused.value), str(refused.value)


# Array files


def test_an_npy_file_is_read_from_disk_where_it_is_used(tmp_path: Path) -> None:
    whole = np.arange(5 * 72, dtype="float32").reshape(5, 6, 4, 3)
    np.save(tmp_path / "x.NPY.npy", whole)
    found = load(str(tmp_path / "x.NPY.npy"), RGB)
    assert isinstance(found, np.memmap)
    assert np.array_equal(Data.of(found, RGB).first(9)[0], whole)


def test_an_npz_file_is_a_dict(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3)), b=np.ones(2))
    found = load(str(tmp_path / "x.npz"), RGB)
    assert {name: array.shape for name, array in found.items()} == {"a": (2, 3), "b": (2,)}


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_pickled_arrays_are_refused(tmp_path: Path, name: str) -> None:
    objects = np.array([{}, None], object)
    save: Any = np.save if name == "x.npy" else np.savez
    save(tmp_path / name, objects)
    refusal(tmp_path / name, name, "without pickled objects")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"anything", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_broken_array_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name, name, "cannot be read", "np.save")


@pytest.mark.parametrize("name", ["gone.npy", "gone.npz", "gone", "gone.png"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    refusal(tmp_path / name, name, "does not exist")


def test_an_unknown_extension(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    refusal(tmp_path / "x.csv", "'.csv'", ".npz", "folder of images", "module:function")


# Folders of images


def picture(value: int, height: int = 6, width: int = 4, channels: int = 3) -> Any:
    return np.full((height, width, channels), value, "uint8")


def write(path: Path, image: Any) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_png if path.suffix.lower() == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(image).numpy())


def bmp(image: Any) -> bytes:
    """Encode an RGB image whose width is a multiple of 4, so that rows need no padding."""
    height, width, _ = image.shape
    body = np.ascontiguousarray(image[::-1, :, ::-1]).tobytes()
    fields = [
        (54 + len(body), 4),
        (0, 4),
        (54, 4),
        (40, 4),
        (width, 4),
        (height, 4),
        (1, 2),
        (24, 2),
        (0, 4),
    ]
    fields += [(len(body), 4), (0, 4), (0, 4), (0, 4), (0, 4)]
    return b"BM" + b"".join(value.to_bytes(size, "little") for value, size in fields) + body


GIF = bytes.fromhex(
    "47494638396101000100800000c80000ffffff"  # one pixel; colours (200, 0, 0) and white
    "2c000000000100010000020244010021f90400000000002c000000000100010000" + "02024c01003b"
)


def test_images_come_in_one_drawn_order_resized_and_kept_in_0_to_255(tmp_path: Path) -> None:
    write(tmp_path / "b" / "one.png", picture(255, 12, 8))
    write(tmp_path / "a" / "two.JPG", picture(100, 3, 2))
    write(tmp_path / "c.jpeg", picture(50))
    (tmp_path / "d.bmp").write_bytes(bmp(picture(30)))
    (tmp_path / "._c.png").write_bytes(b"what macOS leaves behind")
    (tmp_path / "notes.txt").write_text("not an image")
    source = load(str(tmp_path), RGB)
    orders = []
    for _ in range(2):
        (batch,) = source()
        assert (batch.shape, batch.dtype) == ((4, 6, 4, 3), np.float32)
        orders.append(batch.mean(axis=(1, 2, 3)).round().tolist())
    assert orders[0] == orders[1] != [100, 255, 50, 30], "sorted by path"
    assert sorted(orders[0]) == [30, 50, 100, 255]
    assert Data.of(source, RGB).first(9)[0].shape == (4, 6, 4, 3)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(GIF)
    (batch,) = load(str(tmp_path), RGB)()
    assert batch[0].reshape(-1, 3).tolist() == [[200, 0, 0]] * 24
    (batch,) = load(str(tmp_path), GREY)()
    assert np.allclose(batch, 200 * 0.2989)


@pytest.mark.parametrize(("channels", "grey"), [(1, 90), (2, 90), (3, 90), (4, 90)])
def test_channels_are_brought_to_what_the_model_takes(
    tmp_path: Path, channels: int, grey: int
) -> None:
    image = picture(grey, channels=channels)
    if channels in (2, 4):
        image[..., -1] = 255
    write(tmp_path / "x.png", image)
    for feeds in (RGB, GREY):
        (batch,) = load(str(tmp_path), feeds)()
        assert batch.shape == (1, *feeds[0].shape[1:])
        assert np.allclose(batch, grey, atol=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first(tmp_path: Path, channels: int) -> None:
    image = picture(0)
    image[..., 0] = 80
    write(tmp_path / "x.png", image)
    (batch,) = load(str(tmp_path), [InputSpec("image", (None, channels, 6, 4), "float32")])()
    assert batch.shape == (1, channels, 6, 4)
    assert np.ptp(batch, axis=(2, 3)).max() == 0
    assert batch[0, :, 0, 0].tolist() == pytest.approx(
        [80, 0, 0] if channels == 3 else [80 * 0.2989], abs=0.01
    )


def test_channels_are_last_where_both_axes_could_be(tmp_path: Path) -> None:
    image = picture(0)
    image[..., 0] = 80
    write(tmp_path / "x.png", image)
    (batch,) = load(str(tmp_path), [InputSpec("image", (None, 3, 8, 3), "float32")])()
    assert batch[0].reshape(-1, 3).tolist() == [[80, 0, 0]] * 24


def test_batches_of_images_are_small(tmp_path: Path) -> None:
    for number in range(IMAGES_OF_BATCH + 1):
        write(tmp_path / f"{number}.png", picture(number))
    assert [len(batch) for batch in load(str(tmp_path), RGB)()] == [IMAGES_OF_BATCH, 1]


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "x.png").mkdir()
    refusal(tmp_path, "holds no image", ".jpeg")


def test_an_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadRequest, match=r"bad\.png.*cannot be read as an image"):
        list(load(str(tmp_path), RGB)())


@pytest.mark.parametrize(
    "shapes",
    [
        [(None, 6, 4, 3), (None, 6, 4, 3)],
        [(None, None, 4, 3)],
        [(None, 6, 4, 2)],
        [(None, 24)],
        [(None, 3, None, 5)],
        [(None, 6, 4, None)],
    ],
)
def test_a_model_that_takes_no_image(tmp_path: Path, shapes: list[tuple[int | None, ...]]) -> None:
    write(tmp_path / "x.png", picture(1))
    feeds = [InputSpec(f"in{i}", shape, "float32") for i, shape in enumerate(shapes)]
    refusal(tmp_path, "one input", "'in0' of shape", str(shapes[0]), "module:function", feeds=feeds)


# Functions


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("downswap_"):
            del sys.modules[name]


def test_a_function_in_the_current_directory_is_called(here: Path) -> None:
    (here / "downswap_feed.py").write_text(
        "def batches():\n    import downswap_later\n    return downswap_later.DATA\n"
    )
    (here / "downswap_later.py").write_text("DATA = [1, 2]\n")
    assert load("downswap_feed:batches", RGB) == [1, 2]


def test_a_module_in_a_package(here: Path) -> None:
    (here / "downswap_kit").mkdir()
    (here / "downswap_kit" / "feed.py").write_text("def batches():\n    yield 1\n")
    assert list(load("downswap_kit.feed:batches", RGB)) == [1]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "downswap_gone:f", ("'downswap_gone'", "cannot be imported", "ModuleNotFoundError")),
        ("def f(:", "downswap_m:f", ("'downswap_m'", "cannot be imported", "SyntaxError")),
        ("1 / 0", "downswap_m:f", ("cannot be imported", "ZeroDivisionError: division by zero")),
        ("", ":f", ("cannot be imported",)),
        ("g = 1", "downswap_m:f", ("'f' in module 'downswap_m' does not exist",)),
        ("g = 1", "downswap_m:", ("'' in module 'downswap_m' does not exist",)),
        ("f = 1", "downswap_m:f", ("'f' in module 'downswap_m' is not callable",)),
        (
            "def f(): raise KeyError('x')",
            "downswap_m:f",
            ("'downswap_m:f'", "raised KeyError: 'x'"),
        ),
        ("def f(a): pass", "downswap_m:f", ("without arguments", "TypeError", "'a'")),
    ],
)
def test_functions_that_cannot_be_had(
    here: Path, text: str, place: str, words: tuple[str, ...]
) -> None:
    (here / "downswap_m.py").write_text(text)
    refusal(place, *words)
