"""Resolving, cloning and reading repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError
from conveyor.project import clones
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
    clones.clone_tag(repository, "v1.0.0rc1", tmp_path / "clone")
    assert git(tmp_path / "clone", "tag", "--list") == "v1.0.0rc1"
    assert own.head_commit(tmp_path / "clone") == own.resolve_commit(repository, "v1.0.0rc1")
    assert own.commit_time(tmp_path / "clone") == 1_700_000_000
    assert not (tmp_path / "clone/second.txt").exists()


def test_clone_of_a_commit_has_all_history_and_tags(repository: Path, tmp_path: Path) -> None:
    clones.clone_commit(repository, "main", tmp_path / "clone")
    assert own.tags_in_reach(tmp_path / "clone") == ("v1.0.0", "v1.0.0rc1")
    assert git(tmp_path / "clone", "rev-list", "--count", "HEAD") == "2"
    assert not own.commits_since(tmp_path / "clone", None)[1]


def test_clone_of_a_commit_that_no_branch_holds(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    lost = commit(repository)
    git(repository, "checkout", "-q", "main")
    clones.clone_commit(repository, lost, tmp_path / "clone")
    assert own.head_commit(tmp_path / "clone") == lost


def test_clone_needs_an_empty_folder(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not empty"):
        clones.clone_tag(repository, "v1.0.0", tmp_path)


def test_missing_tag_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r'tag "v9\.9\.9" cannot be fetched'):
        clones.clone_tag(repository, "v9.9.9", tmp_path / "clone")


def test_tag_object_is_the_raw_object_of_an_annotated_tag_only(repository: Path) -> None:
    raw = clones.tag_object(repository, "v1.0.0rc1")
    assert raw is not None
    assert raw.startswith(b"object " + git(repository, "rev-parse", "main~1").encode())
    assert b"\ntag v1.0.0rc1\n" in raw
    assert clones.tag_object(repository, "v1.0.0") is None
    with pytest.raises(ProjectError, match="no tag"):
        clones.tag_object(repository, "v9.9.9")


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


def test_settings_and_hooks_of_a_user_change_nothing_in_a_clone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "attributes").write_text("*.txt eol=crlf\n")
    lines = {".gitattributes": "*.bat eol=crlf\n", "a.bat": "one\ntwo\n", "a.txt": "one\ntwo\n"}
    head = commit(repository, lines)
    git(repository, "tag", "v2.0.0")
    assert not own.rewrites_files(repository)
    settings = {
        "autocrlf": "true",
        "eol": "crlf",
        "attributesFile": tmp_path / "attributes",
        "hooksPath": hooks,
    }
    (tmp_path / "config").write_text(
        "[core]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    assert own.rewrites_files(repository)
    clones.clone_tag(repository, "v2.0.0", tmp_path / "tag")
    clones.clone_commit(repository, head, tmp_path / "commit")
    clones.clone_head(repository, tmp_path / "head")
    clones.clone_for_a_look(repository, tmp_path / "look")
    clones.look_at(repository, head, tmp_path / "glance", {"a.txt", "a.bat"})
    for name in ("tag", "commit", "head", "look", "glance"):
        # What the repository itself says of its files holds; what its user says of all files does not.
        assert (tmp_path / name / "a.txt").read_bytes() == b"one\ntwo\n"
        assert (tmp_path / name / "a.bat").read_bytes() == b"one\r\ntwo\r\n"
        assert not own.rewrites_files(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_files_at_which_git_does_not_look_are_told_and_kinds_are_known(repository: Path) -> None:
    commit(repository, {"plain.txt": "", "Sub/kept.txt": "", "left/out.txt": ""})
    (repository / "link").symlink_to("first.txt")
    git(repository, "add", "link")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{own.head_commit(repository)},part")
    git(repository, "update-index", "--assume-unchanged", "first.txt")
    git(repository, "update-index", "--skip-worktree", "second.txt")
    (repository / "first.txt").write_text("edited")
    (repository / "second.txt").unlink()
    found = {entry.path: (entry.kind, entry.is_hidden) for entry in own.tracked_entries(repository)}
    hidden = {"first.txt": ("file", True), "second.txt": ("file", True)}
    seen = dict.fromkeys(["plain.txt", "Sub/kept.txt", "left/out.txt"], ("file", False))
    assert found == {**hidden, **seen, "link": ("link", False), "part": ("submodule", False)}
    git(repository, "commit", "-q", "-m", "Add a part")
    git(repository, "sparse-checkout", "set", "Sub")
    assert [one.path for one in own.tracked_entries(repository) if one.is_hidden] == [
        "first.txt",
        "left/out.txt",
    ]
