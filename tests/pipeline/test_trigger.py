"""What a push asks for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError, StoreUnreachable
from conveyor.pipeline.carrying.trigger import Push, look_closer, poll, read_pushes, write_hook
from pipeline.projects import make_project
from project.checkouts import commit, git
from project.test_trees import make_repository

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW, ZERO = "a" * 40, "b" * 40, "0" * 40


def test_pushed_tag_is_asked_for_by_its_full_name() -> None:
    assert read_pushes([f"{ZERO} {NEW} refs/tags/v1.0.0rc1\n"]) == [
        Push("refs/tags/v1.0.0rc1", "refs/tags/v1.0.0rc1", new=NEW)
    ]


def test_pushed_tag_of_a_project_in_a_folder_is_asked_for() -> None:
    ref = "refs/tags/demo/v1.0.0"
    assert read_pushes([f"{ZERO} {NEW} {ref}\n"]) == [Push(ref, ref, new=NEW)]


def test_pushed_branch_is_asked_for_by_its_commit() -> None:
    assert read_pushes([f"{OLD} {NEW} refs/heads/team/main\n"]) == [
        Push("refs/heads/team/main", NEW, old=OLD, new=NEW)
    ]


def test_deleted_refs_and_tags_that_are_no_releases_ask_for_nothing() -> None:
    lines = [
        f"{OLD} {ZERO} refs/tags/v1.0.0",
        f"{OLD} {'0' * 64} refs/heads/main",
        f"{ZERO} {NEW} refs/tags/latest",
        f"{ZERO} {NEW} refs/tags/model-churn-7",
        f"{ZERO} {NEW} refs/notes/commits",
        "not a line of git",
        "",
    ]
    assert [(push.wanted, push.reason) for push in read_pushes(lines)] == [
        (None, "deleted"),
        (None, "deleted"),
        (None, "not a release tag"),
        (None, "not a release tag"),
        (None, "neither a branch nor a tag"),
    ]


# --- as the projects of the repository see it --------------------------------------------------------------


def pushed(bare: Path, *lines: str) -> dict[str, list[str]]:
    """Ref → what is asked for: the project, ``any``, or the reason why nothing is."""
    seen: dict[str, list[str]] = {}
    for push in look_closer(read_pushes(lines), bare):
        said = push.reason if push.wanted is None else push.project or "any"
        seen.setdefault(push.ref, []).append(said)
    return seen


def tag_line(root: Path, tag: str) -> str:
    git(root, "tag", tag)
    return f"{ZERO} {git(root, 'rev-parse', tag)} refs/tags/{tag}"


def test_tag_asks_for_a_run_only_if_it_is_a_release_of_a_project(tmp_path: Path) -> None:
    """``docs-1.2.0`` ends in a version, and still names no release of the project ``demo``."""
    root = make_repository(tmp_path / "demo")
    tags = (
        "v1.2.0",
        "2024.10.1",
        "demo-1.3",
        "docs-1.2.0",
        "nightly/1.2.0",
        "v1.2.0-4",
        "v1",
        "model-churn-7",
    )
    asked = pushed(root, *[tag_line(root, tag) for tag in tags])
    assert [tag for tag in tags if asked[f"refs/tags/{tag}"] == ["any"]] == [
        "v1.2.0",
        "2024.10.1",
        "demo-1.3",
    ]
    assert asked["refs/tags/docs-1.2.0"] == [
        'tag "docs-1.2.0" is not a release: "docs-1.2.0" is not a version (PEP 440)'
    ]
    assert asked["refs/tags/nightly/1.2.0"] == ['tag "nightly/1.2.0" does not name the project demo']


def test_tags_of_a_project_whose_name_only_its_backend_knows_are_judged_as_far_as_possible(
    tmp_path: Path,
) -> None:
    root = make_repository(tmp_path / "demo")
    (root / "pyproject.toml").unlink()
    commit(root, {"setup.py": "import setuptools, names\nsetuptools.setup(name=names.OURS)\n"})
    asked = pushed(root, *[tag_line(root, tag) for tag in ("v1.2.0", "docs-1.2.0", "v1.2.0-4")])
    assert asked["refs/tags/v1.2.0"] == ["any"]
    assert asked["refs/tags/docs-1.2.0"] == ["any"]  # the worker asks the backend whether it is called docs
    assert "could mean" in asked["refs/tags/v1.2.0-4"][0]


def test_branch_asks_for_each_project_that_the_push_changes(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "many", "packages/one", "packages/two")
    first = git(root, "rev-parse", "HEAD")
    commit(root, {"packages/one/README.md": "new"})
    one = commit(root, {"README.md": "new"})
    both = commit(root, {"packages/one/a.txt": "", "packages/two/b.txt": ""})
    bare = tmp_path / "many.git"
    git(tmp_path, "clone", "-q", "--bare", str(root), str(bare))
    main, new = "refs/heads/main", "refs/heads/new"
    assert pushed(bare, f"{first} {one} {main}") == {main: ["one"]}
    assert pushed(bare, f"{first} {both} {main}") == {main: ["one", "two"]}
    assert pushed(bare, f"{ZERO} {both} {main}") == {main: ["one", "two"]}
    git(root, "checkout", "-q", "-b", "new", one)
    last = commit(root, {"packages/two/c.txt": ""})
    git(root, "push", "-q", str(bare), "new")
    assert pushed(bare, f"{ZERO} {last} {new}") == {new: ["two"]}
    after = commit(root, {"notes.txt": ""})
    git(root, "push", "-q", str(bare), "new")
    assert pushed(bare, f"{last} {after} {new}") == {new: ["it changes no project of this repository"]}
    assert pushed(tmp_path, f"{last} {after} {new}") == {new: ["any"]}  # there is nothing to look at


def test_branch_of_one_project_asks_for_a_run_whatever_its_tests_hold(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "demo")
    shutil.copytree(root / "src", root / "tests/data/other/src")
    shutil.copy(root / "pyproject.toml", root / "tests/data/other")
    last = commit(root)
    assert pushed(root, f"{OLD} {last} refs/heads/main") == {"refs/heads/main": ["any"]}


def test_poll_requests_runs_of_what_is_new_and_tries_again_what_was_refused(tmp_path: Path) -> None:
    repository = make_project(tmp_path / "repository", name="demo")
    git(repository, "tag", "v1.0.0")
    asked: list[str | None] = []

    def look() -> list[tuple[str, str]] | None:
        found = poll(str(repository), tmp_path / "state", ("main",), lambda push: asked.append(push.wanted))
        return None if found is None else [(push.ref, push.reason) for push in found]

    assert look() is None
    assert look() == []
    git(repository, "commit", "-q", "--allow-empty", "-m", "More")
    git(repository, "tag", "v1.1.0")
    git(repository, "tag", "latest")
    git(repository, "tag", "-f", "v1.0.0")
    git(repository, "branch", "other")
    moved = "the tag was moved, and a release tag always names the same commit: make a new one"
    expected = [
        ("refs/tags/latest", "not a release tag"), ("refs/tags/v1.0.0", moved),
        ("refs/tags/v1.1.0", ""), ("refs/heads/main", ""),
    ]  # fmt: skip

    def refuse(push: Push) -> None:
        raise StoreUnreachable(push.ref)

    with pytest.raises(StoreUnreachable):
        poll(str(repository), tmp_path / "state", ("main",), refuse)
    assert look() == expected
    assert asked == ["refs/tags/v1.1.0", git(repository, "rev-parse", "HEAD")]
    assert look() == []


def test_hook_of_somebody_else_is_kept(tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    hook = write_hook(bare, ["conveyor", "it's"], "secret")
    assert write_hook(bare, ["conveyor", "it's"], "another") == hook
    assert (hook.stat().st_mode & 0o777, hook.read_text().count("secret")) == (0o700, 0)
    hook.write_text("#!/bin/sh\nmake\n")
    with pytest.raises(ProjectError, match="is there already"):
        write_hook(bare, ["conveyor"], "secret")
    with pytest.raises(ProjectError):
        write_hook(tmp_path, ["conveyor"], "secret")
