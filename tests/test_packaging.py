"""What a package index gives: metadata, a README without broken links, supported versions."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import keras_downswap

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LINK = re.compile(r"\[[^\]]+\]\((?!https?:)[^)]*\)")
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=(?P<version>[\d.]+)")
CONSTRAINT = re.compile(r"(?P<name>[\w-]+)==(?P<version>[\d.]+)(?:; (?P<marker>.*))?")


def shown_by_an_index(readme: str) -> str:
    """Return the long description, as the build makes it from the README."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        readme = re.sub(each["pattern"], each["replacement"], readme)
    return readme


def test_an_index_shows_no_link_that_leads_nowhere() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert LINK.search(readme)
    assert LINK.findall(shown_by_an_index(readme)) == []


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[rules](docs/rules.md)", "rules (`docs/rules.md`)"),
        ("[docs/rules.md](docs/rules.md)", "`docs/rules.md`"),
        ("[`docs/rules.md`](docs/rules.md#a)", "`docs/rules.md`"),
        ("[rules](docs/rules.md#a)", "rules (`docs/rules.md`)"),
        ("see [below](#more).", "see below."),
        ("[a page](https://a.example/b)", "[a page](https://a.example/b)"),
    ],
)
def test_links_become_names_of_files(written: str, shown: str) -> None:
    assert shown_by_an_index(written) == shown


def test_every_link_of_a_page_leads_to_a_file() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_citation_has_the_version_and_the_authors() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    (author,) = PROJECT["project"]["authors"]
    assert f"version: {keras_downswap.__version__}\n" in citation
    assert f'name: "{author["name"]}"' in citation


def test_the_changelog_has_the_version() -> None:
    changelog = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    assert "\n## Unreleased\n" in changelog
    assert f"\n## {keras_downswap.__version__}" in changelog


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    required = {}
    for requirement in PROJECT["project"]["dependencies"]:
        found: Any = REQUIREMENT.match(requirement)
        required[found["name"]] = found["version"]
    constrained = {}
    for line in (ROOT / "tests" / "oldest.txt").read_text("utf-8").splitlines():
        constraint = CONSTRAINT.fullmatch(line)
        if constraint and constraint["marker"] != 'python_version >= "3.13"':
            constrained[constraint["name"]] = constraint["version"]
    for name, version in constrained.items():
        assert f"{version}.".startswith(f"{required[name]}."), name
    assert set(required) - set(constrained) <= {"tomli"}


def test_the_core_laws_are_there() -> None:
    for line in (ROOT / ".ci" / "core-laws.txt").read_text("utf-8").splitlines():
        path, _, test = line.partition("::")
        assert (ROOT / path).exists(), line
        if test:
            assert f"\ndef {test}(" in (ROOT / path).read_text("utf-8"), line


def test_tools_that_change_what_they_find_are_pinned() -> None:
    for requirement in PROJECT["project"]["optional-dependencies"]["lint"]:
        assert re.fullmatch(r"\w+==[\d.]+", requirement)


def test_the_gate_finds_the_command_of_the_readme() -> None:
    (pattern,) = re.findall(r"sed -n 's/(.*)/\\1/p' README", (ROOT / ".ci" / "run").read_text())
    pattern = pattern.replace(r"\(", "(").replace(r"\)", ")")
    readme = (ROOT / "README.md").read_text("utf-8")
    (command,) = re.findall(pattern, readme, re.MULTILINE)
    assert "python -m pytest" in command
