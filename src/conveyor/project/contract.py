"""The contract of the archives: every built file is opened and compared with the checkout it was built from.

A build backend silently drops an ignored model, ships a stray file, or includes raw data (measured: five of
seven backends build another wheel at a desk than from a clean clone). So every built file is checked:

1. its name and version are the project's, and those of the tag if a tag was built;
2. every tracked file of the packages is in the wheel, with the same bytes;
3. every declared payload file is in both, with the digest of the working file;
4. no file that lay in the checkout before the build is inside unless git tracks it or the payload names it;
5. no raw data is in the sdist, and its tracked files have the bytes of the checkout;
6. nothing inside is a private key or a token of a documented form, or stands for a file that git does not
   hold (a link out of the repository, a submodule, a pointer of Git LFS), and neither file is over its size;
7. no file that the release before had is missing, unless it was deleted from git.

Here the facts are read, once; ``archive_rules`` judges them. ``[tool.conveyor.build] allow`` lets single
files pass, each with a reason. All faults of both files are named at once.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.errors import ProjectError
from conveyor.project.archive_rules import (
    Checkout,
    identity_faults,
    import_notes,
    is_code,
    joined,
    link_fault,
    loss_faults,
    lost_members,
    member_faults,
    size_faults,
    source_faults,
)
from conveyor.project.archives import matches, open_sdist, open_wheel, sha256_of_file
from conveyor.project.git import repository_top, tracked_entries, tracked_files, untracked_files
from conveyor.project.model import read_payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.domain.words.names import Version
    from conveyor.project.archives import ArchiveFault
    from conveyor.project.previous import PreviousRelease
    from conveyor.project.settings import Project


def check_archives(
    project: Project,
    sdist: Path,
    wheel: Path,
    *,
    version: Version | None = None,
    is_of_tag: bool = False,
    strays: frozenset[str] | None = None,
    previous: PreviousRelease | None = None,
) -> tuple[Version, tuple[str, ...]]:
    """Check the two files of a release, and return its version and what is worth a note.

    Args:
        project: the checkout's declarations; its files are read and compared.
        sdist: the built sdist.
        wheel: the wheel that was built from it.
        version: the version that both must have; ``None`` allows any, the same in both.
        is_of_tag: whether a tag was built, which stays where it is.
        strays: what ``untracked_files`` gave before the build; ``None`` means now.
        previous: the release before; ``None`` if there is none, or it is not known.

    Raises:
        ProjectError: the contract is broken; all faults are named.
    """
    checkout = _read_checkout(project, strays)
    source, built = open_sdist(sdist), open_wheel(wheel)
    whose = "the tag is" if is_of_tag else "it was to be"
    faults = {
        sdist: [
            *identity_faults(project, source, version, whose),
            *source_faults(checkout, source, built.digests),
        ],
        wheel: [
            *identity_faults(project, built, version or source.version, whose if version else "the sdist is"),
            *member_faults(checkout, built, source.digests),
        ],
    }
    if previous is not None:
        lost = lost_members(built.digests, previous.members)
        tracked = previous.tracked() if not all(map(is_code, lost)) else frozenset[str]()
        faults[wheel] += loss_faults(
            checkout, built.digests, lost, version=previous.version, tracked=tracked,
            is_certain=previous.is_certain,
        )  # fmt: skip
    faults[wheel] += import_notes(built)
    for file in faults:
        faults[file] += size_faults(project, file.stat().st_size)
    return built.version, _refuse(project, faults, is_of_tag=is_of_tag)


def refuse_links(project: Project) -> None:
    """Refuse links that git tracks and that lead to a file which no commit holds.

    Before anything is built, since a backend reads through them whatever it is that they lead to.

    Raises:
        ProjectError: all are named.
    """
    links = [entry.path for entry in tracked_entries(project.root) if entry.kind == "link"]
    if not links:
        return
    top = Path(os.path.realpath(repository_top(project.root)))
    known = {*tracked_files(top), *(_below(top, project.root / path) or "" for path in project.payload)}
    faults = [link_fault(path, _below(top, project.root / path), known) for path in links]
    if any(faults):
        listed = "".join(f"\n  - {fault}" for fault in faults if fault)
        raise ProjectError(
            f"these links would bring files into the release that no commit holds:{listed}",
            hint="put the files themselves in the place of the links, or remove the links; then commit",
        )


def _below(top: Path, path: Path) -> str | None:
    """Where a path leads, from the top of the repository; ``None`` if that is outside."""
    target = Path(os.path.realpath(path))
    return str(PurePosixPath(target.relative_to(top))) if target.is_relative_to(top) else None


def built_before(project: Project, out: Path) -> frozenset[str]:
    """Earlier builds: this project's distributions in a folder of its checkout that git does not track.

    Paths are relative to the checkout; empty for a folder elsewhere.
    """
    folder = out.resolve()
    if not folder.is_dir() or not folder.is_relative_to(project.root):
        return frozenset()
    found = {
        str(PurePosixPath(file.relative_to(project.root)))
        for file in folder.iterdir()
        if file.is_file() and _is_distribution_of(project, file.name)
    }
    return frozenset(found - set(tracked_files(project.root)))


# --- the facts ------------------------------------------------------------------------------------------


def _read_checkout(project: Project, strays: frozenset[str] | None) -> Checkout:
    """Everything that the archives are compared with; each file is read once."""
    root, entries = project.root, tracked_entries(project.root)
    return Checkout(
        project=project,
        digests={
            entry.path: sha256_of_file(root / entry.path) if (root / entry.path).is_file() else None
            for entry in entries
        },
        strays=frozenset(untracked_files(root)) if strays is None else strays,
        payload={file.path: file.sha256 for file in read_payload(project)},
        submodules={
            entry.path: (root / entry.path).is_dir() and any((root / entry.path).iterdir())
            for entry in entries
            if entry.kind == "submodule"
        },
        is_single_module=not (root / project.package_folder).is_dir(),
    )


def _is_distribution_of(project: Project, filename: str) -> bool:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[0] == project.name
        return parse_sdist_filename(filename)[0] == project.name
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False


# --- what is said ---------------------------------------------------------------------------------------

_WHERE_FILES_ARE_NAMED = {
    "hatchling": "artifacts and exclude under [tool.hatch.build] in pyproject.toml",
    "setuptools": "include, exclude and prune in MANIFEST.in, beside pyproject.toml",
    "flit_core": "include and exclude under [tool.flit.sdist] in pyproject.toml",
    "poetry": "include (format sdist and wheel) and exclude under [tool.poetry] in pyproject.toml",
    "pdm": "includes and excludes under [tool.pdm.build] in pyproject.toml",
    "uv_build": "source-include, source-exclude and wheel-exclude "
    "under [tool.uv.build-backend] in pyproject.toml",
    "scikit_build_core": "sdist.include, sdist.exclude, wheel.packages and wheel.exclude "
    "under [tool.scikit-build] in pyproject.toml, and install() in CMakeLists.txt",
    "mesonpy": "py.install_sources() in meson.build, and .gitattributes (export-ignore)",
    "maturin": "include, exclude and python-source under [tool.maturin] in pyproject.toml",
}
"""Build backend → the setting that says which files belong inside."""
_IN_SETUP_CFG = (
    "include_package_data or package_data, and packages, in setup.cfg or setup.py, and MANIFEST.in"
)


def _is_allowed(project: Project, pattern: str, path: str) -> bool:
    """Whether an exception names a file, by its path in the archive or in the checkout."""
    return path != "" and (matches(pattern, path) or matches(pattern, joined(project.import_root, path)))


def _refuse(
    project: Project, faults: Mapping[Path, Sequence[ArchiveFault]], *, is_of_tag: bool
) -> tuple[str, ...]:
    """Refuse what no exception allows; gives the notes, those about unused exceptions last."""
    allowed = project.declared.build.allow
    used: set[str] = set()
    notes: dict[Path, list[ArchiveFault]] = {}
    refused: dict[Path, list[ArchiveFault]] = {}
    for file, some in faults.items():
        for fault in some:
            passing = [one.pattern for one in allowed if _is_allowed(project, one.pattern, fault.path)]
            used.update(passing)
            if not passing:
                (notes if fault.is_note else refused).setdefault(file, []).append(fault)
    if refused:
        listed = "\n".join(
            f"{file.name} does not keep the contract of the archives:"
            + "".join(f"\n  - {text}" for text in dict.fromkeys(fault.text for fault in some))
            for file, some in refused.items()
        )
        raise ProjectError(listed, hint=_hint(project, refused, is_of_tag=is_of_tag))
    return (
        *(f"{file.name}: {text}" for file, some in notes.items() for text in _grouped(some)),
        *(
            f'"{one.pattern}" in allow under [tool.conveyor.build] excepts nothing; remove it'
            for one in allowed
            if one.pattern not in used
        ),
    )


_MOST_OF_A_GROUP = 20


def _grouped(notes: Sequence[ArchiveFault]) -> list[str]:
    """The texts of notes, those of one group as one, each once."""
    groups: dict[str, dict[str, None]] = {}
    for note in notes:
        groups.setdefault(note.group or note.text, {}).setdefault(note.text)
    texts = []
    for group, members in groups.items():
        named = ", ".join([*members][:_MOST_OF_A_GROUP])
        more = f" and {len(members) - _MOST_OF_A_GROUP} more" if len(members) > _MOST_OF_A_GROUP else ""
        texts.append(group if group in members else f"{group}: {named}{more}")
    return texts


def _hint(project: Project, refused: Mapping[Path, Sequence[ArchiveFault]], *, is_of_tag: bool) -> str:
    """What to do: what each kind of fault asks for, else where the backend is told what belongs inside."""
    hints = list(dict.fromkeys(fault.hint for some in refused.values() for fault in some))
    where = _WHERE_FILES_ARE_NAMED.get(project.backend, f"the documentation of {project.backend}")
    if project.backend == "setuptools" and not project.document.get("project"):
        where = _IN_SETUP_CFG
    said = [hint or f"see {where}" for hint in sorted(hints)]
    return (
        f"{'; '.join(said)}; what is right as it is goes into allow under [tool.conveyor.build], with a "
        'reason: {pattern = "…", reason = "…"}; '
        f"then commit{', tag that commit' if is_of_tag else ''}, and build again"
    )
