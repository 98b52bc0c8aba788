"""Resolving, cloning and reading repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError
from conveyor.project import git as own
from project.checkouts import annotated_tag, commit, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the first carries v1.0.0rc1 (annotated) and v1.0.0 (lightweight)."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {"first.txt": "1"}, date=1_700_000_000)
    annotated_tag(folder, "v1.0.0rc1", date=1_700_000_100)
    git(folder, "tag", "v1.0.0")
    commit(folder, {"second.txt": "2"}, date=1_700_000_200)
    return folder


@pytest.mark.parametrize("ref", ["v1.0.0rc1", "v1.0.0", "HEAD~1"])
def test_tags_of_every_kind_resolve_to_their_commit(repository: Path, ref: str) -> None:
    assert own.resolve_commit(repository, ref) == git(repository, "rev-parse", "main~1")


@pytest.mark.parametrize("ref", ["v1.0.0rc1", "v1.0.0", "main"])
def test_url_resolves_like_a_path(repository: Path, tmp_path: Path, ref: str) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    expected = git(repository, "rev-parse", f"{ref}^{{commit}}")
    assert own.resolve_commit(tmp_path / "bare.git", ref) == expected
    assert own.resolve_commit(f"file://{tmp_path}/bare.git", ref) == expected
    assert own._resolve_remote(f"file://{tmp_path}/bare.git", ref) == expected


def test_tag_wins_over_a_branch_of_the_same_name(repository: Path) -> None:
    git(repository, "branch", "v1.0.0", "main")
    assert own.resolve_commit(repository, "v1.0.0") == git(repository, "rev-parse", "refs/tags/v1.0.0")


@pytest.mark.parametrize("ref", ["absent", "--upload-pack=touch x", "-h", "", "a b"])
def test_name_that_is_not_one_is_refused(repository: Path, ref: str) -> None:
    with pytest.raises(ProjectError, match=r"there is no tag|is not the name"):
        own.resolve_commit(repository, ref)


def test_clone_of_a_tag_knows_no_other_tag(repository: Path, tmp_path: Path) -> None:
    own.clone_tag(repository, "v1.0.0rc1", tmp_path / "clone")
    assert git(tmp_path / "clone", "tag", "--list") == "v1.0.0rc1"
    assert own.head_commit(tmp_path / "clone") == own.resolve_commit(repository, "v1.0.0rc1")
    assert own.commit_time(tmp_path / "clone") == 1_700_000_000
    assert not (tmp_path / "clone/second.txt").exists()


def test_clone_of_a_commit_has_all_history_and_tags(repository: Path, tmp_path: Path) -> None:
    own.clone_commit(repository, "main", tmp_path / "clone")
    assert own.tags_in_reach(tmp_path / "clone") == ("v1.0.0", "v1.0.0rc1")
    assert git(tmp_path / "clone", "rev-list", "--count", "HEAD") == "2"
    assert not own.commits_since(tmp_path / "clone", None)[1]


def test_clone_of_a_commit_that_no_branch_holds(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    lost = commit(repository)
    git(repository, "checkout", "-q", "main")
    own.clone_commit(repository, lost, tmp_path / "clone")
    assert own.head_commit(tmp_path / "clone") == lost


def test_clone_needs_an_empty_folder(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not empty"):
        own.clone_tag(repository, "v1.0.0", tmp_path)


def test_missing_tag_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r'tag "v9\.9\.9" cannot be fetched'):
        own.clone_tag(repository, "v9.9.9", tmp_path / "clone")


def test_tag_object_is_the_raw_object_of_an_annotated_tag_only(repository: Path) -> None:
    raw = own.tag_object(repository, "v1.0.0rc1")
    assert raw is not None
    assert raw.startswith(b"object " + git(repository, "rev-parse", "main~1").encode())
    assert b"\ntag v1.0.0rc1\n" in raw
    assert own.tag_object(repository, "v1.0.0") is None
    with pytest.raises(ProjectError, match="no tag"):
        own.tag_object(repository, "v9.9.9")


def test_changes_are_named_and_ignored_files_are_not(repository: Path) -> None:
    commit(repository, {".gitignore": "/ignored\n"})
    (repository / "first.txt").write_text("edited")
    (repository / "new file").write_text("new")
    (repository / "ignored").write_text("x")
    assert sorted(own.changed_files(repository)) == ["first.txt", "new file"]


def test_variables_of_an_outer_git_do_not_turn_calls_elsewhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert own.tracked_files(repository) == ("first.txt", "second.txt")
