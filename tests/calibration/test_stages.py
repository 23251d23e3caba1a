"""The folder of stages is the index of methods: a file laid into it is a method."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.teacher import images, network

from keras_downswap import BadRequest, calibrate, swap_downsampling
from keras_downswap.calibration import stages

ROOT = Path(__file__).resolve().parents[2]
ADDED = '''
    """Adds a little to the bias of the head, which the tests' models have."""

    from keras_downswap.calibration.stage import Stage, StageContext, StageResult


    def run(context: StageContext) -> StageResult:
        head = context.new.model.get_layer("head")
        head.bias.assign(head.bias + 0.0)
        return StageResult("ran")


    STAGE = Stage(name="added", order=15, run=run)
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lay a file into the folder of stages, for one test."""
    (tmp_path / "added.py").write_text(textwrap.dedent(ADDED), "utf-8")
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{stages.__name__}.added", None)


def test_the_names_of_the_methods_are_those_of_the_files() -> None:
    files = {path.stem for path in Path(stages.__file__).parent.glob("*.py")} - {"__init__"}
    names = [stage.name for stage in stages.all_stages()]
    assert set(names) == files
    assert stages.method_names() == ("auto", *names)
    assert len({stage.order for stage in stages.all_stages()}) == len(files)


def test_every_method_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text("utf-8")
    assert all(f'`"{name}"`' in page for name in stages.method_names())
    assert all(f"`{name}`" in (calibrate.__doc__ or "") for name in stages.method_names())


def test_a_file_laid_into_the_folder_is_a_method(K: Any, added: None) -> None:
    assert stages.method_names() == ("auto", "statistics", "added", "least_squares", "distill")
    old = network(K)
    new = swap_downsampling(old)
    report = calibrate(new, original=old, data=images(40), method="added", verbose=False)
    assert [(stage.name, stage.note, stage.kept) for stage in report.stages] == [
        ("added", "ran", False)
    ]
    report = calibrate(new, original=old, data=images(40), verbose=False)
    assert [stage.name for stage in report.stages] == list(stages.method_names()[1:])
    with pytest.raises(BadRequest, match="one of auto, statistics, added, least_squares, distill"):
        calibrate(new, original=old, data=images(40), method="best")


def test_forms_are_measured_by_the_last_closed_form() -> None:
    assert stages.quick_stage().name == "least_squares"


def test_what_calibrates_names_no_method() -> None:
    package = ROOT / "keras_downswap"
    for file in ("calibration/run.py", "calibration/stage.py", "search/form_search.py"):
        text = (package / file).read_text("utf-8")
        assert not [name for name in stages.method_names()[1:] if f'"{name}"' in text]
