"""The rules of the archives' contract: what a built file is compared with, and what is a fault.

Pure: everything is read before (``contract``), and each rule takes values and gives faults. What a backend
makes is no fault: its metadata, compiled modules, generated files, rewritten settings. Nor is what belongs in
no wheel: sources of compiled modules are passed over, and other tracked files of a package that are not
inside are worth a note if they are texts or templates, or lie in a folder that is left out as a whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.project.archives import (
    BESIDE_A_PACKAGE,
    ArchiveFault,
    OpenedArchive,
    installed_path,
    lasting_path,
)
from conveyor.project.contents import undeclared_imports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from conveyor.domain.words.names import Version
    from conveyor.project.settings import Project

RAW_DATA_FOLDERS = ("data", "models", "notebooks")
"""Folders at the top of a checkout for data, trained models and experiments: never parts of a release."""
_LEFT_OUT = "git tracks these files of the package, but they are not inside"
_OF_SUBMODULE = (
    "a worker fetches a submodule whose repository is registered for the project too, or is public on the "
    "same host; else keep its files in the repository (git subtree), or require a distribution of its own"
)


@dataclass(frozen=True)
class Checkout:
    """What the archives are compared with."""

    project: Project
    digests: Mapping[str, str | None]
    """What git tracks, by its path → SHA-256 of the file, or of where a link leads; ``None``: no file."""
    strays: frozenset[str] = frozenset()
    """Files that lay there before the build and that git does not track."""
    payload: Mapping[str, str] = field(default_factory=dict)
    """The declared files of a model → their SHA-256."""
    submodules: Mapping[str, bool] = field(default_factory=dict)
    """Submodules, by their path → whether their files are there."""
    is_single_module: bool = False
    """Whether the project has no folder that is its package."""


def identity_faults(
    project: Project, opened: OpenedArchive, version: Version | None, whose: str
) -> list[ArchiveFault]:
    """Compare the name and version in a file's filename and metadata with the project and a version.

    ``whose`` says in the message whose version it is.
    """
    raw, named = opened.metadata, opened.name
    faults = []
    if named != project.name:
        faults.append(f"its filename names {named}, the project is {project.name}")
    if canonicalize_name(raw.get("name", "")) != project.name:
        faults.append(f"its metadata names {raw.get('name')!r}, the project is {project.name}")
    if raw.get("version") != str(opened.version):
        faults.append(f"its metadata has version {raw.get('version')!r}, its filename {opened.version}")
    if version is not None and opened.version != version:
        faults.append(f"it has version {opened.version}, {whose} {version}")
    return [*(ArchiveFault(text) for text in faults), *opened.faults]


def member_faults(
    checkout: Checkout, built: OpenedArchive, source: Mapping[str, str]
) -> list[ArchiveFault]:  # fmt: skip
    """Compare a wheel with the checkout; ``source`` are the files of the sdist that it was built from."""
    project = checkout.project
    members = {
        installed_path(member): sha256
        for member, sha256 in built.digests.items()
        if ".dist-info/" not in member
    }
    roots = _import_roots(checkout, members)
    folders = {joined(root, top) for top, root in roots.items()} | {project.package_folder}
    if checkout.is_single_module:
        folders |= {f"{project.package}.py", f"src/{project.package}.py"}
    inside = {part for member in members for part in member.split("/")[:-1]}
    faults = []
    for path, sha256 in {**checkout.payload, **_expected(checkout, folders)}.items():
        what = "the model" if path in checkout.payload else "the tracked file"
        member = _member_of(path, roots, project)
        if member not in members:
            faults += _absence(path, what, checkout, inside)
        elif members[member] != sha256 and path not in project.version_files:
            faults.append(
                ArchiveFault(f"{what} {path} is inside with other bytes than in the checkout", path)
            )
    for member in sorted(members):
        origin = joined(roots.get(member.partition("/")[0], project.import_root), member)
        if _is_stray(checkout, origin) and origin in source:
            faults.append(
                ArchiveFault(
                    f"{member} is inside, but git does not track it and payload does not declare it", origin
                )
            )
    return faults + _submodule_faults(checkout, folders)


def _expected(checkout: Checkout, folders: AbstractSet[str]) -> dict[str, str]:
    """The tracked files in these folders of the checkout, with their digests, sorted."""
    return {
        path: sha256
        for path, sha256 in sorted(checkout.digests.items())
        if sha256 is not None and _is_in(path, folders)
    }


def _is_in(path: str, folders: AbstractSet[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _absence(path: str, what: str, checkout: Checkout, inside: AbstractSet[str]) -> list[ArchiveFault]:
    """What to say of a file of a package that a wheel with folders of the names ``inside`` lacks."""
    pure = PurePosixPath(path)
    if path not in checkout.payload and path not in checkout.project.version_files:
        if pure.suffix in _SOURCES or pure.name in _BUILD_FILES:
            return []
        left_out = _LEFT_OUT_FOLDERS - inside  # those that the project leaves out as a whole
        for depth, part in enumerate(pure.parts[1:-1], 2):
            if part in left_out:
                folder = "/".join(pure.parts[:depth])
                return [ArchiveFault(f"{folder}/", path, is_note=True, group=_LEFT_OUT)]
        if pure.suffix in _TEXTS or pure.name in _TEXT_NAMES or pure.name.startswith("."):
            return [ArchiveFault(path, path, is_note=True, group=_LEFT_OUT)]
    return [ArchiveFault(f"{what} {path} is not inside{_missing_hint(checkout.project, path)}", path)]


def _submodule_faults(checkout: Checkout, folders: AbstractSet[str]) -> list[ArchiveFault]:
    faults = []
    for path, is_filled in sorted(checkout.submodules.items()):
        is_of_package = _is_in(path, folders)
        text = f"{path} is a submodule, " + (
            "which a clone for a build has only where it may be read"
            if is_filled
            else "whose files are not there"
        )
        is_note = is_filled or not is_of_package
        faults.append(ArchiveFault(text, path, is_note, hint=_OF_SUBMODULE))
    return faults


def source_faults(checkout: Checkout, source: OpenedArchive, wheel: Mapping[str, str]) -> list[ArchiveFault]:
    """Compare an sdist with the checkout; ``wheel`` are the members of the wheel that was built from it."""
    faults = [
        ArchiveFault(f"the model {path} is not inside, or with other bytes than in the checkout", path)
        for path, sha256 in checkout.payload.items()
        if source.digests.get(path) != sha256
    ]
    packages = {member.partition("/")[0] for member in wheel}
    for path, sha256 in sorted(source.digests.items()):
        top = PurePosixPath(path).parts[0]
        if path in checkout.payload or path in checkout.project.version_files:
            continue
        if top in RAW_DATA_FOLDERS and top != path and top not in packages:
            faults.append(
                ArchiveFault(f"{path} is inside: data, models and notebooks do not belong in a release", path)
            )
        elif _is_stray(checkout, path):
            faults.append(ArchiveFault(f"{path} is inside, but git does not track it", path))
        elif PurePosixPath(path).name not in _REWRITTEN and checkout.digests.get(path) not in (None, sha256):
            faults.append(ArchiveFault(f"{path} is inside with other bytes than in the checkout", path))
    return faults


def lost_members(built: Mapping[str, str], previous: AbstractSet[str]) -> tuple[str, ...]:
    """The members of the release before that a wheel with these members lacks, sorted."""
    there = {lasting_path(installed_path(member)) for member in built}
    return tuple(
        sorted(
            member
            for member in previous
            if ".dist-info/" not in member and lasting_path(installed_path(member)) not in there
        )
    )


def is_code(member: str) -> bool:
    """Whether a member is a module, as source or compiled: modules come and go with a project's history."""
    return member.endswith((".py", ".pyi")) or lasting_path(member) != member


