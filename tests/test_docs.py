"""Code blocks of the README and of docs/ print what is shown, links and paths lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import keras_downswap
from keras_downswap.calibration.closed_form.layerwise import LayerFit
from keras_downswap.calibration.evaluation.agreement import Agreement
from keras_downswap.calibration.forms import FormSearchReport, Group, Option, Trial
from keras_downswap.calibration.report import CalibrationReport, StageReport
from keras_downswap.checks import Check
from keras_downswap.report import Report

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
TABLE_KEYS = re.compile(r"^\| (`.+?`) \|", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def script(name: str) -> Any:
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


OUTPUTS = script("outputs")
PAGES: list[Path] = OUTPUTS.PAGES
WITH_PYTHON = [page for page in PAGES if OUTPUTS.python_blocks(page.read_text("utf-8"))]
CONSOLE = [
    (page.name, block)
    for page in PAGES
    for block in OUTPUTS.console_blocks(page.read_text("utf-8"))
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda p: p.name)
def test_python_blocks_print_what_is_shown(page: Path) -> None:
    for shown, output in OUTPUTS.printed(page.read_text("utf-8"), page.name):
        assert shown is None or output == shown.body


@pytest.mark.parametrize(
    ("page", "block"), CONSOLE, ids=lambda v: v if isinstance(v, str) else v.body.split("\n")[0]
)
def test_console_blocks_print_what_is_shown(page: str, block: Any, tmp_path: Path) -> None:
    assert OUTPUTS.console_output(block, tmp_path) == block.body


def test_a_wrong_output_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n", "utf-8")
    with pytest.raises(AssertionError):
        test_python_blocks_print_what_is_shown(page)
    page.write_text(OUTPUTS.refreshed(page), "utf-8")
    test_python_blocks_print_what_is_shown(page)


def test_the_table_of_targets_is_that_of_the_code() -> None:
    shown = OUTPUTS.TARGETS.findall(PAGES[0].read_text("utf-8"))
    assert shown == [OUTPUTS.targets_table()]


@pytest.mark.parametrize("name", keras_downswap.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert f"`{name}" in (ROOT / "docs" / "api.md").read_text("utf-8")


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert all(f"docs/{page.name}" in readme for page in PAGES[1:])


def text_of(page: Path) -> str:
    """Return a page without its code blocks."""
    return OUTPUTS.BLOCK.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get: lower case, hyphens for blanks, no
    punctuation.
    """
    found: Counter[str] = Counter()
    names = set()
    for heading in HEADING.findall(text_of(page)):
        shown = LINK.sub(lambda link: link[0][1:].partition("]")[0], heading)
        plain = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        # A heading that repeats an earlier one is numbered.
        names.add(f"{plain}-{found[plain]}" if found[plain] else plain)
        found[plain] += 1
    return names


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of a page."""
    broken = []
    for link in LINK.findall(text_of(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    other = tmp_path / "other.md"
    other.write_text("# One `head`: of [two](page.md)\n\n# Twice\n\n# Twice\n", "utf-8")
    good = ["other.md", "#here", "other.md#one-head-of-two", "other.md#twice-1", "https://a.b/c#d"]
    wrong = ["missing.md", "#there", "other.md#three", "other.md#twice-2"]
    links = "\n".join(f"* [words]({link})" for link in (*good, *wrong))
    unread = "```python\n[no](link.md)\n```\n"
    page.write_text(f"# Here\n\n{links}\n\n{unread}", "utf-8")
    assert broken_links(page) == wrong


def missing_paths(page: Path) -> list[str]:
    """Return the files and folders that a page names in backticks and that do not exist."""
    named = re.findall(r"`((?:\w+/)*(?:\w+\.py|\w+/))`", text_of(page))
    homes = (ROOT, ROOT / "keras_downswap", ROOT / "tests")
    return [path for path in named if not any((home / path).exists() for home in homes)]


@pytest.mark.parametrize("name", ["architecture.md", "contributing.md"])
def test_every_path_that_a_page_names_exists(name: str) -> None:
    assert missing_paths(ROOT / "docs" / name) == []


def test_a_missing_path_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`ir/geometry.py`, `tests/support/`, `ir/no.py`, `nowhere/`", "utf-8")
    assert missing_paths(page) == ["ir/no.py", "nowhere/"]


def keys_shown(page: Path, heading: str) -> set[str]:
    """Return the first column of the first table after a heading; a cell may hold several names."""
    section = page.read_text("utf-8").partition(f"\n### {heading}\n")[2]
    table = section.strip().partition("\n\n")[0]
    return {name for cell in TABLE_KEYS.findall(table) for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "value"),
    [
        ("The report", Report),
        ("A check", Check),
        ("A calibration", CalibrationReport),
        ("An agreement", Agreement),
        ("A stage", StageReport),
        ("A fit", LayerFit),
        ("Choices", FormSearchReport),
        ("A group", Group),
        ("An option", Option),
        ("A trial", Trial),
    ],
)
def test_the_keys_of_the_report_are_those_of_its_values(heading: str, value: Any) -> None:
    fields = {field.name for field in dataclasses.fields(value)}
    assert keys_shown(ROOT / "docs" / "api.md", heading) == fields


def test_every_option_of_the_command_line_is_described(tmp_path: Path) -> None:
    page = ROOT / "docs" / "cli.md"
    offered = set()
    for command in ("inspect", "convert", "demo"):
        body = f"$ keras-downswap {command} --help\n"
        shown = OUTPUTS.console_output(OUTPUTS.Block("console", body, 0, 0, 0), tmp_path)
        offered |= set(OPTION.findall(shown))
    described = set(OPTION.findall(text_of(page)))
    assert offered | {"--version"} == described
