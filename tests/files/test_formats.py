"""A file in the folder of formats is a format: what lists formats is made from the folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keras_downswap.errors import FileRefused
from keras_downswap.files import formats
from keras_downswap.files.format import Format
from keras_downswap.files.io import check_target, identify, load, save, write_text

NEW_FORMAT = """
from keras_downswap.files.format import Format, Origin


class Parchment(Format):
    name = "parchment"
    words = "a sheet of parchment"
    endings = (".parch",)
    writers = ("keras",)

    def recognises(self, path, head):
        return head.startswith(b"PARCH")

    def identify(self, path):
        return Origin(path, "keras", self.name, "3.0", None)

    def stored_config(self, path):
        return {"class_name": "Sequential", "config": {"name": path.read_text()}}

    def stored_elements(self, path):
        return 0

    def unsafe_entry(self, entry):
        return "is cursed" if "cursed" in str(entry) else None

    def load(self, keras, path, *, trust):
        from keras import Sequential

        return Sequential(name=path.read_text()[5:])

    def save(self, model, path):
        path.write_text("PARCH" + model.name)


FORMAT = Parchment()
"""


@pytest.fixture
def parchment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "parchment.py").write_text(NEW_FORMAT)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    monkeypatch.setattr(formats, "FORMATS", formats.discover())
    yield tmp_path
    monkeypatch.delitem(sys.modules, "keras_downswap.files.formats.parchment")


def test_each_file_of_the_folder_is_a_format() -> None:
    names = {path.stem for path in Path(formats.__file__).parent.glob("*.py")} - {"__init__"}
    assert {type(one).__module__.rpartition(".")[2] for one in formats.FORMATS} == names
    assert all(isinstance(one, Format) for one in formats.FORMATS)


def test_no_two_formats_share_a_name_or_an_ending() -> None:
    names = [one.name for one in formats.FORMATS]
    endings = [ending for one in formats.FORMATS for ending in one.endings]
    assert len(set(names)) == len(names)
    assert len(set(endings)) == len(endings)


def test_a_new_format_appears_in_the_lists_and_the_sentences(parchment: Path) -> None:
    assert formats.format_words() == (
        "an HDF5 file, a .keras archive, a sheet of parchment or a SavedModel folder"
    )
    assert formats.ending_words() == ".h5, .hdf5, .keras, .parch or none (a SavedModel folder)"
    (parchment / "odd").write_bytes(b"something else")
    with pytest.raises(FileRefused, match="a sheet of parchment"):
        identify(parchment / "odd")
    with pytest.raises(FileRefused, match=r"\.parch"):
        check_target(parchment / "m.onnx", False, "keras")
    with pytest.raises(FileRefused, match="does not save models as a sheet of parchment"):
        check_target(parchment / "m.parch", False, "tf_keras")


def test_a_new_format_is_identified_vetted_loaded_and_saved(parchment: Path) -> None:
    write_text(parchment / "lie.h5", "PARCHletter", overwrite=False)
    assert identify(parchment / "lie.h5").format == "parchment"
    model = load(parchment / "lie.h5")
    assert model.name == "letter"
    save(model, parchment / "m.parch")
    assert (parchment / "m.parch").read_text() == "PARCHletter"
    write_text(parchment / "bad", "PARCHcursed", overwrite=False)
    with pytest.raises(FileRefused, match="the layer 'PARCHcursed' is cursed"):
        load(parchment / "bad")