def loss_faults(
    checkout: Checkout,
    built: Mapping[str, str],
    lost: tuple[str, ...],
    *,
    version: str,
    tracked: AbstractSet[str],
    is_certain: bool = True,
) -> list[ArchiveFault]:
    """What to say of the members that the release before had and this one lacks.

    A file that git tracked then and does not now was deleted on purpose. What git never tracked was made by
    someone's hand or script before the build: a compiled catalogue, a bundled front end. In the folder of a
    model's payload, the declaration says what belongs there.

    Args:
        checkout: the checkout.
        built: the members of the wheel.
        lost: what ``lost_members`` gave.
        version: that of the release before.
        tracked: what git tracked at it, from the top of the repository.
        is_certain: whether that release is of this project; else everything is a note.
    """
    roots = _import_roots(checkout, dict.fromkeys(built, ""))
    trained = {PurePosixPath(path).parent for path in checkout.payload}
    faults = []
    for member in lost:
        path = joined(roots.get(member.partition("/")[0], checkout.project.import_root), member)
        was_tracked = any(one == member or one.endswith(f"/{member}") for one in tracked)
        is_of_payload = PurePosixPath(path).parent in trained
        is_note = was_tracked or is_of_payload or is_code(member) or not is_certain
        faults.append(ArchiveFault(f"{member} is not inside, but was in {version}", path, is_note))
    return faults


def import_notes(built: OpenedArchive) -> list[ArchiveFault]:
    """A note for each module that a wheel imports and no requirement of it seems to bring."""
    compiled = {PurePosixPath(member).name.partition(".")[0] for member in built.digests}
    found = undeclared_imports(built.modules, built.metadata.get("requires_dist", []), compiled)
    return [
        ArchiveFault(
            f"{path} imports {name}, which no declared requirement seems to bring", path, is_note=True
        )
        for name, path in found.items()
    ]


