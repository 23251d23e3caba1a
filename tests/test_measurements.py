"""Measured numbers have one source, docs/measurements/*.json, which says where they come from."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = sorted((DOCS / "measurements").glob("*.json"))
FACTS = {"date", "commit", "machine", "versions", "backend", "settings", "source"}
PACKAGES = {"python", "tensorflow", "tf-keras", "keras", "numpy", "keras-downswap"}


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks up its annotations
    spec.loader.exec_module(module)
    return module


TABLES = script(DOCS / "tables.py")
BENCHMARKS = DOCS / "benchmarks"
RECORDING = script(BENCHMARKS / "recording.py")


@pytest.mark.parametrize("page", TABLES.PAGES, ids=lambda page: page.name)
def test_pages_show_what_was_measured(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == TABLES.filled(text), "run: python docs/tables.py"


@pytest.mark.parametrize("page", TABLES.PAGES, ids=lambda page: page.name)
def test_no_measured_table_stands_outside_of_marks(page: Path) -> None:
    assert TABLES.tables_outside_marks(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "| form | seconds |\n| --- | --- |\n| cover | 3 |\n",
        "| form | points lost |\n| --- | --- |\n| cover | 0.9 |\n",
        "| Keras | ratio |\n| --- | --- |\n| keras | 0.2 |\n",
        "| seconds | 8 | 15 |\n| --- | --- | --- |\n| points lost | 4.0 | 2.4 |\n",
        "text\n\n| budget | 8 | 15 |\n| --- | --- | --- |\n| points lost | 4.0 | 2.4 |\n",
    ],
)
def test_a_measured_table_outside_of_marks_is_seen(text: str) -> None:
    assert len(TABLES.tables_outside_marks(text)) == 1
    marked = f"<!-- measured: rewrite -->\n{text}<!-- end of measured -->\n"
    assert TABLES.tables_outside_marks(marked) == []


def test_a_number_that_was_not_measured_is_seen() -> None:
    page = DOCS / "benchmarks.md"
    changed = re.sub(r"\| 0\.\d+ \|\n", "| 0.99 |\n", page.read_text("utf-8"), count=1)
    assert changed != page.read_text("utf-8")
    assert TABLES.filled(changed) != changed


def test_every_table_is_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in TABLES.PAGES)
    shown = {found["name"] for found in TABLES.MARKED.finditer(text)}
    assert shown == set(TABLES.TABLES)


def test_marks_come_in_pairs() -> None:
    for page in TABLES.PAGES:
        text = page.read_text("utf-8")
        complete = len(TABLES.MARKED.findall(text))
        assert text.count("<!-- measured:") == complete
        assert text.count("<!-- end of measured -->") == complete


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_says_where_and_how_it_was_measured(path: Path) -> None:
    content = json.loads(path.read_text("utf-8"))
    assert {row["run"] for row in content["rows"]} == set(content["runs"])
    for run in content["runs"].values():
        assert set(run) == FACTS
        assert set(run["versions"]) == PACKAGES
        assert set(run["machine"]) == {"cores", "processor"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", run["date"])
        assert re.fullmatch(r"[0-9a-f]{7}(\+changes)?", run["commit"])


def test_rows_measured_again_replace_only_themselves(tmp_path: Path) -> None:
    def measure(**times: float) -> dict[str, Any]:
        rows = [{"form": form, "seconds": time} for form, time in times.items()]
        path = RECORDING.record(
            "some", rows, ["form"], {"seeds": 3, "model": Path("a/b")}, tmp_path
        )
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content

    first = measure(same=1.0, cover=2.0)
    (run,) = first["runs"].values()
    assert set(run) == FACTS
    assert run["settings"] == {"seeds": 3, "model": "b"}
    second = measure(cover=3.0, wide=4.0)
    assert [row["form"] for row in second["rows"]] == ["same", "cover", "wide"]
    assert [row["seconds"] for row in second["rows"]] == [1.0, 3.0, 4.0]
    assert len({row["run"] for row in second["rows"]}) == 2
    third = measure(same=5.0, cover=5.0, wide=5.0)
    assert len(third["runs"]) == 1


@pytest.mark.parametrize("name", ["calibrate", "forms", "rewrite", "train_demo"])
def test_benchmarks_are_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert callable(script(BENCHMARKS / f"{name}.py").main)


def test_what_the_benchmark_asks_of_a_swap_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.syspath_prepend(BENCHMARKS)
    calibrate = script(BENCHMARKS / "calibrate.py")
    model = keras.models.load_model(DOCS.parent / "keras_downswap" / "demo" / "digits_cnn.keras")
    for asked, _, _ in calibrate.ROWS.values():
        swap = {name: value for name, value in asked.items() if name != "max_drop"}
        calibrate.swap_downsampling(model, **swap)


def test_macs_of_sites_are_counted_against_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.syspath_prepend(BENCHMARKS)
    calibrate = script(BENCHMARKS / "calibrate.py")
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(image)
    model = keras.Model(image, keras.layers.MaxPooling2D(2)(x))
    new = calibrate.swap_downsampling(model)
    assert calibrate.macs_of(model) == 8 * 8 * 3 * 3 * 2
    assert calibrate.site_macs(model, new) == 0.25


def test_a_row_of_the_benchmark_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.syspath_prepend(BENCHMARKS)
    calibrate = script(BENCHMARKS / "calibrate.py")
    demo = DOCS.parent / "keras_downswap" / "demo"
    model = calibrate.load(demo / "digits_cnn.keras")
    with np.load(demo / "digits_test.npz") as digits:
        images, labels = digits["images"].astype("float32") / 16, digits["labels"]
    data = calibrate.Data(images[:250], labels[:250], images[250:], labels[250:])
    best = calibrate.accuracy(model, data.test, data.test_labels)
    case = calibrate.Case("cover, closed form", 250, None)
    row = calibrate.measured(model, case, data, 1, best)
    assert (row["form"], row["images"], row["site_macs"]) == ("cover, closed form", 250, 0.4444)
    assert row["points_lost"][0] < 2
