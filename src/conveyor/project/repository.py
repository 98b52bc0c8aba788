"""The repository of a project before a release: its commits and tags, here and on the remote.

Only reads. All faults of the checkout and of the remote are named at once.
"""

from __future__ import annotations

import io
import re
import shlex
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.domain.releases.tags import tag_for
from conveyor.domain.words.names import Version, is_final
from conveyor.errors import ProjectError
from conveyor.project.api import public_api
from conveyor.project.archives import unpack_tar
from conveyor.project.git import (
    below_top,
    commits_since,
    configured_identity,
    head_commit,
    is_in_history,
    packed_tree,
    read_remote,
    said,
    tags_in_reach,
    tags_with_commits,
)
from conveyor.project.settings import read_project, table_in
from conveyor.project.trees import changes, rules_of
from conveyor.project.versions import advice_on_changes, is_release_tag, releases_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conveyor.project.api import Thing
    from conveyor.project.settings import Project
    from conveyor.project.versions import TagRules

_BUILT = re.compile(r"dist/[^/]+(?:\.whl|\.tar\.gz)")


@dataclass(frozen=True)
class RepositoryState:
    """What git says, here and on the remote, before anything is decided."""

    head: str
    tags: Mapping[str, str]
    """Every tag here → its commit."""
    remote_tags: Mapping[str, str]
    """Every tag of the remote → its commit; empty if nothing is to be pushed."""
    remote_branch: str | None
    """The name that the checked-out branch has on the remote."""
    releases: Mapping[str, Version]
    """The tags that are releases, here or there, lowest version first."""
    reached: Mapping[str, Version]
    """Those on the checked-out commit and its ancestors."""

    @property
    def last(self) -> Version | None:
        """The last final release in this history."""
        return max((version for version in self.reached.values() if is_final(version)), default=None)


def read_repository(project: Project, *, remote: str | None, makes_commit: bool) -> RepositoryState:
    """Everything that git knows.

    Args:
        project: the project to release.
        remote: where the release is to be pushed; ``None``: nowhere, and nothing is asked.
        makes_commit: whether a commit is to be made, for which the tree must be clean and no branch behind.

    Raises:
        ProjectError: the checkout or the remote do not allow a release; names every fault.
    """
    root = project.root
    try:
        head = head_commit(root)
    except ProjectError as error:
        raise ProjectError(
            f"{root} has no commit that could be released",
            hint="make it a repository, if it is none, and commit: git init && git add . && git commit",
        ) from error
    rules = rules_of(project)
    faults = []
    # Nothing is packed here, so archives in the usual folder of builds do no harm, whoever built them.
    changed = [path for path in changes(project, root / "dist") if not _BUILT.fullmatch(path)]
    if changed and makes_commit:
        named = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        faults.append(Hindrance(f"the tree differs from its commit: {named}", advice_on_changes(changed)))
    if commits_since(root, None)[1]:
        fetch = f"{project.git()} fetch --unshallow --tags"
        faults.append(Hindrance("the history of this clone is cut off", fetch))
    if not configured_identity(root):
        named = f'{project.git()} config user.name "…", and user.email'
        faults.append(Hindrance("git knows no name for commits", named))
    branch = said(root, "symbolic-ref", "-q", "--short", "HEAD")
    if branch is None and makes_commit:
        said_so = "no branch is checked out, so the changelog's commit would belong to none"
        faults.append(Hindrance(said_so, f"{project.git()} switch BRANCH"))
    remote_tags: dict[str, str] = {}
    remote_branch = None
    if remote is not None:
        merged = said(root, "config", f"branch.{branch}.merge") if branch else None
        remote_branch = merged.removeprefix("refs/heads/") if merged else branch
        heads, remote_tags, unreadable = _read_remote(root, remote)
        faults += unreadable
        remote_head = heads.get(remote_branch or "")
        if remote_head and makes_commit and not is_in_history(root, remote_head):
            pull = f"{project.git()} pull --rebase {remote} {remote_branch}"
            faults.append(Hindrance(f"{branch} is behind {remote}", pull))
    refuse(faults)
    tags = tags_with_commits(root)
    _refuse_twisted_tags(project, rules, tags, remote_tags, remote=remote)
    return RepositoryState(
        head=head,
        tags=tags,
        remote_tags=remote_tags,
        remote_branch=remote_branch,
        releases=releases_among({*tags, *remote_tags}, rules),
        reached=releases_among(tags_in_reach(root), rules),
    )


