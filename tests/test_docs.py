"""The code blocks of the README and of docs/ run, and print what is shown under them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[str, str | None]]:
    """Return the blocks of a language, each with the text block that directly follows it, if any."""
    found = [(m[1], m[2], m.start(), m.end()) for m in BLOCK.finditer(page.read_text("utf-8"))]
    text = page.read_text("utf-8")
    pairs = []
    for i, (kind, body, _, end) in enumerate(found):
        if kind != language:
            continue
        follows = (
            i + 1 < len(found)
            and found[i + 1][0] == "text"
            and not text[end : found[i + 1][2]].strip()
        )
        pairs.append((body, found[i + 1][1] if follows else None))
    return pairs


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_print_what_is_shown(page: Path) -> None:
    space: dict[str, object] = {"__name__": "docs"}
    for body, shown in blocks(page, "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(body, page.name, "exec"), space)
        assert shown is None or printed.getvalue() == shown


CONSOLE = [(page.name, body) for page in PAGES for body, _ in blocks(page, "console")]


@pytest.mark.parametrize(("page", "body"), CONSOLE, ids=lambda v: v if v.endswith(".md") else "")
def test_console_blocks_print_what_is_shown(page: str, body: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "keras_downswap" / "demo" / "digits_cnn.keras", tmp_path)
    command, _, shown = body.partition("\n")
    program, *words = shlex.split(command.removeprefix("$ "))
    assert program == "keras-downswap"
    done = subprocess.run(
        [sys.executable, "-m", "keras_downswap", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\n".join(line.rstrip() for line in done.stdout.splitlines()) == shown.rstrip()


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert all(f"docs/{page.name}" in readme for page in PAGES[1:])


def test_a_wrong_output_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n", "utf-8")
    ((body, shown),) = blocks(page, "python")
    assert (body, shown) == ("print(1)\n", "2\n")
    with pytest.raises(AssertionError):
        test_python_blocks_print_what_is_shown(page)
