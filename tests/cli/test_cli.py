"""The command line as a person meets it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from keras_downswap import plan_swaps
from keras_downswap.cli import main as cli
from keras_downswap.cli.inspect import site_table
from keras_downswap.errors import BrokenPromise
from keras_downswap.files import io as files
from keras_downswap.planning.targets import names_of_targets

DEMO = Path(files.__file__).parents[1] / "demo" / "digits_cnn.keras"


def run(*words: object) -> Any:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_convert_writes_model_and_report(tmp_path: Path) -> None:
    target, report = tmp_path / "out.keras", tmp_path / "report.json"
    done = run("convert", DEMO, target, "--report", report)
    assert done.exit_code == 0, done.output
    assert "1 exact and 1 approximate swaps, 1 kept" in done.stdout
    assert "before use" in done.stdout
    account = json.loads(report.read_text("utf-8"))
    assert [site["status"] for site in account["sites"]] == ["swapped", "swapped", "kept"]
    assert files.load(target).get_layer("conv3").strides == (2, 2)


def test_options_reach_the_plan(tmp_path: Path) -> None:
    exact = run("convert", DEMO, tmp_path / "a.keras", "--method", "exact")
    assert "1 exact and 0 approximate swaps, 2 kept" in exact.stdout
    only = run("convert", DEMO, tmp_path / "b.keras", "--include", "^pool1$")
    assert "0 exact and 1 approximate swaps, 2 kept" in only.stdout
    none = run("convert", DEMO, tmp_path / "c.keras", "--exclude", "pool", "--to", "average_pool")
    assert "nothing was swapped" in none.stderr


def test_a_dry_run_prints_the_plan_and_writes_no_model(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run("convert", DEMO, tmp_path / "out.keras", "--dry-run", "--report", report)
    assert done.exit_code == 0
    assert "conv3 + pool2 -> exact" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert json.loads(report.read_text("utf-8"))["checks"] == []


def test_inspect_shows_costs_before_and_after() -> None:
    done = run("inspect", DEMO)
    assert done.exit_code == 0
    for words in (
        "6,944 -> 12,320",
        "110,592 -> 49,152",
        "221,184 -> 55,296",
        "4x4x24",
        "approximate",
    ):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["convert", "missing.keras", "out.keras"], "there is no such file"),
        (["convert", DEMO, "out.pb"], "expected the ending"),
        (["convert", DEMO, "out"], "Keras 3 does not save models as a SavedModel"),
        (["convert", DEMO, "nowhere/out.keras"], "there is no folder"),
        (
            ["convert", DEMO, "out.keras", "--to", "magic"],
            "unknown --to 'magic': expected one of strided_conv",
        ),
        (
            ["convert", DEMO, "out.keras", "--method", "magic"],
            "unknown --method 'magic': expected one of auto, exact, copy",
        ),
        (["convert", DEMO, "out.keras", "--include", "("], "is not a regular expression"),
        (["convert", DEMO, "out.keras", "--report", "nowhere/report.json"], "there is no folder"),
        (["inspect", DEMO, "--to", "magic"], "unknown --to 'magic': expected one of"),
        (
            ["inspect", DEMO, "--form", "magic"],
            "unknown --form 'magic': expected one of same, cover",
        ),
        (
            ["convert", DEMO, "out.keras", "--form", "same", "--kernel", "cover"],
            "ask for different forms: give --form alone",
        ),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    words: list[object], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [BrokenPromise("the shape broke"), ZeroDivisionError("surprise\nin two lines")]
)
def test_a_failure_in_the_middle_is_one_line_and_leaves_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("keras_downswap.rebuilding.build.verify", fail)
    done = run("convert", DEMO, tmp_path / "out.keras", "--report", tmp_path / "report.json")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert str(error).split("\n")[0] in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_not_written_over_a_model(tmp_path: Path) -> None:
    source = Path(shutil.copy(DEMO, tmp_path / "in.keras"))
    before = source.read_bytes()
    for path in (tmp_path / "out.keras", source):
        done = run("convert", source, tmp_path / "out.keras", "--report", path, "--overwrite")
        assert done.exit_code == 1
        assert "are one path" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.keras"]
    assert source.read_bytes() == before


def test_names_are_printed_as_they_are_and_the_version_too(tmp_path: Path) -> None:
    assert "wrote" in (done := run("convert", DEMO, tmp_path / "y:tada:.keras")).stdout
    assert "y:tada:.keras" in done.stdout
    assert run("--version").stdout.startswith("keras-downswap ")


def test_existing_files_are_replaced_only_on_request(tmp_path: Path) -> None:
    target = shutil.copy(DEMO, tmp_path / "out.keras")
    before = Path(target).read_bytes()
    assert "exists already" in run("convert", DEMO, target).stderr
    assert Path(target).read_bytes() == before
    assert run("convert", DEMO, target, "--overwrite").exit_code == 0
    assert Path(target).read_bytes() != before


def test_the_demo_keeps_accuracy_by_exact_swaps_and_says_what_approximate_ones_cost() -> None:
    done = run("demo")
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    accuracy = [float(row.split("│")[-2].split("%")[0]) for row in rows]
    assert accuracy[1] == accuracy[0] >= 97.5
    assert accuracy[2] < accuracy[0] - 2
    assert accuracy[3] > accuracy[2] + 2, "fitted"
    assert "costs accuracy" in done.stdout


def test_it_runs_as_a_module_and_greets_nobody(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "keras_downswap",
        "convert",
        str(DEMO),
        str(tmp_path / "out.keras"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.endswith(f"wrote {tmp_path / 'out.keras'}\n")


def test_convert_fits_what_it_swaps(tmp_path: Path) -> None:
    images = np.load(DEMO.parent / "digits_test.npz")["images"].astype(np.float32) / 16
    np.save(tmp_path / "images.npy", images)
    options = (
        "--calibrate",
        tmp_path / "images.npy",
        "--form",
        "cover",
        "--report",
        tmp_path / "report.json",
    )
    done = run("convert", DEMO, tmp_path / "a.keras", *options)
    assert done.exit_code == 0, done.output
    assert "calibrated on 450 samples without labels, evaluated on 50 held out" in done.stdout
    assert "before use" not in done.stdout
    old, new = (
        files.load(path).predict(images, verbose=0).argmax(-1)
        for path in (DEMO, tmp_path / "a.keras")
    )
    assert (old == new).mean() > 0.97
    account = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert (
        account["calibration"]["after"]["relative_error"]
        < 0.1 * account["calibration"]["before"]["relative_error"]
    )


def test_convert_keeps_to_a_limit(tmp_path: Path) -> None:
    images = np.load(DEMO.parent / "digits_test.npz")["images"].astype(np.float32) / 16
    np.save(tmp_path / "images.npy", images[:70])
    options = (
        "--calibrate",
        tmp_path / "images.npy",
        "--max-drop",
        "0.5",
        "--report",
        tmp_path / "report.json",
    )
    done = run("convert", DEMO, tmp_path / "a.keras", *options)
    assert done.exit_code == 0, done.output
    assert (
        "'same' chosen to stay within max_drop=0.5 (alone, before the end-to-end fit:"
        in done.stdout
    )
    assert "forms within max_drop=0.5" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["choices"]["forms"] == ["same"]
    wrong = run("convert", DEMO, tmp_path / "b.keras", "--max-drop", "0.5")
    assert (wrong.exit_code, wrong.stdout, (tmp_path / "b.keras").exists()) == (1, "", False)
    assert "expected calibration_data (--calibrate DATA), received none" in wrong.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("missing.npy", "missing.npy"),
        ("bad.npy", "expected"),
        ("nan.npy", "NaN"),
        ("no_such_module:data", "no_such_module"),
    ],
)
def test_bad_data_writes_nothing(tmp_path: Path, data: str, words: str) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((9, 4, 4, 1), np.float32))
    np.save(tmp_path / "nan.npy", np.full((90, 8, 8, 1), np.nan, np.float32))
    place = data if ":" in data else tmp_path / data
    done = run("convert", DEMO, tmp_path / "a.keras", "--calibrate", place)
    assert done.exit_code == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a.keras").exists()


def test_a_profile_stands_for_a_target(tmp_path: Path) -> None:
    done = run("convert", DEMO, tmp_path / "a.keras", "--profile", "no_pool")
    assert done.exit_code == 0, done.output
    assert "max_pool_into_relus" in done.stdout
    kinds = {type(layer).__name__ for layer in files.load(tmp_path / "a.keras").layers}
    assert not {"MaxPooling2D", "AveragePooling2D"} & kinds
    for words in (
        ("--profile", "nope"),
        ("--profile", "no_pool", "--to", "subsample"),
        ("--profile", tmp_path / "x.toml"),
    ):
        wrong = run("convert", DEMO, tmp_path / "b.keras", *words)
        assert (wrong.exit_code, wrong.stdout, (tmp_path / "b.keras").exists()) == (1, "", False)
        assert wrong.stderr.startswith("error: ")
        assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (["--kernel", "cover"], "cover"),
        (["--method", "wide"], "wide"),
        (["--kernel", "same"], "same"),
    ],
)
def test_older_spellings_work_and_say_what_to_write(older: list[str], newer: str) -> None:
    before, after = run("inspect", DEMO, *older), run("inspect", DEMO, "--form", newer)
    assert before.exit_code == after.exit_code == 0
    assert before.stdout == after.stdout
    words = f"warning: {' '.join(older)} is deprecated: write --form {newer} instead\n"
    assert (before.stderr, after.stderr) == (words, "")


def test_the_former_default_of_kernel_asks_for_nothing_beside_method_wide() -> None:
    done = run("inspect", DEMO, "--method", "wide", "--kernel", "same")
    assert "pool_into_wide" in done.stdout
    assert done.stderr.count("\n") == 1


def test_a_form_changes_the_swap() -> None:
    rules = {"same": "pool_into_stride", "cover": "pool_into_cover", "wide": "pool_into_wide"}
    for form, rule in rules.items():
        assert f"approximate: {rule}" in run("inspect", DEMO, "--form", form).stdout
    assert "approximate" not in run("inspect", DEMO, "--form", "wide", "--method", "exact").stdout


def test_choices_are_checked_before_a_file_is_opened() -> None:
    for option in ("--to", "--method", "--form", "--kernel"):
        done = run("convert", "missing.keras", "out.keras", option, "magic")
        assert done.stderr.startswith(f"error: unknown {option} 'magic': expected one of ")
        assert done.stderr.count("\n") == 1


def test_tables_fit_a_terminal_of_80_columns_and_cut_nothing_off() -> None:

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(site_table(plan_swaps(files.load(DEMO)), 80))
    text = console.export_text()
    assert "…" not in text
    for words in ("average_pool_into_kernel", "global_pool", "6,944 ->", "110,592 ->"):
        assert words in text


def test_help_lists_targets_formats_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("convert", "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        *names_of_targets(),
        ".keras",
        "SavedModel",
        "auto|exact|copy",
        "same|cover|wide",
    ):
        assert words in text
    assert "--kernel" not in text
