"""The source of a release: its commit, its tag, its project, and clones of it.

The tag a job is for comes from the event or the command line, never from ``git describe``; a clone for a tag
knows that tag alone. Which project a tag means, and which version, is known once the commit has been cloned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.releases.tags import could_be_release
from conveyor.domain.words.names import Version
from conveyor.errors import InvalidInput, InvalidVersion, ProjectError
from conveyor.pipeline.engine.steps import Done
from conveyor.project.backend import ask_backend
from conveyor.project.clones import clone_commit, clone_tag
from conveyor.project.git import all_tags, repository_top, resolve_commit, tags_here
from conveyor.project.settings import answer_of, read_project
from conveyor.project.trees import project_of_commit, project_of_tag, rules_of, version_of_checkout
from conveyor.project.versions import is_release_tag, refuse_twins, releases_among

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.metadata import RawMetadata

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.project.git import Repository
    from conveyor.project.settings import Asking, Project


@dataclass(frozen=True)
class Source:
    """A commit to package, with its repository and tag."""

    repository: str
    commit: str
    tag: str | None
    """The release tag this job is for; ``None`` for a commit, which becomes a development version."""
    folder: str = "."
    """Where the project lies in its repository."""
    planned: str | None = None
    """The version to build, canonical; ``None`` until the commit has been cloned."""
    project: str | None = None
    """The project's name; until the commit has been cloned, the one that was asked for, if any."""

    @property
    def version(self) -> Version:
        """The version to build."""
        if self.planned is None:
            raise ProjectError(f"commit {self.commit[:12]} has not been cloned yet")
        return Version(self.planned)


@dataclass(frozen=True)
class Cloned:
    """What the first clone of a source says."""

    project: str
    source: Source
    """The source, with folder and version."""
    releases: tuple[str, ...]
    """The release tags on the commit that were cloned."""


def resolve(repository: Repository, ref: str, project: str | None = None) -> Done[Source]:
    """The commit, and the tag if ``ref`` names one: a full ref name, a tag, a branch or a commit.

    ``project`` is the name of the project that is meant, if the caller knows it.

    A tag that could not be a release of any project, such as ``model-churn-7``, stands for its commit, unless
    it is given as a full ref name.

    Raises:
        InvalidVersion: it names a tag or a version that cannot be a release.
        InvalidInput: it is another kind of ref.
        ProjectError: there is no such commit.
    """
    kind, _, short = ref.removeprefix("refs/").partition("/")
    if ref.startswith("refs/") and kind not in ("tags", "heads"):
        raise InvalidInput(f'"{ref}" is neither a branch nor a tag')
    tag: str | None = None
    if ref.startswith("refs/tags/"):
        tag = short
        if not could_be_release(tag):
            raise InvalidVersion(
                f'tag "{tag}" is not a release: it names no version of two to four numbers',
                hint="name a release as in v1.2.0, v1.2.0rc1, 2024.10.1 or demo/v1.2.0",
            )
    elif (
        could_be_release(ref)
        and not re.fullmatch(r"[0-9a-f]{4,64}", ref)
        and (
            "/" not in ref or ref in all_tags(repository)  # a branch may be called release/1.2
        )
    ):
        tag = ref
    commit = resolve_commit(repository, tag if tag is not None else ref)
    source = Source(str(repository), commit, tag, project=project)
    what = f"tag {tag}" if tag else "no tag"
    return Done(source, f"commit {commit[:12]}, {what}", {"commit": commit, "tag": tag})


def asking(place: Workplace, worker: Keeper, entry: str) -> Asking:
    """Asks a project's backend for what is written in no file, with requirements from the index ``entry``."""
    return partial(ask_backend, around=place.around(worker.index_url(entry)))


def clone(place: Workplace, source: Source, ask: Asking | None = None) -> Done[Cloned]:
    """Step 2: the checkout in which the model is trained.

    It says which project is meant and which version it becomes.

    Raises:
        InvalidVersion: the tag is a release of no project here, or another tag spells the same version.
        ProjectError: there is no project, or the version of the commit would lie.
    """
    checkout = clone_into(place, source, "checkout")
    if source.tag is not None:
        project, version = project_of_tag(checkout, source.tag, ask=ask)
        if source.project is not None and project.name != canonicalize_name(source.project):
            raise ProjectError(
                f'tag "{source.tag}" releases {project.name}, not {source.project}',
                hint="leave out --project",
            )
        rules = rules_of(project)
        refuse_twins(version, releases_among(all_tags(place.remote(source.repository)), rules))
    else:
        project = project_of_commit(checkout, name=source.project, ask=ask)
        rules = rules_of(project)
        version = version_of_checkout(project).checked()
    folder = str(project.root.relative_to(repository_top(checkout)))
    releases = tuple(tag for tag in tags_here(checkout) if is_release_tag(tag, rules))
    summary = f"{project.display_name} {version}, a {project.kind}"
    if folder != ".":
        summary += f" in {folder}"
    if source.tag is None and releases:
        summary += f"; the commit is {', '.join(releases)}, which has a run of its own"
    full = replace(source, folder=folder, planned=str(version), project=project.name)
    return Done(
        Cloned(project.name, full, releases), summary, {"kind": project.kind, "version": str(version)}
    )


def read_clone(place: Workplace, source: Source, name: str = "checkout") -> Project:
    """The project in one of the run's clones, whose backend was asked for its name before if need be."""

    def answered(_root: Path) -> RawMetadata:
        answer = answer_of(place.folder / "checkout" / source.folder)
        return answer or ({"name": source.project} if source.project is not None else {})

    return read_project(place.folder / name / source.folder, ask=answered)


def clone_into(place: Workplace, source: Source, name: str) -> Path:
    """Make a fresh clone in the folder ``name``: for a tag only that tag, for a commit the whole history.

    With what may be read of its submodules and its files of Git LFS (``Workplace.complete``).

    Raises:
        ProjectError: the tag now names another commit.
    """
    folder = place.fresh(name)
    if source.tag is not None:
        clone_tag(place.remote(source.repository), source.tag, folder)
    else:
        clone_commit(place.remote(source.repository), source.commit, folder)
    found = resolve_commit(folder, "HEAD")
    if found != source.commit:
        raise ProjectError(
            f"tag {source.tag} moved from {source.commit[:12]} to {found[:12]} while it was packaged",
            hint="a tag always names the same release: make a new one",
        )
    place.complete(folder, source.repository, name=name)
    return folder
