"""Clones and copies of repositories, each for one job.

A clone for a tag knows that tag alone, since a commit may have several and every tool picks the wrong one in
some order. A clone holds the bytes of its commit, whoever makes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError
from conveyor.project.git import (
    Repository,
    head_commit,
    local_path,
    refuse_option,
    resolve_commit,
    run_git,
    source_of,
    told_about,
    tracked_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection

# A clone for a job holds the bytes of its commit, whoever makes it: a user's own settings would change line
# ends in it, or run hooks. The attributes that the repository itself tracks still apply.
_OF_THE_COMMIT_ALONE = {
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.attributesFile": os.devnull,
    "core.hooksPath": os.devnull,
    "submodule.recurse": "false",
}
_EVERYTHING = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


def clone_tag(repository: Repository, tag: str, into: Path) -> None:
    """Make ``into`` a fresh repository with only this tag and its commit, checked out; no other tags.

    Raises:
        ProjectError: there is no such tag, or ``into`` holds something already.
    """
    refuse_option(tag)
    _fresh_repository(into)
    refspec = f"+refs/tags/{tag}:refs/tags/{tag}"
    try:
        # --no-tags: git would bring the other tags of the same commit along.
        wanted = ["fetch", "-q", "--no-tags", "--depth=1", "--", source_of(repository), refspec]
        run_git(wanted, folder=into, variables=told_about(repository))
    except ProjectError as error:
        message = f'tag "{tag}" cannot be fetched from {repository}: {error.message}'
        raise ProjectError(message, hint=error.hint) from error
    run_git(["checkout", "-q", "--detach", f"refs/tags/{tag}"], folder=into)


def clone_commit(repository: Repository, commit_or_branch: str, into: Path) -> None:
    """Make ``into`` a fresh repository with the whole history and all tags, at that commit, detached.

    Development versions count commits since the last release, so nothing may be missing.

    Raises:
        ProjectError: there is no such commit, or ``into`` holds something already.
    """
    refuse_option(commit_or_branch)
    commit = resolve_commit(repository, commit_or_branch)
    _fresh_repository(into)
    source = source_of(repository)
    told = told_about(repository)
    run_git(["fetch", "-q", "--no-tags", "--", source, *_EVERYTHING], folder=into, variables=told)
    try:
        run_git(["cat-file", "-e", f"{commit}^{{commit}}"], folder=into)
    except ProjectError:  # on no branch and under no tag: fetch the commit itself
        run_git(["fetch", "-q", "--no-tags", "--", source, commit], folder=into, variables=told)
    run_git(["checkout", "-q", "--detach", commit], folder=into)


def clone_object(repository: Repository, commit: str, into: Path) -> None:
    """Make ``into`` a fresh repository with only this commit, checked out; no history, no tags.

    Raises:
        ProjectError: the repository does not give that commit, or ``into`` holds something already.
    """
    refuse_option(commit)
    _fresh_repository(into)
    source, told = source_of(repository), told_about(repository)
    try:
        run_git(["fetch", "-q", "--no-tags", "--depth=1", "--", source, commit], folder=into, variables=told)
    except ProjectError:  # a server may give only what a ref names
        run_git(["fetch", "-q", "--no-tags", "--", source, *_EVERYTHING], folder=into, variables=told)
    run_git(["checkout", "-q", "--detach", commit], folder=into)


def clone_head(checkout: Path, into: Path) -> None:
    """Make ``into`` a fresh repository with only the commit that is checked out; no tags, no history.

    Raises:
        ProjectError: ``into`` holds something already.
    """
    _fresh_repository(into)
    run_git(["fetch", "-q", "--no-tags", "--depth=1", "--", source_of(checkout), "HEAD"], folder=into)
    run_git(["checkout", "-q", "--detach", "FETCH_HEAD"], folder=into)


def clone_for_a_look(checkout: Path, into: Path) -> None:
    """Make ``into`` a clone of the commit that is checked out, with all history and tags, made at once.

    It needs the repository as long as it is used.

    Raises:
        ProjectError: ``checkout`` belongs to no repository, or to one without a commit.
    """
    _clone_shared(checkout, into, "--no-checkout")
    run_git(["checkout", "-q", "--detach", head_commit(checkout)], folder=into)


def look_at(repository: Path, commit: str, into: Path, names: Collection[str]) -> None:
    """Make ``into`` a repository whose index is that commit, with only the files of these names checked out.

    For a look at a commit of a repository on this machine, bare or not, that may be large; it needs the
    repository as long as it is used.

    Raises:
        ProjectError: ``repository`` is none, or has no such commit.
    """
    _clone_shared(repository, into, "--no-checkout", "--no-tags")
    run_git(["read-tree", f"{commit}^{{commit}}"], folder=into)
    wanted = [path for path in tracked_files(into) if path.rpartition("/")[2] in names]
    run_git(["checkout-index", "-q", "--", *wanted], folder=into)


def leave_one_tag(clone: Path, tag: str) -> None:
    """Let a clone that was made for one build know only this tag, on the commit that is checked out."""
    known = run_git(["tag", "--list"], folder=clone).decode(errors="surrogateescape").split("\n")[:-1]
    if known:
        run_git(["tag", "-d", "--", *known], folder=clone)
    run_git(["tag", "--no-sign", tag], folder=clone)


def tag_object(repository: Repository, tag: str) -> bytes | None:
    """The raw tag object (``git cat-file tag``), with its signature; ``None`` for a lightweight tag.

    Raises:
        ProjectError: there is no such tag.
    """
    refuse_option(tag)
    local = local_path(repository)
    if local is None:
        with tempfile.TemporaryDirectory(prefix="conveyor-tag-") as scratch:
            clone_tag(repository, tag, Path(scratch) / "clone")
            return tag_object(Path(scratch) / "clone", tag)
    try:
        kind = run_git(["cat-file", "-t", f"refs/tags/{tag}"], folder=local).decode().strip()
    except ProjectError as error:
        raise ProjectError(f'there is no tag "{tag}" in {repository}') from error
    if kind != "tag":
        return None
    return run_git(["cat-file", "tag", f"refs/tags/{tag}"], folder=local)


def copy_for_foreign(root: Path, top: Path, into: Path) -> Path:
    """Copy a checkout for foreign code to work in, and return where ``root`` is in the copy.

    Nothing of ours runs git in the copy afterwards: foreign code can leave settings in it by which git starts
    programs (``core.fsmonitor``, hooks). What it left is compared with ``root``, which it has never seen.

    Args:
        root: the folder of the project.
        top: the top of its repository, which needs no other one (no alternates).
        into: the folder of the copy; one that is there is replaced.
    """
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(top, into, symlinks=True)
    return into / root.resolve().relative_to(top.resolve())


def _fresh_repository(into: Path) -> None:
    if into.exists() and any(into.iterdir()):
        raise ProjectError(f"{into} is not empty; a clone needs an empty folder")
    into.mkdir(parents=True, exist_ok=True)
    # --template=: no hooks and excludes of this machine in a job's clone.
    run_git(["init", "-q", "--template=", "--initial-branch=main"], folder=into)
    # setuptools writes it beside the code before tools that ask git for the version look for changes.
    info = into / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "exclude").write_text("*.egg-info/\n", encoding="ascii")
    with (into / ".git" / "config").open("a", encoding="utf-8") as config:
        for key, value in _OF_THE_COMMIT_ALONE.items():
            section, _, name = key.partition(".")
            config.write(f"[{section}]\n\t{name} = {value}\n")
        # A user's git-lfs would fetch whatever the commit's own .lfsconfig names, with that user's rights.
        config.write('[filter "lfs"]\n\tsmudge =\n\tprocess =\n\trequired = false\n')


def _clone_shared(repository: Repository, into: Path, *options: str) -> None:
    settings = [word for key, value in _OF_THE_COMMIT_ALONE.items() for word in ("-c", f"{key}={value}")]
    words = ["clone", "-q", "--shared", "--template=", *settings, *options]
    run_git([*words, "--", source_of(repository), str(into)])