def _refuse_twisted_tags(
    project: Project, rules: TagRules, tags: Mapping[str, str], remote_tags: Mapping[str, str], *,
    remote: str | None,
) -> None:  # fmt: skip
    """Raise ProjectError if a release tag stands on another commit at the remote than here."""
    elsewhere = [name for name, commit in remote_tags.items() if tags.get(name, commit) != commit]
    refuse(
        Hindrance(
            f"the tag {name} stands on another commit at {remote} than here",
            f"to take that of {remote}: {project.git()} fetch --force {remote} tag {shlex.quote(name)}",
        )
        for name in elsewhere
        if is_release_tag(name, rules)
    )


@dataclass(frozen=True)
class Hindrance:
    """Why nothing can be released."""

    message: str
    remedy: str = ""
    """What to do, such as a command; empty if that goes without saying."""


def refuse(hindrances: Iterable[Hindrance]) -> None:
    """Raise ProjectError with all of them, if there are any; the hint holds every remedy."""
    found = tuple(hindrances)
    hint = "; ".join(one.remedy for one in found if one.remedy) or None
    if len(found) == 1:
        raise ProjectError(f"nothing can be released: {found[0].message}", hint=hint)
    if found:
        listed = "".join(f"\n- {one.message}" for one in found)
        raise ProjectError(f"nothing can be released:{listed}", hint=hint)


def _read_remote(root: Path, remote: str) -> tuple[dict[str, str], dict[str, str], list[Hindrance]]:
    """(branches, tags) of the remote, each with its commit, and why it cannot be read."""
    try:
        return (*read_remote(root, remote), [])
    except ProjectError as error:
        known = (said(root, "remote") or "").split()
        other = f"; known are {', '.join(known)}" if known else ""
        remedy = "name a remote with --remote, or keep the release here with --no-push"
        problem = f'the remote "{remote}" cannot be read ({error.message}){other}'
        return {}, {}, [Hindrance(problem, remedy)]


def next_tag(project: Project, version: Version, found: RepositoryState) -> str:
    """The tag of a version, spelled as the newest release in this history is."""
    if found.reached:
        return tag_for(version, like=list(found.reached)[-1])
    prefix = project.declared.tag_prefix
    if prefix is None:
        prefix = f"{project.name}/v" if below_top(project.root) else "v"
    return f"{prefix}{version}"


def tag_of(version: Version, releases: Mapping[str, Version]) -> str:
    """The tag of a version that is among the releases."""
    return next(tag for tag, other in releases.items() if other == version)


def api_of_commit(project: Project, commit: str) -> dict[str, Thing]:
    """The public API that a project has at a commit of its repository.

    Raises:
        ProjectError: it was no project there, or a module cannot be read.
    """
    packed = packed_tree(project.root, commit)
    with tempfile.TemporaryDirectory(prefix="conveyor-api-") as scratch:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            unpack_tar(archive, Path(scratch))
        there = read_project(Path(scratch))
        top = there.root / there.import_root
        package = there.root / there.package_folder
        files = [path for path in package.rglob("*.py*") if path.suffix in (".py", ".pyi") and path.is_file()]
        if not package.is_dir():
            files = [
                path for path in package.parent.glob(f"{package.name}.py*") if path.suffix in (".py", ".pyi")
            ]
            files = files or list(there.root.glob(f"{package.name}.py"))
            top = files[0].parent if files else top
        sources = {path.relative_to(top).as_posix(): path.read_bytes() for path in files}
        commands = [
            name
            for keys in (("project", "scripts"), ("project", "gui-scripts"), ("tool", "poetry", "scripts"))
            for name in table_in(there.document, *keys)
        ]
        return public_api(sources, commands=commands, extras=there.extras)
