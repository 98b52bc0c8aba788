"""Triggers of a run: a call, or a push, which git's post-receive hook reports line by line (``old new ref``).

A run that a push requests names its tag by full ref, and a branch by the commit that was pushed: when a
worker claims it, the branch may have moved. What is no release of a project there, and a deleted ref, request
nothing. In a repository of several projects, a branch requests a run for each that the push changes.

``read_pushes`` reads what the hook was told, ``look_closer`` what the repository says about it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.domain.releases.tags import read_tag_name, ref_of_run
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.git import begin_of_branch, files_changed
from conveyor.project.settings import read_project
from conveyor.project.trees import changed_among, outermost, project_of_tag, projects_below, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from packaging.metadata import RawMetadata

    from conveyor.client.store import StoreClient
    from conveyor.domain.runs.states import Run
    from conveyor.project.settings import Asking


@dataclass(frozen=True)
class Push:
    """One line of a push: what to request a run for, or the reason not to."""

    ref: str
    """The ref as it was pushed, such as ``refs/tags/v1.0``."""
    wanted: str | None
    """The ref of the run; ``None`` if no run is requested."""
    reason: str = ""
    old: str | None = None
    """The object that the ref named before; ``None`` if it is new."""
    new: str = ""
    project: str | None = None
    """Which of the commit's projects is meant; ``None`` leaves that to the worker."""


def read_pushes(lines: Iterable[str]) -> list[Push]:
    """Read the lines of a post-receive hook; lines of another form are skipped."""
    pushes = []
    for line in lines:
        words = line.split()
        if len(words) != 3:
            continue
        old, new, ref = words
        before = old if old.strip("0") else None
        wanted, reason = ref_of_run(ref, before, new if new.strip("0") else None)
        pushes.append(Push(ref, wanted, reason, before, new))
    return pushes


def look_closer(pushes: Sequence[Push], repository: Path) -> list[Push]:
    """The pushes as the repository's projects see them; what they cannot tell is left to the worker.

    Args:
        pushes: those of one call of the hook.
        repository: the repository that received them, bare or not; if it is none, nothing changes.
    """
    begun = [push.ref.removeprefix("refs/heads/") for push in pushes if push.wanted and push.old is None]
    seen: list[Push] = []
    for push in pushes:
        try:
            seen += [push] if push.wanted is None else _look_at(push, repository, begun)
        except ProjectError:
            seen.append(push)
    return seen


def _look_at(push: Push, repository: Path, begun: Sequence[str]) -> list[Push]:
    with tree_of(repository, push.new) as top:
        if push.ref.startswith("refs/tags/"):
            tag = push.ref.removeprefix("refs/tags/")
            try:
                project_of_tag(top, tag, ask=_called_as(tag))
            except InvalidVersion as error:
                return [replace(push, wanted=None, reason=error.message)]
            return [push]
        try:
            read_project(top, ask=_called_as(""))
        except ProjectError:
            pass
        else:
            return [push]  # a project at the top is the one that is meant
        projects = outermost(projects_below(top, ask=_called_as("")))
        if len(projects) < 2 or any(project.display_name == UNKNOWN for project in projects):
            return [push]
        since = push.old or begin_of_branch(repository, push.new, without=begun)
        files = files_changed(repository, push.new, since=since)
        changed = changed_among(projects, top, files)
    if not changed:
        return [replace(push, wanted=None, reason="it changes no project of this repository")]
    return [replace(push, project=project.name) for project in changed]


UNKNOWN = "unknown"


def _called_as(tag: str) -> Asking:
    """For projects whose name only their backend knows: the name that a tag gives; nothing of them runs."""
    stem = read_tag_name(tag).prefix.rstrip("/-") if tag else ""
    answer: RawMetadata = {"name": stem or UNKNOWN}
    return lambda _root: answer


def request_run(
    client: StoreClient, *, repository: str, ref: str, index: str | None = None, project: str | None = None
) -> Run:
    """Request a run into an index, or into the only one that it can enter; a worker claims it."""
    return client.runs.create(repository, ref, index=index, project=project)
