"""Makes projects with the product's own templates, and small ones by hand, in real git repositories."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conveyor.project.foreign import clean_environment_variables
from conveyor.project.scaffold import NewProject, create_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from conveyor.project.settings import ProjectKind

IDENTITY = {
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@localhost",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@localhost",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def long_rounds(*values: str) -> list[ParameterSet]:
    """Parameters of a test that only ``make torture`` goes through; others of their kind always run."""
    return [pytest.param(value, marks=pytest.mark.torture) for value in values]


_NUMBERS = itertools.count(1)  # of commits: equal ones made in one second would be one commit

# A model whose training takes no time: what it says stands in the training command.
SMALL_MODEL = """\
[tool.conveyor]
kind = "model"
package = "small"
payload = ["src/small/model/weights.bin"]
train = ["python", "-m", "small.training"]
"""
TRAINING = """\
from pathlib import Path

folder = Path(__file__).parent / "model"
folder.mkdir(exist_ok=True)
(folder / "weights.bin").write_bytes(bytes(range(64)))
print("trained on nothing")
"""


def git(folder: Path, *arguments: str, **variables: str) -> str:
    """Run git in a folder, with an identity of its own; its output, stripped."""
    environment = os.environ | IDENTITY | variables
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str] | None = None, *, date: int | None = None) -> str:
    """Write files and commit all changes, or none, at a time of one's own; the commit's id."""
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "add", "--all")
    times = {} if date is None else {"GIT_COMMITTER_DATE": f"@{date} +0000"}
    git(folder, "commit", "-q", "--allow-empty", "-m", f"Change {next(_NUMBERS)}", **times)
    return git(folder, "rev-parse", "HEAD")


def annotated_tag(folder: Path, name: str, *, date: int) -> None:
    """An annotated tag of a given time: git prefers the newer of two on one commit."""
    git(folder, "tag", "-a", "-m", name, name, GIT_COMMITTER_DATE=f"@{date} +0000")


def new_project(folder: Path, name: str = "demo", *, kind: ProjectKind = "package") -> Path:
    """A project as ``conveyor new`` makes it."""
    return create_project(NewProject(name, kind, folder / name)).folder


def small_model(folder: Path, *, training: str = TRAINING) -> Path:
    """A generated package turned into a model that trains in no time and needs no library."""
    root = new_project(folder, "small")
    pyproject = (root / "pyproject.toml").read_text()
    start, end = pyproject.index("[tool.conveyor]"), pyproject.index("# The version is a git tag")
    artifacts = '[tool.hatch.build]\nartifacts = ["/src/small/model/weights.bin"]\n\n'
    (root / "pyproject.toml").write_text(pyproject[:start] + SMALL_MODEL + artifacts + pyproject[end:])
    with (root / ".gitignore").open("a") as ignored:
        ignored.write("/src/small/model/\n")
    (root / "src/small/training.py").write_text(training)
    commit(root)
    return root


def version_of(checkout: Path, variables: Mapping[str, str] | None = None) -> str:
    """The version that the project's own build backend gives the checkout now."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"], cwd=checkout, capture_output=True, text=True,
        env=clean_environment_variables() | dict(variables or {}), check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else f"error: {done.stderr.strip().splitlines()[-1]}"
