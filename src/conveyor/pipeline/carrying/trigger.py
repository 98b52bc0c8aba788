"""Triggers of a run: a call, a poll, or a push, which git's post-receive hook reports line by line.

A run that a push requests names its tag by full ref, and a branch by the commit that was pushed: when a
worker claims it, the branch may have moved. What is no release of a project there, and a deleted ref, request
nothing. In a repository of several projects, a branch requests a run for each that the push changes.

``read_pushes`` reads what the hook was told, ``look_closer`` what the repository says about it. ``poll``
looks at a repository that tells nobody of its pushes, and compares its refs with those of the last look.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conveyor.domain.releases.tags import read_tag_name, ref_of_run
from conveyor.domain.runs.repositories import Reach
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.pipeline.engine import keyring
from conveyor.pipeline.engine.remotes import remote
from conveyor.project.git import begin_of_branch, files_changed, heads_and_tags, own_folder
from conveyor.project.settings import read_project
from conveyor.project.trees import changed_among, outermost, project_of_tag, projects_below, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from packaging.metadata import RawMetadata

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


def poll(
    repository: str, state: Path, branches: Sequence[str], request: Callable[[Push], None]
) -> list[Push] | None:
    """Request a run of each release tag and each commit of a branch that is new since the last look.

    The first look only remembers what is there. What was seen is written down after the requests: a process
    that is killed between them requests some again, and the store makes one run of the two.

    Args:
        repository: a path or a URL, read with the worker's credentials of it.
        state: the worker's state folder.
        branches: the names of the branches to follow.
        request: requests one run.

    Returns:
        What has changed, with reasons where no run was requested; ``None``: it was the first look.

    Raises:
        ProjectError: the repository cannot be read.
        ConveyorError: what ``request`` raises; the next look finds the same changes.
    """
    where = remote(repository, Reach(is_typed=True), state / keyring.FOLDER)
    seen = heads_and_tags(where)
    path = state / POLLED / f"{hashlib.sha256(repository.encode()).hexdigest()[:16]}.json"
    before: dict[str, str] | None = None
    with suppress(FileNotFoundError, ValueError):
        before = json.loads(path.read_text(encoding="utf-8"))
    changed = None if before is None else changes_of(before, seen, branches)
    for push in changed or ():
        if push.wanted is not None:
            request(push)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(seen), encoding="utf-8")
    unfinished.replace(path)
    return changed


def changes_of(before: Mapping[str, str], seen: Mapping[str, str], branches: Sequence[str]) -> list[Push]:
    """What was pushed between two looks at a repository: tags first, in the order of their names."""
    followed = {f"refs/heads/{name}" for name in branches}
    changed = []
    for ref in sorted(seen, key=lambda one: (not one.startswith("refs/tags/"), one)):
        old, new = before.get(ref), seen[ref]
        if old != new and (ref in followed or ref.startswith("refs/tags/")):
            changed.append(Push(ref, *ref_of_run(ref, old, new), old, new))
    return changed


def write_hook(repository: Path, command: Sequence[str], token: str) -> Path:
    """Make a repository's post-receive hook request runs; returns its path.

    The token lies in a file of its own beside the repository's settings, which only its owner can read.

    Raises:
        ProjectError: it is not a repository, or has a hook of somebody else's.
    """
    folder = own_folder(repository, "hooks")
    hook, kept = folder / "post-receive", folder.parent / "conveyor-token"
    if hook.exists() and _WRITTEN not in hook.read_text(encoding="utf-8", errors="replace"):
        raise ProjectError(
            f"{hook} is there already",
            hint=f"end it with: CONVEYOR_TOKEN=$(cat {shlex.quote(str(kept))}) {shlex.join(command)}",
        )
    folder.mkdir(exist_ok=True)
    _write_alone(kept, 0o600, f"{token}\n")
    lines = [_WRITTEN, f"CONVEYOR_TOKEN=$(cat {shlex.quote(str(kept))})", "export CONVEYOR_TOKEN"]
    _write_alone(hook, 0o700, "\n".join([*lines, f"exec {shlex.join(command)}", ""]))
    return hook


def _write_alone(path: Path, mode: int, text: str) -> None:
    """Write a file that nobody else could read at any moment, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


_WRITTEN = "#!/bin/sh\n# Requests a run of each pushed release tag and branch; written by conveyor."
POLLED = "polled"
