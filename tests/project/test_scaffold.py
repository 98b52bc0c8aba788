"""``conveyor new``: names, folders, the first commit, and what every generated file must keep."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import InvalidInput, InvalidName, ProjectError
from conveyor.project.git import changed_files, tracked_files
from conveyor.project.scaffold import BORROWED_IDENTITY, TEMPLATES, NewProject, create_project
from project.checkouts import git, new_project

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.project.settings import ProjectKind

KINDS: tuple[ProjectKind, ...] = ("package", "model")
NAMES = ("xy", "tumor", "Mixed.Case-name", "a-rather-long-name-for-a-model-of-something-far-away")


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No identity and no configuration of the machine: an empty home, and nothing system-wide."""
    (tmp_path / "home").mkdir()
    for name in list(os.environ):
        if name.startswith("GIT_") or name in {"EMAIL", "XDG_CONFIG_HOME"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.mark.parametrize("kind", KINDS)
def test_project_is_committed_on_main(tmp_path: Path, kind: ProjectKind) -> None:
    made = create_project(NewProject("tumor", kind, tmp_path / "tumor"))
    assert git(made.folder, "branch", "--show-current") == "main"
    assert git(made.folder, "rev-parse", "HEAD") == made.commit
    assert git(made.folder, "rev-list", "--count", "HEAD") == "1"
    assert changed_files(made.folder) == ()
    assert tracked_files(made.folder) == made.files
    expected = {".gitignore", "README.md", "docs/conf.py", "docs/index.md", "pyproject.toml"}
    expected |= {"notebooks/explore.ipynb", "src/tumor/__init__.py", "src/tumor/py.typed"}
    assert expected <= set(made.files)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["tumor"]


def test_without_an_identity_one_is_borrowed_for_this_commit_only(tmp_path: Path) -> None:
    made = create_project(NewProject("demo", folder=tmp_path / "demo"))
    assert made.borrowed_identity == "{} <{}>".format(*BORROWED_IDENTITY)
    assert git(made.folder, "log", "-1", "--format=%an <%ae> %cn <%ce>") == " ".join(
        [made.borrowed_identity] * 2
    )
    assert "user.name" not in git(made.folder, "config", "--local", "--list")


def test_author_with_an_address_makes_the_commit_without_an_identity(tmp_path: Path) -> None:
    made = create_project(NewProject("demo", folder=tmp_path / "demo", author="Team <team@localhost>"))
    assert git(made.folder, "log", "-1", "--format=%an <%ae>") == "Team <team@localhost>"
    document = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert document["project"]["authors"] == [{"name": "Team", "email": "team@localhost"}]


def test_configured_identity_is_used(tmp_path: Path) -> None:
    (tmp_path / "home/.gitconfig").write_text("[user]\nname = Someone\nemail = someone@localhost\n")
    made = create_project(NewProject("demo", folder=tmp_path / "demo", author="Team <team@localhost>"))
    assert made.borrowed_identity is None
    assert git_log(made.folder) == "Someone <someone@localhost>"


def test_identity_in_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Worker")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "worker@localhost")
    made = create_project(NewProject("demo", folder=tmp_path / "demo"))
    assert made.borrowed_identity is None
    assert git_log(made.folder) == "Worker <worker@localhost>"


def git_log(folder: Path) -> str:
    command = ["git", "log", "-1", "--format=%an <%ae>"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("-a", ["is not a project name"]),
        ("tümor", ["is not a project name"]),
        ("a/b", ["is not a project name"]),
        ("3d-model", ["begins with a letter"]),
        ("class", ["keyword"]),
        ("json", ["standard library"]),
        ("Random", ["standard library"]),
        ("pytest", ["itself uses"]),
        ("import", ["keyword"]),
    ],
)
def test_name_that_cannot_be_is_refused(tmp_path: Path, name: str, faults: list[str]) -> None:
    with pytest.raises(InvalidName) as caught:
        create_project(NewProject(name, folder=tmp_path / "project"))
    assert len(caught.value.faults) == len(faults)
    for found, expected in zip(caught.value.faults, faults, strict=True):
        assert expected in found
    assert not (tmp_path / "project").exists()


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "scikit-learn").mkdir()
    (tmp_path / "scikit-learn/mine.txt").write_text("mine")
    with pytest.raises(InvalidName) as caught:
        create_project(NewProject("scikit-learn", "model", tmp_path / "scikit-learn"))
    assert len(caught.value.faults) == 2
    assert [path.name for path in (tmp_path / "scikit-learn").iterdir()] == ["mine.txt"]


