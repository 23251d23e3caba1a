"""Tasks in fresh environments, for the oldest and the newest versions that are supported.

    nox -f .ci/noxfile.py --list
    nox -f .ci/noxfile.py -s quick-3.13(versions='newest')

`tests` runs everything, `quick` what answers within a minute, `laws` the core laws that `.ci/run`
holds the oldest versions to; each for both ends of the Pythons and of the versions. `pages` writes
the pages of docs/ that are made by scripts.
"""

from __future__ import annotations

from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.10", "3.13"]
VERSIONS = ["newest", "oldest"]
GENERATED = {"rules": "rules.md", "architectures": "architectures.md"}

nox.options.sessions = ["lint", "types", "quick"]
nox.options.error_on_missing_interpreters = False


def install(session: nox.Session, versions: str) -> None:
    """Install the package and what its tests need; the oldest versions by their constraints."""
    session.chdir(ROOT)
    constraints = ["-c", "tests/oldest.txt"] if versions == "oldest" else []
    session.install(*constraints, ".[test]")


@nox.session(python=PYTHONS)
@nox.parametrize("versions", VERSIONS)
def tests(session: nox.Session, versions: str) -> None:
    """Run all tests on TensorFlow, then the laws on JAX; arguments go to pytest."""
    install(session, versions)
    session.run("python", "-m", "pytest", *session.posargs)
    session.run("python", "-m", "pytest", *session.posargs, env={"KERAS_BACKEND": "jax"})


@nox.session(python=PYTHONS)
@nox.parametrize("versions", VERSIONS)
def quick(session: nox.Session, versions: str) -> None:
    """Run the tests that answer within a minute."""
    install(session, versions)
    session.run("python", "-m", "pytest", "-m", "quick", *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("versions", VERSIONS)
def laws(session: nox.Session, versions: str) -> None:
    """Run the core laws."""
    install(session, versions)
    session.run("python", "-m", "pytest", "@.ci/core-laws.txt", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.chdir(ROOT)
    session.install(*pinned("ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.chdir(ROOT)
    session.install(".[lint]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the code blocks of the pages and compare generated pages with the code."""
    install(session, "newest")
    pages = ["tests/test_docs.py", "tests/test_measurements.py", "tests/rules/test_rules_page.py"]
    session.run("python", "-m", "pytest", *pages, *session.posargs)


@nox.session
def pages(session: nox.Session) -> None:
    """Write the pages, and the tables of measured numbers, that scripts make."""
    install(session, "newest")
    session.run("python", "docs/tables.py")
    for script, page in GENERATED.items():
        text = session.run("python", f"docs/{script}.py", silent=True, stderr=None)
        (ROOT / "docs" / page).write_text(str(text), "utf-8")


def pinned(tool: str) -> list[str]:
    """Return the requirement of a tool as pyproject.toml pins it."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    requirements = project["optional-dependencies"]["lint"]
    return [requirement for requirement in requirements if requirement.startswith(tool)]
