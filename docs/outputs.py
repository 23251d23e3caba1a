"""Writes what the code blocks of the README and of docs/ print, and the table of targets.

    python docs/outputs.py [PAGE ...]

A `python` block may be followed by a `text` block, which shows what it prints; the blocks of a page
run one after another and share their names. A `console` block holds one command line of
`keras-downswap` and what that prints on standard output. The table of targets stands between
`<!-- targets -->` and `<!-- end of targets -->`. tests/test_docs.py compares.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_downswap.planning.targets import TARGETS as ALL_TARGETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TARGETS = re.compile(r"(?<=<!-- targets -->\n).*?(?=<!-- end of targets -->)", re.DOTALL)
PROFILE_ROW = (
    "| `profile:NAME` | Whatever exceeds the limits of a device becomes the cheapest exact form "
    "within them. | exact, or kept with the limit as the reason |"
)
COLUMNS = "100"
"""Width of the help pages that are shown."""


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: What stands after its three backticks.
        body: What stands in it.
        start: Where the body starts in the page.
        end: Where the body ends in the page.
        close: Where its closing backticks end.
    """

    language: str
    body: str
    start: int
    end: int
    close: int


def blocks(text: str) -> list[Block]:
    """Return the code blocks of a page, in order."""
    return [Block(m[1], m[2], m.start(2), m.end(2), m.end()) for m in BLOCK.finditer(text)]


def python_blocks(text: str) -> list[tuple[Block, Block | None]]:
    """Return the Python blocks of a page, each with the text block that directly follows it."""
    pairs: list[tuple[Block, Block | None]] = []
    found = blocks(text)
    for number, block in enumerate(found):
        if block.language != "python":
            continue
        shown = None
        for after in found[number + 1 : number + 2]:
            between = text[block.close : after.start].strip()
            if between == "```text":
                shown = after
        pairs.append((block, shown))
    return pairs


def console_blocks(text: str) -> list[Block]:
    """Return the console blocks of a page."""
    return [block for block in blocks(text) if block.language == "console"]


def printed(text: str, name: str) -> Iterator[tuple[Block | None, str]]:
    """Run the Python blocks of a page in order; yield each text block with what was printed."""
    space: dict[str, object] = {"__name__": "docs"}
    for block, shown in python_blocks(text):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(block.body, name, "exec"), space)
        yield shown, output.getvalue()


def console_output(block: Block, folder: Path) -> str:
    """Run the command of a console block beside the demo's model; return the block anew."""
    shutil.copy(ROOT / "keras_downswap" / "demo" / "digits_cnn.keras", folder)
    command = block.body.partition("\n")[0]
    program, *words = shlex.split(command.removeprefix("$ "))
    if program != "keras-downswap":
        raise ValueError(f"expected a command of keras-downswap, received {command!r}")
    done = subprocess.run(
        [sys.executable, "-m", "keras_downswap", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": COLUMNS},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    return "\n".join([command, *lines]) + "\n"


def targets_table() -> str:
    """Return the table of all targets, from the code."""
    lines = ["| `to` | what becomes of a site | promise |", "| --- | --- | --- |"]
    for target in ALL_TARGETS:
        lines.append(f"| `{target.name}` | {target.summary} | {target.promise} |")
    return "\n".join([*lines, PROFILE_ROW]) + "\n"


def refreshed(page: Path) -> str:
    """Return a page with what its blocks print today, and with today's table of targets."""
    text = TARGETS.sub(lambda _: targets_table(), page.read_text("utf-8"))
    changes: list[tuple[Block, str]] = []
    for shown, output in printed(text, page.name):
        if shown is not None:
            changes.append((shown, output))
    for block in console_blocks(text):
        with tempfile.TemporaryDirectory() as folder:
            changes.append((block, console_output(block, Path(folder))))
    # From the last to the first, so that the places of those before stay right.
    for block, body in sorted(changes, key=lambda change: change[0].start, reverse=True):
        text = text[: block.start] + body + text[block.end :]
    return text


def main() -> None:
    """Rewrite the pages that the command line names, or all."""
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        page.write_text(refreshed(page), "utf-8")


if __name__ == "__main__":
    main()
