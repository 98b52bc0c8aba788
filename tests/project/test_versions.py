"""Which tags are releases, what commits between them are called, and that the build backend agrees."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.errors import InvalidVersion
from conveyor.project.git import clone_tag
from conveyor.project.versions import (
    is_release_tag,
    override_variable,
    version_of_release_tag,
)
from project.checkouts import annotated_tag, commit, git, new_project, version_of

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = ("v1.2.3", "1.2.3", "v0.1.0rc1", "1.2.3a4", "1.2.3b1", "10.20.30", "v1.2.3.post1", "0.0.1")
NO_RELEASES = (
    "v1", "v1.2", "1", "latest", "model-churn-7", "BASELINE_D2024-10-03", "pkg/v1.2.3", "v1.2.3.4", "1.2.x",
    "1.2.3-rc1", "v1.2.3.dev1", "1.2.3+local", "release-1.2.3", "1.2.3-beta", "nightly-1.2.3", "vv1.2.3",
)  # fmt: skip


@pytest.mark.parametrize("tag", RELEASES)
def test_release_tag_has_the_version_it_spells(tag: str) -> None:
    assert version_of_release_tag(tag) == Version(tag)


@pytest.mark.parametrize("tag", NO_RELEASES)
def test_other_tags_never_count(tag: str) -> None:
    assert not is_release_tag(tag)


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("latest", "is not a version"),
        ("v1.2", "three components"),
        ("1!1.2.3", "three components"),
        ("v1.2.3-rc1", "the version is 1.2.3rc1"),
        ("v01.2.3", "the version is 1.2.3"),
        ("vv1.2.3", "the version is 1.2.3"),
        ("v1.2-rc1", "three components"),
        ("v1.2.3-dev4", "development version"),
        ("v1.2.3.dev4", "development version"),
        ("v1.2.3+gabcdef0", "development version"),
    ],
)
def test_refused_tag_gives_the_reason(tag: str, reason: str) -> None:
    with pytest.raises(InvalidVersion, match=reason):
        version_of_release_tag(tag)


def test_override_names_one_project_only() -> None:
    assert override_variable("My.tumor-Model") == "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_TUMOR_MODEL"


# --- the same rules in the build backend of a generated project -------------------------------------------


@pytest.fixture(scope="module")
def globs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The ``git describe`` command of a generated project, without what surrounds the tag."""
    root = new_project(tmp_path_factory.mktemp("globs"))
    document = tomllib.loads((root / "pyproject.toml").read_text())
    command = document["tool"]["hatch"]["version"]["raw-options"]["scm"]["git"]["describe_command"]
    assert isinstance(command, list)
    return [word for word in command[1:] if word not in ("--dirty", "--long", "--abbrev=40")]


def test_globs_of_generated_projects_admit_the_same_tags(tmp_path: Path, globs: list[str]) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    for tag in (*RELEASES, *NO_RELEASES):
        git(tmp_path, "tag", tag)
        try:
            found = git(tmp_path, *globs, "--abbrev=0", "--always")
        finally:
            git(tmp_path, "tag", "-d", tag)
        assert (found == tag) == is_release_tag(tag), tag


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path)


def test_version_has_three_components_before_the_first_tag(project: Path) -> None:
    version = Version(version_of(project))
    assert len(version.release) == 3
    assert version.is_devrelease
    assert version < Version("0.1.0rc1")


def test_commit_after_a_release_is_the_next_version_and_names_itself(project: Path) -> None:
    git(project, "tag", "v1.2.0")
    commit(project)
    last = commit(project)
    version = version_of(project)
    assert version.startswith("1.2.1.dev2+g")
    short = version.removeprefix("1.2.1.dev2+g")
    assert len(short) >= 7
    assert last.startswith(short)


def test_commit_after_a_candidate_sorts_above_the_final(project: Path) -> None:
    git(project, "tag", "v1.2.1rc1")
    commit(project)
    assert Version(version_of(project)) > Version("1.2.1")


@pytest.mark.parametrize("stray", ["v1", "latest", "model-churn-7", "BASELINE_D2024-10-03"])
def test_moving_and_experiment_tags_never_count(project: Path, stray: str) -> None:
    git(project, "tag", "v1.2.3")
    annotated_tag(project, stray, date=4_000_000_000)
    assert version_of(project) == "1.2.3"


def test_edited_file_is_seen_in_the_version(project: Path) -> None:
    git(project, "tag", "v1.2.3")
    (project / "README.md").write_text("edited\n")
    assert version_of(project).startswith("1.2.4.dev0+g")


def test_shallow_clone_without_a_tag_is_an_error_instead_of_a_wrong_version(
    project: Path, tmp_path: Path
) -> None:
    git(project, "tag", "v1.2.3")
    commit(project)
    commit(project)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", "shallow")
    assert "shallow" in version_of(tmp_path / "shallow")


@pytest.mark.parametrize("asked", ["v1.2.1rc1", "v1.2.1"])
@pytest.mark.parametrize("order", ["light, light", "candidate newer", "final newer", "annotated candidate"])
def test_clone_of_one_tag_has_its_version_whatever_stands_beside_it(
    project: Path, tmp_path: Path, asked: str, order: str
) -> None:
    """Both tags on one commit, in every order that git describe would take for something else."""
    dates = {"candidate newer": (2, 1), "final newer": (1, 2), "annotated candidate": (1, None)}
    candidate, final = dates.get(order, (None, None))
    for tag, date in (("v1.2.1rc1", candidate), ("v1.2.1", final)):
        if date is None:
            git(project, "tag", tag)
        else:
            annotated_tag(project, tag, date=1_700_000_000 + date)
    clone_tag(project, asked, tmp_path / "clone")
    assert version_of(tmp_path / "clone") == str(version_of_release_tag(asked))


def test_override_of_this_project_wins_and_that_of_another_does_not(project: Path) -> None:
    git(project, "tag", "v1.2.3")
    assert version_of(project, {override_variable("demo"): "9.9.9"}) == "9.9.9"
    assert version_of(project, {override_variable("other"): "9.9.9"}) == "1.2.3"
