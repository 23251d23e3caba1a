"""Tests that need no framework import none, so that the tests of one rule answer at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
import pytest

code = pytest.main(["-n", "0", "-p", "no:cacheprovider", *sys.argv[1:]])
frameworks = {"tensorflow", "keras", "tf_keras", "jax", "torch"}
print("imported:", sorted(frameworks & set(sys.modules)))
sys.exit(code)
"""


def imported_by(*arguments: str) -> str:
    """Return the frameworks that a run of pytest has imported, as its last line says it."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_running_the_tests_of_a_rule_imports_no_framework() -> None:
    assert imported_by(str(TESTS / "rules" / "test_pool_into_pool.py")) == "imported: []"


def test_collecting_the_folders_that_know_no_framework_imports_none() -> None:
    folders = [str(TESTS / name) for name in ("ir", "planning", "rulekit", "rules")]
    assert imported_by("--collect-only", *folders) == "imported: []"


def test_a_framework_that_is_imported_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "test_importing.py"
    file.write_text("import sys\nsys.modules['torch'] = sys\ndef test(): pass\n", "utf-8")
    assert imported_by("--collect-only", str(file)) == "imported: ['torch']"
