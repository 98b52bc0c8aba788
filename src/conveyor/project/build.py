"""Building: the project's own backend builds the sdist, then the wheel from that sdist; then both are opened.

``build_distributions`` builds a checkout as it is; ``build_tag`` builds one release by this recipe:

1. the tag is given, never taken from ``git describe``; no other tag spells the same version;
2. the commit that it names: lightweight, annotated and signed tags all build;
3. a fresh clone that knows only this tag; umask 022; ``SOURCE_DATE_EPOCH`` is the commit's time;
4. the version is forced on the backend as well, for this project only; if the project states its version in
   a file, that line is set in the clone for a candidate;
5. every built file is opened: name, version, and the wheel contract.

A development version is computed (``versions``) and handed to the backend in the same way.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import parse_sdist_filename

from conveyor.errors import ProjectError
from conveyor.project.archives import unpack_sdist
from conveyor.project.backend import ask_backend, make_backend, read_build_system
from conveyor.project.clones import clone_head, clone_tag, copy_for_foreign, leave_one_tag
from conveyor.project.contract import check_archives, refuse_links
from conveyor.project.foreign import Surroundings
from conveyor.project.git import (
    all_tags,
    commit_time,
    head_commit,
    repository_top,
    resolve_commit,
    rewrites_files,
    untracked_files,
)
from conveyor.project.interpreters import python_of
from conveyor.project.model import read_manifest, read_payload
from conveyor.project.previous import find_previous
from conveyor.project.rooms import build_room
from conveyor.project.settings import Project, answer_of, read_project
from conveyor.project.taking import put_file
from conveyor.project.trees import (
    project_of_tag,
    refuse_differences,
    rules_of,
    tag_to_make,
    version_of_checkout,
)
from conveyor.project.version_lines import VersionLine, set_version, version_line
from conveyor.project.versions import (
    builds_static,
    forced_version,
    refuse_other_version,
    refuse_twins,
    releases_among,
    static_fault,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.domain.words.names import Version
    from conveyor.project.git import Repository
    from conveyor.project.previous import PreviousRelease

__all__ = ["BuiltFiles", "build_distributions", "build_tag"]


@dataclass(frozen=True)
class BuiltFiles:
    """The two files of a release."""

    sdist: Path
    wheel: Path
    version: Version
    project: Project
    """What was built, as it was read."""
    line: VersionLine | None = None
    """The line of the project that was made to state this version, as it was before."""
    notes: tuple[str, ...] = ()
    """What is worth a line, but no fault."""


def build_distributions(
    checkout: Path,
    out: Path,
    *,
    version: Version | None = None,
    python: str | None = None,
    is_clone: bool = False,
    repository: Repository | None = None,
    around: Surroundings | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> BuiltFiles:
    """Build the sdist and the wheel of a checkout into ``out`` and check both.

    Behind a wall the backend works in a copy of the checkout, and what it built is compared with the
    checkout, which it has never seen.

    Args:
        checkout: the project's folder in a clean checkout; it holds a model's payload.
        out: the folder for the files; created if it does not exist. Files of the same name are replaced.
        version: the version to build; ``None`` for that of the commit (``versions.version_of_tree``).
        python: path or version of the interpreter that builds; ``None`` means the project's own.
        is_clone: whether the checkout was made for this build alone, so that its version may be set in it.
        repository: where the tags of earlier releases are; ``None`` means the checkout.
        around: for the build; names the index for the build requirements and the release before.
        on_wait: told who is waited for if another build of the commit takes long; ``None`` means whatever is
            called with each line of the build.

    Raises:
        ProjectError: an uncommitted change, a history that is cut off, a missing model, a failing backend, or
            a built file that breaks the contract; the message names the files.
    """
    around = around or Surroundings()
    project = read_project(checkout, ask=partial(ask_backend, around=around, python=python))
    python = python or str(python_of(project).path)
    planned = _planned(project, version, out)
    system = read_build_system(project.document, where=str(project.root / "pyproject.toml"))
    out.mkdir(parents=True, exist_ok=True)
    with build_room(f"{project.name} {head_commit(project.root)}", on_wait=on_wait or around.on_line) as held:
        room, built_files = held.path, held.path / "dist"
        for folder in (built_files, room / "build"):
            folder.mkdir()
        project, stated, strays = _prepared(project, planned, None if is_clone else room / "clone")
        source, top = project.root, None
        if around.wall is not None:
            top = room / "seen"
            source = copy_for_foreign(project.root, repository_top(project.root), top)
        known = {"SOURCE_DATE_EPOCH": str(commit_time(project.root)), **around.variables}
        backend = make_backend(
            system, room / "environment", python=python, hook_variables=forced_version(project, planned),
            around=replace(around, variables=known, holds=(held.lock, *around.holds)),
            build_folder=room / "build",
        )  # fmt: skip
        sdist = backend.sdist(source, built_files, top=top)
        refuse_other_version(project, planned=planned, built=parse_sdist_filename(sdist.name)[1])
        with ThreadPoolExecutor(1) as threads:  # the index answers while the wheel is built
            before = threads.submit(_previous, project, planned, repository or checkout, python, around)
            unpack_sdist(sdist, room / "source")
            wheel = backend.wheel(room / "source", built_files)
        previous, unknown = before.result()
        built, notes = check_archives(
            project, sdist, wheel, version=planned, is_of_tag=not planned.is_devrelease, strays=strays,
            previous=previous,
        )  # fmt: skip
        sdist, wheel = (_put(file, out) for file in (sdist, wheel))
    notes = (*(_misspelled(name) for name in project.misspelled), *notes, *unknown)
    return BuiltFiles(sdist, wheel, built, project, stated, (*notes, *_compiled_in(stated, planned)))


def _compiled_in(stated: VersionLine | None, planned: Version) -> tuple[str, ...]:
    """What to say of a version that a compiler writes into the module."""
    if stated is None or not stated.path.endswith("Cargo.toml") or planned.is_devrelease:
        return ()
    text = (
        f"the version in {stated.path} is compiled in, so the final will not be this candidate: state it "
        "under [project] in pyproject.toml instead, which leaves that of the crate alone"
    )
    return (text,)


def _put(file: Path, out: Path) -> Path:
    """Copy a file into a folder, where it appears whole or not at all."""
    unfinished = out / f".{file.name}.part"
    shutil.copyfile(file, unfinished)
    return unfinished.replace(out / file.name)


def build_tag(
    checkout: Path,
    tag: str,
    out: Path | None = None,
    *,
    around: Surroundings | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> BuiltFiles:
    """Build the release that a tag of a checkout names, from a fresh clone that knows only that tag.

    A model is not trained here: its payload is taken from the checkout, which must be at the tag's commit
    without changes, so that the payload belongs to that commit.

    Args:
        checkout: the folder of a project, or the top of a repository with projects in folders.
        tag: the tag.
        out: the folder for the files; ``None`` means ``dist`` in the project's folder.
        around: as for ``build_distributions``.
        on_wait: as for ``build_distributions``.

    Raises:
        InvalidVersion: the tag is not a release, or another tag spells the same version.
        ProjectError: as for ``build_distributions``; no such tag; or another commit is checked out.
    """
    around = around or Surroundings()
    asking = partial(ask_backend, around=around)
    project, version = project_of_tag(checkout, tag, ask=asking)
    top = repository_top(project.root)
    tags = all_tags(top)
    if tag not in tags:
        raise ProjectError(
            f'there is no tag "{tag}" in {top}',
            hint=f"fetch it with {project.git()} fetch --tags, or make it with {project.git()} tag {tag}",
        )
    refuse_twins(version, releases_among(tags, rules_of(project)))
    commit = resolve_commit(top, tag)
    out = out if out is not None else project.root / "dist"
    with build_room(f"clone {top} {tag}", on_wait=on_wait or around.on_line) as held:
        clone = held.path / project.name
        clone_tag(top, tag, clone)
        answer = answer_of(project.root) if head_commit(top) == commit else {}
        cloned, version = project_of_tag(clone, tag, ask=(lambda _root: answer) if answer else asking)
        if cloned.payload:
            _take_payload(project, cloned, tag, commit, out)
        return build_distributions(
            cloned.root, out, version=version, is_clone=True, repository=top,
            around=replace(around, holds=(held.lock, *around.holds)), on_wait=on_wait,
        )  # fmt: skip


def _misspelled(name: str) -> str:
    return f"[tool.{name}] in pyproject.toml is read by nobody here; is [tool.conveyor] meant?"


def _planned(project: Project, version: Version | None, out: Path) -> Version:
    """The version to build, of a checkout that is its commit and holds the model that it declares."""
    if version is None:
        version = version_of_checkout(project, out=out).checked()
    else:
        refuse_differences(project, out)
    refuse_links(project)
    read_payload(project)
    read_manifest(project)
    return version


def _line_to_set(project: Project, planned: Version) -> VersionLine | None:
    """The line that must be made to state the planned version; ``None`` if there is none or it states it."""
    line = version_line(project)
    if line is None or line.version == planned:
        return None
    if not planned.is_devrelease and not builds_static(line.version, planned):
        fault = static_fault(line.version, planned)
        raise ProjectError(f"{fault.message} ({line.path}, line {line.number})", hint=fault.hint)
    return line


def _prepared(
    project: Project, planned: Version, clone: Path | None
) -> tuple[Project, VersionLine | None, frozenset[str]]:
    """The project as it names the planned version, the line that had to be set, and what git does not track.

    ``clone`` is where a clone is made if the checkout cannot be built as it is; ``None``: it may be changed.
    """
    stated, tag = _line_to_set(project, planned), tag_to_make(project, planned)
    is_own = stated is None and tag is None and not rewrites_files(project.root)
    if clone is not None and not is_own:
        project = _clone_of(project, clone)
    strays = frozenset(untracked_files(project.root))
    _state(project, planned, stated, tag)
    return project, stated, strays


def _state(project: Project, planned: Version, stated: VersionLine | None, tag: str | None) -> None:
    """Have a clone name the planned version: by its only tag, or in the line that states it."""
    if tag is not None:
        leave_one_tag(project.root, tag)
    if stated is not None:
        set_version(project, stated, planned)


def _clone_of(project: Project, into: Path) -> Project:
    """The project in a clone of the commit that is checked out, with its payload."""
    top = repository_top(project.root)
    clone_head(top, into)
    folder = into / project.root.relative_to(top)
    cloned = read_project(folder, known=project.known)
    _copy_payload(project, cloned)
    return cloned


def _previous(
    project: Project,
    planned: Version,
    repository: Repository,
    python: str | None,
    around: Surroundings,
) -> tuple[PreviousRelease | None, tuple[str, ...]]:
    """The release before, and a note if nobody knows whether there is one."""
    try:
        found = find_previous(project, planned, repository=repository, python=python, around=around)
    except ProjectError as error:
        said = "; ".join(line.strip() for line in error.message.splitlines()[:3])
        return None, (f"nothing was compared with the release before, which cannot be had: {said}",)
    return found, ()


def _take_payload(project: Project, cloned: Project, tag: str, commit: str, out: Path) -> None:
    if head_commit(project.root) != commit:
        raise ProjectError(
            f"the model of {tag} cannot be taken from {project.root}: another commit is checked out there",
            hint=f"train it there: {project.git()} checkout {tag} && {project.command('train')}",
        )
    refuse_differences(project, out)
    _copy_payload(project, cloned)


def _copy_payload(project: Project, cloned: Project) -> None:
    for file in read_payload(project):
        with (project.root / file.path).open("rb") as trained:
            put_file(cloned.root, file.path, trained)
