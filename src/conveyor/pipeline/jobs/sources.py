"""The source of a release: its commit, its tag, and clones of both.

The tag a job is for comes from the event or the command line, never from ``git describe``; a clone for a tag
knows that tag alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from conveyor.domain.words.names import version_or_none
from conveyor.errors import InvalidInput, ProjectError
from conveyor.pipeline.engine.steps import Done
from conveyor.project.backend import ask_backend
from conveyor.project.git import clone_commit, clone_tag, resolve_commit, run_git
from conveyor.project.settings import Project, read_project
from conveyor.project.versions import is_release_tag, override_variable, version_of_release_tag

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.version import Version

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.project.settings import Asking


@dataclass(frozen=True)
class Source:
    """A commit to package, with its repository and tag."""

    repository: str
    commit: str
    tag: str | None
    """The release tag this job is for; ``None`` for a commit, which becomes a development version."""

    @property
    def version(self) -> Version | None:
        """The version that the tag names; ``None`` for a commit, whose version is known after the build."""
        return version_of_release_tag(self.tag) if self.tag is not None else None


def resolve(repository: str, ref: str) -> Done[Source]:
    """The commit, and the release tag if ``ref`` names one: a full ref name, a tag, a branch or a commit.

    Raises:
        InvalidVersion: it names a tag or a version that cannot be a release.
        InvalidInput: it is another kind of ref.
        ProjectError: there is no such commit.
    """
    kind, _, short = ref.removeprefix("refs/").partition("/")
    if ref.startswith("refs/") and kind not in ("tags", "heads"):
        raise InvalidInput(f'"{ref}" is neither a branch nor a tag')
    tag: str | None = None
    if ref.startswith("refs/tags/") or _looks_like_version(ref):
        tag = short if ref.startswith("refs/") else ref
        version_of_release_tag(tag)
    commit = resolve_commit(repository, tag if tag is not None else ref)
    source = Source(str(repository), commit, tag)
    what = f"tag {tag}" if tag else "development version"
    return Done(source, f"commit {commit[:12]}, {what}", {"commit": commit, "tag": tag})


def _looks_like_version(ref: str) -> bool:
    """Whether ``ref`` is meant as a release; digits alone may be an abbreviated commit."""
    if re.fullmatch(r"[0-9a-f]{4,64}", ref):
        return False
    return version_or_none(ref.removeprefix("v")) is not None


def asking(place: Workplace, worker: Keeper, entry: str) -> Asking:
    """Asks a project's backend for what is written in no file, with requirements from the index ``entry``."""
    return partial(ask_backend, index_url=worker.index_url(entry), variables=place.variables())


def clone(place: Workplace, source: Source, ask: Asking | None = None) -> Done[tuple[str, tuple[str, ...]]]:
    """Step 2: the checkout in which the model is trained.

    Returns the project's name and those release tags on the commit that were cloned.
    """
    checkout = clone_into(place, source, "checkout")
    project = read_project(checkout, ask=ask)
    tags = run_git(["tag", "--points-at", "HEAD"], folder=checkout).decode().split()
    releases = tuple(tag for tag in tags if is_release_tag(tag))
    summary = f"{project.display_name}, a {project.kind}"
    if source.tag is None and releases:
        summary += f"; the commit is {', '.join(releases)}, which has a run of its own"
    return Done((project.name, releases), summary, {"kind": project.kind})


def clone_into(place: Workplace, source: Source, name: str) -> Path:
    """Make a fresh clone in the folder ``name``: for a tag only that tag, for a commit the whole history.

    Raises:
        ProjectError: the tag now names another commit.
    """
    folder = place.fresh(name)
    if source.tag is not None:
        clone_tag(source.repository, source.tag, folder)
    else:
        clone_commit(source.repository, source.commit, folder)
    found = resolve_commit(folder, "HEAD")
    if found != source.commit:
        raise ProjectError(
            f"tag {source.tag} moved from {source.commit[:12]} to {found[:12]} while it was packaged",
            hint="a tag always names the same release: make a new one",
        )
    return folder


def forced_version(project: Project, source: Source) -> dict[str, str]:
    """The variable that forces the tag's version on the build backend, for this project only."""
    return {override_variable(project.name): str(source.version)} if source.version else {}
