"""Which commit a job is for, and for which tag."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import InvalidInput, InvalidVersion, ProjectError
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.jobs.sources import clone, clone_into, read_clone, resolve
from conveyor.pipeline.jobs.suite import Subject, checked_out
from conveyor.project.settings import keep_answer
from pipeline.projects import git, make_project
from project.test_trees import make_repository

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.metadata import RawMetadata


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "repository")
    git(folder, "tag", "-a", "-m", "rc", "v1.0.0rc1")
    git(folder, "tag", "v1.0.0")
    git(folder, "commit", "-q", "--allow-empty", "-m", "More")
    git(folder, "branch", "v1.0.0", "HEAD")  # a branch that is called like the tag
    return folder


@pytest.mark.parametrize("ref", ["v1.0.0", "refs/tags/v1.0.0", "v1.0.0rc1", "refs/tags/v1.0.0rc1"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_tag_is_the_one_that_was_asked_for(repository: Path, ref: str, scheme: str) -> None:
    source = resolve(f"{scheme}{repository}", ref).value
    assert (source.commit, source.tag) == (
        git(repository, "rev-parse", "HEAD~"),
        ref.removeprefix("refs/tags/"),
    )


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "refs/heads/v1.0.0", "HEAD", "COMMIT"])
def test_branch_or_commit_has_no_tag(repository: Path, ref: str) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    source = resolve(str(repository), commit if ref == "COMMIT" else ref).value
    assert (source.commit, source.tag, source.planned) == (commit, None, None)


def test_what_is_meant_as_a_release_is_never_taken_for_a_commit(repository: Path) -> None:
    git(repository, "tag", "v1.1")
    assert resolve(str(repository), "v1.1").value.tag == "v1.1"
    with pytest.raises(InvalidVersion, match="names no version"):
        resolve(str(repository), "refs/tags/latest")
    with pytest.raises(InvalidInput, match="neither a branch nor a tag"):
        resolve(str(repository), "refs/notes/commits")
    with pytest.raises(ProjectError, match="no tag, branch or commit"):
        resolve(str(repository), "v9.9.9")
    with pytest.raises(ProjectError, match="there is no repository at nowhere"):
        resolve("nowhere", "v1.0.0")


def test_clone_of_a_tag_knows_that_tag_alone(repository: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    source = resolve(str(repository), "v1.0.0rc1").value
    cloned = clone(place, source).value
    assert (cloned.project, cloned.source.planned, cloned.releases) == ("demo", "1.0.0rc1", ("v1.0.0rc1",))
    assert git(place.folder / "checkout", "tag") == "v1.0.0rc1"
    assert clone(place, source).value == cloned  # a second attempt begins anew


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_two_tags_of_one_version_are_named_wherever_the_repository_is(
    repository: Path, tmp_path: Path, scheme: str
) -> None:
    git(repository, "tag", "1.0.0-rc.1")
    source = resolve(f"{scheme}{repository}", "v1.0.0rc1").value
    with pytest.raises(
        InvalidVersion, match=r'"1\.0\.0-rc\.1" and "v1\.0\.0rc1" both name the version 1\.0\.0rc1'
    ):
        clone(Workplace(tmp_path / "work", tmp_path / "cache"), source)


def test_tag_names_its_project_where_there_are_several(tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository" / "packages" / "demo")
    top = tmp_path / "repository"
    shutil.rmtree(repository / ".git")
    (top / "packages/other").mkdir()
    (top / "packages/other/pyproject.toml").write_text('[project]\nname = "other"\nversion = "3.0"\n')
    git(top, "init", "-q", "-b", "main")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Begin")
    for tag in ("demo/v1.0.0", "other-v3.0", "nobody/v1.0"):
        git(top, "tag", tag)
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    found = [
        clone(place, resolve(str(top), tag).value).value for tag in ("demo/v1.0.0", "refs/tags/other-v3.0")
    ]
    assert [(one.project, one.source.folder, one.source.planned) for one in found] == [
        ("demo", "packages/demo", "1.0.0"),
        ("other", "packages/other", "3.0"),
    ]
    with pytest.raises(InvalidVersion, match=r'"nobody/v1\.0" is a release of no project here'):
        clone(place, resolve(str(top), "nobody/v1.0").value)
    with pytest.raises(ProjectError, match="releases demo, not other"):
        clone(place, resolve(str(top), "demo/v1.0.0", "other").value)


def test_commit_in_a_repository_of_several_projects_means_the_one_that_it_changes(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "many", "packages/one", "packages/two")
    for tag in ("one/v1.0.0", "two/v3.0"):
        git(top, "tag", tag)
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    (top / "packages/one/new.txt").write_text("")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Change one")
    found = clone(place, resolve(str(top), "main").value).value
    assert (found.project, found.source.folder) == ("one", "packages/one")
    assert (found.source.planned or "").startswith("1.0.1.dev1+g")
    named = clone(place, resolve(str(top), "main", "Two").value).value
    assert (named.project, named.source.folder) == ("two", "packages/two")
    (top / "packages/one/new.txt").unlink()
    (top / "packages/two/new.txt").write_text("")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Change both")
    with pytest.raises(
        ProjectError, match=r"several projects \(one, two\), and .* changes one and two"
    ) as both:
        clone(place, resolve(str(top), "main").value)
    assert both.value.hint == "say which is meant: --project one"
    git(top, "commit", "-q", "--allow-empty", "-m", "Change nothing")
    with pytest.raises(ProjectError, match="changes none of them"):
        clone(place, resolve(str(top), "main").value)
    with pytest.raises(ProjectError, match='no project "three" at commit') as absent:
        clone(place, resolve(str(top), "main", "three").value)
    assert absent.value.hint == "it holds one, two"


def test_tag_that_moved_while_it_was_packaged_is_refused(repository: Path, tmp_path: Path) -> None:
    source = resolve(str(repository), "v1.0.0").value
    git(repository, "tag", "-f", "v1.0.0", "refs/heads/v1.0.0")
    with pytest.raises(ProjectError, match="moved from"):
        clone(Workplace(tmp_path / "work", tmp_path / "cache"), source)


def test_what_the_backend_said_of_the_commit_holds_in_each_clone_of_the_run(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "pyproject.toml").unlink()
    (repository / "setup.py").write_text("import setuptools\nsetuptools.setup(python_requires=1 * '>=3.9')\n")
    git(repository, "add", "--all")
    git(repository, "commit", "-q", "-m", "Compute it")
    git(repository, "tag", "v2.0.0")
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    said: RawMetadata = {"name": "demo", "version": "2.0.0", "requires_python": ">=3.9"}

    def ask(root: Path) -> RawMetadata:
        keep_answer(root, said)  # as the real one does
        return said

    source = clone(place, resolve(str(repository), "v2.0.0").value, ask).value.source
    clone_into(place, source, "source")
    for name in ("checkout", "source"):
        assert read_clone(place, source, name).asked_requires_python == ">=3.9"


def test_a_link_that_leads_out_of_the_clone_is_refused_before_anything_is_read(
    repository: Path, tmp_path: Path
) -> None:
    place = Workplace(tmp_path / "work", tmp_path / "cache")
    (tmp_path / "token").write_text("not of this project\n")
    (repository / "inside").symlink_to("pyproject.toml")
    (repository / "setup.cfg").symlink_to(tmp_path / "token")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Links")
    source = resolve(str(repository), "main").value
    with pytest.raises(
        ProjectError, match=r"these links lead out of the repository:\n  - setup.cfg(?:\n|$)"
    ) as told:
        clone(place, source)
    assert "not of this project" not in str(told.value)
    subject = Subject("demo", "1.0.0", "", "", "", 0, commit=source.commit, repository=str(repository))
    with pytest.raises(ProjectError, match="lead out of the repository"), checked_out(subject, tmp_path):
        pass
    git(repository, "rm", "-q", "setup.cfg")
    git(repository, "commit", "-q", "-m", "No link that leads out")
    assert clone(place, resolve(str(repository), "main").value).value.project == "demo"