def test_empty_folder_is_filled_and_stays_itself(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    number = (tmp_path / "demo").stat().st_ino
    new_project(tmp_path)
    assert (tmp_path / "demo").stat().st_ino == number
    assert changed_files(tmp_path / "demo") == ()


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InvalidName, match="exists and is not a folder"):
        new_project(tmp_path)
    assert (tmp_path / "demo").read_text() == "mine"


def test_failed_commit_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "home/.gitconfig").write_text(
        "[user]\nname = Someone\nemail = someone@localhost\n[commit]\ngpgSign = true\n"
        "[gpg]\nprogram = /does/not/exist\n"
    )
    with pytest.raises(ProjectError):
        new_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_several_lines_are_no_description(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="description"):
        create_project(NewProject("demo", folder=tmp_path / "demo", description="one\ntwo"))


def test_faults_of_name_and_description_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InvalidName) as caught:
        create_project(NewProject("class", folder=tmp_path / "x", description="one\ntwo", author="a\nb"))
    assert len(caught.value.faults) == 3


def test_description_and_author_are_quoted(tmp_path: Path) -> None:
    text = 'Says "hi" \\ to {{ all }} & <everyone> ü'
    made = create_project(NewProject("demo", folder=tmp_path / "demo", description=text, author=text))
    document = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert document["project"]["description"] == text
    assert text in (made.folder / "README.md").read_text()
    assert document["project"]["authors"][0]["name"].startswith('Says "hi" \\ to {{ all }} &')


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_passes_ruff(tmp_path: Path, kind: ProjectKind, name: str) -> None:
    root = new_project(tmp_path, name, kind=kind)
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--no-cache", "."],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_conveyor_is_needed(tmp_path: Path, kind: ProjectKind) -> None:
    root = new_project(tmp_path, "tumor", kind=kind)
    document = tomllib.loads((root / "pyproject.toml").read_text())
    extras = document["project"]["optional-dependencies"]
    requirements = [*document["build-system"]["requires"], *document["project"]["dependencies"]]
    requirements += [requirement for extra in extras.values() for requirement in extra]
    assert not [requirement for requirement in requirements if "conveyor" in requirement]
    assert not [
        path for path in root.rglob("*.py") if re.search(r"import conveyor|from conveyor", path.read_text())
    ]
    assert {"test", "docs"} <= set(extras)


@pytest.mark.parametrize("kind", KINDS)
def test_version_comes_from_git_without_a_version_file(tmp_path: Path, kind: ProjectKind) -> None:
    root = new_project(tmp_path, "tumor", kind=kind)
    document = tomllib.loads((root / "pyproject.toml").read_text())
    hatch = document["tool"]["hatch"]
    assert document["project"]["dynamic"] == ["version"]
    assert hatch["version"]["source"] == "vcs"
    assert hatch["version"]["raw-options"]["dist_name"] == "tumor"
    assert "hooks" not in hatch.get("build", {})
    assert document["tool"]["uv"]["cache-keys"][1] == {"git": {"commit": True, "tags": True}}
    assert hatch["build"]["targets"]["sdist"]["only-include"] == ["src", "tests", "docs"]


def test_payload_is_declared_ignored_and_an_artefact(tmp_path: Path) -> None:
    root = new_project(tmp_path, "tumor", kind="model")
    document = tomllib.loads((root / "pyproject.toml").read_text())
    payload = document["tool"]["conveyor"]["payload"]
    assert document["tool"]["hatch"]["build"]["artifacts"] == [f"/{path}" for path in payload]
    ignored = git(root, "check-ignore", *payload).splitlines()
    assert ignored == payload


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_folders_are_anchored(tmp_path: Path, kind: ProjectKind) -> None:
    """A bare ``data/`` would take a package folder of that name out of the wheel."""
    lines = (new_project(tmp_path, kind=kind) / ".gitignore").read_text().splitlines()
    bare = [line for line in lines if line and not line.startswith(("#", "/"))]
    assert bare == ["__pycache__/", "*.egg-info/"]


@pytest.mark.parametrize("kind", KINDS)
def test_notebook_is_valid_and_was_never_run(tmp_path: Path, kind: ProjectKind) -> None:
    """By the schema of nbformat 4.5: every cell has an id of its own, code cells have outputs and a count."""
    notebook = json.loads((new_project(tmp_path, kind=kind) / "notebooks/explore.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"].keys() == {"display_name", "language", "name"}
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert isinstance(cell["source"], list)
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            compile("".join(cell["source"]), "cell", "exec")


def test_every_template_is_marked_as_one() -> None:
    """Git and build backends would act on a real ``.gitignore``, pytest on a real test."""
    files = [path for path in TEMPLATES.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if path.suffix != ".jinja"] == []