def size_faults(project: Project, size_bytes: int) -> list[ArchiveFault]:
    """Compare the size of a built file with the project's budget."""
    most = project.declared.build.size_mb
    if size_bytes <= most * 1_000_000:
        return []
    return [
        ArchiveFault(
            f"it has {size_bytes / 1_000_000:.1f} MB, more than the {most} MB of size_mb "
            "under [tool.conveyor.build]"
        )
    ]


def link_fault(path: str, target: str | None, tracked: AbstractSet[str]) -> str | None:
    """Why a link that git tracks would bring a file into a release that no commit holds, or ``None``.

    A backend reads through links, so that a release could hold a file of the machine that builds it.

    Args:
        path: where the link is.
        target: where it leads, from the top of the repository; ``None`` if that is outside.
        tracked: what git tracks or the project declares, from the top of the repository.
    """
    if target is None or PurePosixPath(target).parts[:1] == (".git",):
        return f"{path} leads out of the repository"
    if target == "." or target in tracked or any(one.startswith(f"{target}/") for one in tracked):
        return None
    return f"{path} leads to {target}, which git does not track"


# --- what may differ ----------------------------------------------------------------------------------------

_REWRITTEN = {"setup.cfg", "setup.py", "pyproject.toml", "Cargo.toml", "Cargo.lock", "PKG-INFO",
              "pyproject.toml.orig", "Cargo.toml.orig"}  # fmt: skip
"""Files that backends write anew in an sdist: setuptools, poetry and flit, pdm, maturin."""
_SOURCES = {
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".cu", ".cuh", ".f", ".f90", ".f95", ".for",
    ".s", ".asm", ".m", ".mm", ".rs", ".go", ".pyx", ".pxd", ".pxi", ".i", ".y", ".l", ".po", ".pot",
    ".cmake", ".build", ".src",
}  # fmt: skip
"""Sources of compiled modules and catalogues."""
_BUILD_FILES = {
    "CMakeLists.txt", "Makefile", "makefile", "meson.options", "meson_options.txt", "Cargo.toml",
    "Cargo.lock", "setup.py", "BUILD", "SConscript", ".gitignore", ".gitattributes", ".gitkeep", ".keep",
}  # fmt: skip
"""How such sources are compiled, and files for git alone."""
_TEXTS = {".md", ".rst", ".ipynb", ".in", ".tmpl", ".template", ".orig"}
_TEXT_NAMES = {"conftest.py", "LICENSE", "LICENSE.txt", "README", "README.txt"}
"""Texts and templates: often about the sources, sometimes data that the package reads."""
_LEFT_OUT_FOLDERS = BESIDE_A_PACKAGE | {"src"}


def is_egg_info(path: str) -> bool:
    """Whether a file is setuptools' metadata of a project: in every sdist, and left in the checkout."""
    return any(part.endswith(".egg-info") for part in PurePosixPath(path).parts)


def _is_stray(checkout: Checkout, path: str) -> bool:
    return (
        path in checkout.strays
        and path not in checkout.payload
        and path not in checkout.project.version_files
        and not is_egg_info(path)
    )


def _import_roots(checkout: Checkout, members: Mapping[str, str]) -> dict[str, str]:
    """Top folder or module of a wheel → the folder of the checkout that it lies in, such as ``src``.

    It is the folder under which most of its files are tracked. A project may have several, and a wheel may
    hold what the checkout has nowhere, such as a generated module.
    """
    by_name: dict[str, list[str]] = {}
    for path in checkout.digests:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    votes: dict[str, Counter[str]] = {}
    for member in members:
        top = member.partition("/")[0]
        for path in by_name.get(PurePosixPath(member).name, ()):
            if path == member or path.endswith(f"/{member}"):
                votes.setdefault(top, Counter())[path[: -len(member)].rstrip("/")] += 1
    usual = [checkout.project.import_root.removeprefix("."), "src", ""]
    return {
        top: max(found, key=lambda root: (found[root], root in usual, -len(root)))
        for top, found in votes.items()
    }


def joined(root: str, path: str) -> str:
    """A path below a folder of the checkout, which may be its top."""
    return path if root in ("", ".") else f"{root}/{path}"


def _member_of(path: str, roots: Mapping[str, str], project: Project) -> str:
    for root in sorted({*roots.values(), project.import_root}, key=len, reverse=True):
        if root not in ("", ".") and path.startswith(f"{root}/"):
            member = path[len(root) + 1 :]
            if roots.get(member.partition("/")[0], root) == root:
                return member
    return path


def _missing_hint(project: Project, path: str) -> str:
    if path not in project.payload and project.backend == "hatchling":
        return " (does a line of .gitignore without a leading slash match it?)"
    return ""
