"""Building: the project's own backend builds the sdist, then the wheel from that sdist; then both are opened.

``build_distributions`` builds a checkout as it is; ``build_tag`` builds one release by this recipe:

1. the tag is given, never taken from ``git describe``; it is a version in canonical spelling;
2. the commit that it names: lightweight, annotated and signed tags all build;
3. a fresh clone that knows only this tag; umask 022; ``SOURCE_DATE_EPOCH`` is the commit's time;
4. the version is forced on the backend as well, for this project only;
5. every built file is opened: name, version, and the wheel contract.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError
from conveyor.project.backend import ask_backend, build_room, make_backend, read_build_system, unpack_sdist
from conveyor.project.contract import built_before, check_archives, is_egg_info
from conveyor.project.git import (
    all_tags,
    changed_files,
    clone_tag,
    commit_time,
    head_commit,
    is_shallow,
    resolve_commit,
    tags_in_reach,
    tracked_files,
    untracked_files,
)
from conveyor.project.model import read_manifest, read_payload
from conveyor.project.settings import Project, read_project
from conveyor.project.versions import is_release_tag, override_variable, version_of_release_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conveyor.domain.words.names import Version
    from conveyor.project.archives import PreviousRelease
    from conveyor.project.settings import Asking

__all__ = ["BuiltFiles", "build_distributions", "build_tag"]


@dataclass(frozen=True)
class BuiltFiles:
    """The two files of a release."""

    sdist: Path
    wheel: Path
    version: Version
    notes: tuple[str, ...] = ()
    """What is worth a line, but no fault."""


def build_distributions(
    checkout: Path,
    out: Path,
    *,
    version: Version | None = None,
    python: str | None = None,
    variables: Mapping[str, str] | None = None,
    index_url: str | None = None,
    previous: PreviousRelease | None = None,
    on_line: Callable[[str], None] | None = None,
) -> BuiltFiles:
    """Build the sdist and the wheel of a checkout into ``out`` and check both.

    Args:
        checkout: a clean checkout; it holds a model's payload.
        out: the folder for the files; created if it does not exist. Files of the same name are replaced.
        version: the version to build; ``None`` for a development build, whose version comes from git history.
        python: path or version of the interpreter that builds; ``None`` means the one that runs now.
        variables: set for the build on top of ours.
        index_url: the only index for the build requirements; ``None`` means the user's configuration.
        previous: the release before, whose files this one must not lack; ``None`` if it is not known.
        on_line: called with each line that the build writes.

    Raises:
        ProjectError: an uncommitted change, a cut-off history, a missing model, a failing backend, or a
            built file that breaks the contract; the message names the files.
    """
    project = read_project(checkout, ask=_asking(index_url, variables, python, on_line))
    _refuse_changes(project, out)
    if version is None:
        _refuse_blind_history(project)
    read_payload(project)
    read_manifest(project)
    system = read_build_system(project.document, where=str(project.root / "pyproject.toml"))
    strays = frozenset(untracked_files(project.root))
    clean = {"SOURCE_DATE_EPOCH": str(commit_time(project.root)), **(variables or {})}
    forced = {override_variable(project.name): str(version)} if version is not None else {}
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".conveyor-build-", dir=out) as scratch,
        build_room(f"{project.name} {head_commit(project.root)}") as room,
    ):
        backend = make_backend(
            system, room / "environment", python=python, variables=clean, hook_variables=forced,
            index_url=index_url, on_line=on_line, build_folder=room / "build",
        )  # fmt: skip
        sdist = backend.sdist(project.root, Path(scratch))
        unpack_sdist(sdist, room / "source")
        wheel = backend.wheel(room / "source", Path(scratch))
        built, notes = check_archives(
            project, sdist, wheel, version=version, is_of_tag=version is not None, strays=strays,
            previous=previous,
        )  # fmt: skip
        if version is None:
            _refuse_going_back(project, built)
        sdist, wheel = (Path(shutil.move(file, out / file.name)) for file in (sdist, wheel))
    return BuiltFiles(sdist, wheel, built, notes)


def build_tag(
    checkout: Path,
    tag: str,
    out: Path,
    *,
    index_url: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> BuiltFiles:
    """Build the release that a tag of a checkout names, from a fresh clone that knows only that tag.

    A model is not trained here: its payload is taken from the checkout, which must be at the tag's commit
    without changes, so that the payload belongs to that commit.

    Raises:
        InvalidVersion: the tag is not a release.
        ProjectError: as for ``build_distributions``; no such tag; or another commit is checked out.
    """
    version = version_of_release_tag(tag)
    asking = _asking(index_url, None, None, on_line)
    project = read_project(checkout, ask=asking)
    if tag not in all_tags(project.root):
        raise ProjectError(
            f'there is no tag "{tag}" in {project.root}',
            hint=f"fetch it with {project.git()} fetch --tags, or make it with {project.git()} tag {tag}",
        )
    commit = resolve_commit(project.root, tag)
    with tempfile.TemporaryDirectory(prefix="conveyor-build-") as scratch:
        clone = Path(scratch) / project.name
        clone_tag(project.root, tag, clone)
        cloned = read_project(clone, ask=asking)
        if cloned.payload:
            _take_payload(project, cloned, tag, commit, out)
        return build_distributions(clone, out, version=version, index_url=index_url, on_line=on_line)


def _asking(
    index_url: str | None,
    variables: Mapping[str, str] | None,
    python: str | None,
    on_line: Callable[[str], None] | None,
) -> Asking:
    return partial(ask_backend, index_url=index_url, variables=variables, python=python, on_line=on_line)


def _take_payload(project: Project, cloned: Project, tag: str, commit: str, out: Path) -> None:
    if head_commit(project.root) != commit:
        raise ProjectError(
            f"the model of {tag} cannot be taken from {project.root}: another commit is checked out there",
            hint=f"train it there: {project.git()} checkout {tag} && {project.command('train')}",
        )
    _refuse_changes(project, out)
    for file in read_payload(project):
        target = cloned.root / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project.root / file.path, target)


def _refuse_changes(project: Project, out: Path) -> None:
    """Refuse changes to the commit, except files that earlier builds left in ``out``, ignored or not."""
    built = built_before(project, out)
    changed = [path for path in changed_files(project.root) if path not in built]
    if any(is_egg_info(path) for path in changed):
        tracked = set(tracked_files(project.root))
        changed = [path for path in changed if path in tracked or not is_egg_info(path)]
    if changed:
        listed = "".join(f"\n  - {path}" for path in changed[:20])
        more = f"\n  and {len(changed) - 20} more" if len(changed) > 20 else ""
        raise ProjectError(
            f"{project.root} differs from its commit, so no version would name this build:{listed}{more}",
            hint="commit these files, or name those that do not belong to the project in .gitignore",
        )


def _refuse_blind_history(project: Project) -> None:
    """Refuse a shallow clone without a release in its history: the version would be far too low."""
    if is_shallow(project.root) and not any(is_release_tag(tag) for tag in tags_in_reach(project.root)):
        raise ProjectError(
            f"history in {project.root} is cut off before the last release: the version cannot be counted",
            hint=f"fetch all of it: {project.git()} fetch --unshallow --tags",
        )


def _refuse_going_back(project: Project, built: Version) -> None:
    released = [version_of_release_tag(tag) for tag in tags_in_reach(project.root) if is_release_tag(tag)]
    if released and built < max(released):
        raise ProjectError(
            f"this commit would be {built}, which sorts below {max(released)}, a release that it contains",
            hint="tag a release on this branch that is greater than all that it contains",
        )
