"""The contract of the archives: every built file is opened and compared with the checkout it was built from.

A build backend silently drops an ignored model, ships a stray file, or includes raw data (measured: five of
seven backends build another wheel at a desk than from a clean clone). So every built file is checked:

1. its name and version are the project's, and those of the tag if a tag was built;
2. every tracked file of the packages is in the wheel, with the same bytes;
3. every declared payload file is in both, with the digest of the working file;
4. no file that lay in the checkout before the build is inside unless git tracks it or the payload names it;
5. no raw data is in the sdist, and its tracked files have the bytes of the checkout;
6. nothing inside is a private key or a token of a documented form, and neither file is over its size;
7. no file that the release before had is missing, unless it was deleted from git.

What a backend makes is no fault: its metadata, compiled modules, generated files, rewritten settings. Nor is
what belongs in no wheel: sources of compiled modules, tests, templates. ``[tool.conveyor.build] allow`` lets
single files pass, each with a reason. All faults of both files are named at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.errors import ProjectError
from conveyor.project.archives import (
    NO_PARTS_OF_A_PACKAGE,
    ArchiveFault,
    OpenedArchive,
    installed_path,
    lasting_path,
    matches,
    open_sdist,
    open_wheel,
)
from conveyor.project.contents import undeclared_imports
from conveyor.project.git import tracked_files, untracked_files
from conveyor.project.model import read_payload, sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from conveyor.domain.words.names import Version
    from conveyor.project.previous import PreviousRelease
    from conveyor.project.settings import Project

RAW_DATA_FOLDERS = ("data", "models", "notebooks")
"""Folders at the top of a checkout for data, trained models and experiments: never parts of a release."""


@dataclass(frozen=True)
class _Checkout:
    """What the archives are compared with."""

    project: Project
    tracked: frozenset[str]
    strays: frozenset[str]
    """Files that lay there before the build and that git does not track."""
    payload: Mapping[str, str]

    def sha256(self, path: str) -> str | None:
        """The digest of a file, or of what a link leads to; ``None`` if it is no file, as a submodule."""
        file = self.project.root / path
        return sha256_of_file(file) if file.is_file() else None


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
    checkout = _checkout(project, strays)
    source, built = open_sdist(sdist), open_wheel(wheel)
    faults = {
        sdist: [
            *_identity_faults(project, source, version),
            *_source_faults(checkout, source, built.digests),
        ],
        wheel: [
            *_identity_faults(project, built, version or source.version),
            *_member_faults(checkout, built, source.digests),
        ],
    }
    if previous is not None:
        faults[wheel] += _loss_faults(checkout, built.digests, previous)
    faults[wheel] += _import_notes(built)
    for file in faults:
        faults[file] += _size_faults(project, file)
    return built.version, _raise(project, faults, is_of_tag=is_of_tag)


def is_egg_info(path: str) -> bool:
    """Whether a file is setuptools' metadata of a project: in every sdist, and left in the checkout."""
    return any(part.endswith(".egg-info") for part in PurePosixPath(path).parts)


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


# --- reading the archives ----------------------------------------------------------------------------------


def _checkout(project: Project, strays: frozenset[str] | None) -> _Checkout:
    return _Checkout(
        project=project,
        tracked=frozenset(tracked_files(project.root)),
        strays=frozenset(untracked_files(project.root)) if strays is None else strays,
        payload={file.path: file.sha256 for file in read_payload(project)},
    )


def _is_distribution_of(project: Project, filename: str) -> bool:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[0] == project.name
        return parse_sdist_filename(filename)[0] == project.name
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False


# --- the rules ----------------------------------------------------------------------------------------------


def _identity_faults(project: Project, opened: OpenedArchive, version: Version | None) -> list[ArchiveFault]:
    """Compare the name and version in a file's filename and metadata with the project and the tag."""
    raw, named = opened.metadata, opened.name
    faults = []
    if named != project.name:
        faults.append(f"its filename names {named}, the project is {project.name}")
    if canonicalize_name(raw.get("name", "")) != project.name:
        faults.append(f"its metadata names {raw.get('name')!r}, the project is {project.name}")
    if raw.get("version") != str(opened.version):
        faults.append(f"its metadata has version {raw.get('version')!r}, its filename {opened.version}")
    if version is not None and opened.version != version:
        faults.append(f"it has version {opened.version}, the tag is {version}")
    return [*(ArchiveFault(text) for text in faults), *opened.faults]


def _member_faults(
    checkout: _Checkout, built: OpenedArchive, source: Mapping[str, str]
) -> list[ArchiveFault]:  # fmt: skip
    """Compare a wheel with the checkout; ``source`` are the files of the sdist that it was built from."""
    project, digests = checkout.project, built.digests
    members = {
        installed_path(member): sha256 for member, sha256 in digests.items() if ".dist-info/" not in member
    }
    roots = _import_roots(checkout, members)
    folders = {_joined(root, top) for top, root in roots.items()} | {project.package_folder}
    if not (project.root / project.package_folder).is_dir():  # a single module
        folders |= {f"{project.package}.py", f"src/{project.package}.py"}
    inside = {part for member in members for part in member.split("/")[:-1]}
    expected = {
        path: sha256
        for path in sorted(checkout.tracked)
        if any(path == folder or path.startswith(f"{folder}/") for folder in folders)
        and not _belongs_in_no_wheel(path, checkout, members, inside)
        and (sha256 := checkout.sha256(path)) is not None
    }
    faults = []
    for path, sha256 in {**checkout.payload, **expected}.items():
        what = "the model" if path in checkout.payload else "the tracked file"
        member = _member_of(path, roots, project)
        if member not in members:
            faults.append(ArchiveFault(f"{what} {path} is not inside{_missing_hint(project, path)}", path))
        elif members[member] != sha256 and path not in project.version_files:
            faults.append(
                ArchiveFault(f"{what} {path} is inside with other bytes than in the checkout", path)
            )
    for member in sorted(members):
        origin = _joined(roots.get(member.partition("/")[0], project.import_root), member)
        if _is_stray(checkout, origin) and origin in source:
            faults.append(
                ArchiveFault(
                    f"{member} is inside, but git does not track it and payload does not declare it", origin
                )
            )
    return faults


def _source_faults(
    checkout: _Checkout, source: OpenedArchive, wheel: Mapping[str, str]
) -> list[ArchiveFault]:
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
        elif (
            path in checkout.tracked
            and PurePosixPath(path).name not in _REWRITTEN
            and checkout.sha256(path) not in (None, sha256)
        ):
            faults.append(ArchiveFault(f"{path} is inside with other bytes than in the checkout", path))
    return faults


def _loss_faults(
    checkout: _Checkout, digests: Mapping[str, str], previous: PreviousRelease
) -> list[ArchiveFault]:
    """The members of the release before that this one lacks.

    A file that git tracked then and does not now was deleted on purpose. What git never tracked was made by
    someone's hand or script before the build: a compiled catalogue, a bundled front end. In the folder of a
    model's payload, the declaration says what belongs there.
    """
    there = {lasting_path(installed_path(member)) for member in digests}
    lost = sorted(
        member
        for member in previous.members
        if ".dist-info/" not in member and lasting_path(installed_path(member)) not in there
    )
    code = {member for member in lost if member.endswith((".py", ".pyi")) or lasting_path(member) != member}
    tracked = previous.tracked() if set(lost) - code else frozenset[str]()
    roots = _import_roots(checkout, dict.fromkeys(digests, ""))
    trained = {PurePosixPath(path).parent for path in checkout.payload}
    faults = []
    for member in lost:
        root = roots.get(member.partition("/")[0], checkout.project.import_root)
        was_tracked = any(path == member or path.endswith(f"/{member}") for path in tracked)
        text = f"{member} is not inside, but was in {previous.version}"
        path = _joined(root, member)
        is_of_payload = PurePosixPath(path).parent in trained
        is_note = was_tracked or member in code or is_of_payload or not previous.is_certain
        faults.append(ArchiveFault(text, path, is_note=is_note))
    return faults


def _import_notes(built: OpenedArchive) -> list[ArchiveFault]:
    compiled = {PurePosixPath(member).name.partition(".")[0] for member in built.digests}
    found = undeclared_imports(built.modules, built.metadata.get("requires_dist", []), compiled)
    return [
        ArchiveFault(
            f"{path} imports {name}, which no declared requirement seems to bring", path, is_note=True
        )
        for name, path in found.items()
    ]


def _size_faults(project: Project, file: Path) -> list[ArchiveFault]:
    size, most = file.stat().st_size, project.declared.build.size_mb
    if size <= most * 1_000_000:
        return []
    return [
        ArchiveFault(
            f"it has {size / 1_000_000:.1f} MB, more than the {most} MB of size_mb "
            "under [tool.conveyor.build]"
        )
    ]


# --- what may differ ----------------------------------------------------------------------------------------

_REWRITTEN = {"setup.cfg", "setup.py", "pyproject.toml", "Cargo.toml", "Cargo.lock", "PKG-INFO",
              "pyproject.toml.orig", "Cargo.toml.orig"}  # fmt: skip
"""Files that backends write anew in an sdist: setuptools, poetry and flit, pdm, maturin."""
_SOURCES = {
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".cu", ".cuh", ".f", ".f90", ".f95", ".for",
    ".s", ".asm", ".m", ".mm", ".rs", ".go", ".pyx", ".pxd", ".pxi", ".i", ".y", ".l", ".in", ".tmpl",
    ".template", ".po", ".pot", ".cmake", ".build", ".orig", ".src", ".md", ".rst", ".ipynb",
}  # fmt: skip
"""Sources of compiled modules and catalogues, templates of generated files, and texts about them."""
_BUILD_FILES = {
    "CMakeLists.txt", "Makefile", "makefile", "meson.options", "meson_options.txt", "Cargo.toml",
    "Cargo.lock", "setup.py", "conftest.py", "BUILD", "SConscript", "LICENSE", "LICENSE.txt", "README",
    "README.txt",
}  # fmt: skip


def _belongs_in_no_wheel(
    path: str, checkout: _Checkout, members: Mapping[str, str], folders: AbstractSet[str]
) -> bool:
    """Whether a tracked file of a package may be missing in a wheel that has folders of these names."""
    pure = PurePosixPath(path)
    if path in checkout.payload or path in checkout.project.version_files:
        return False
    if pure.suffix in _SOURCES or pure.name in _BUILD_FILES or pure.name.startswith("."):
        return not any("/".join(pure.parts[start:]) in members for start in range(len(pure.parts)))
    left_out = NO_PARTS_OF_A_PACKAGE - folders  # those that the project leaves out as a whole
    return any(part in left_out for part in pure.parts[1:-1])


def _is_stray(checkout: _Checkout, path: str) -> bool:
    return (
        path in checkout.strays
        and path not in checkout.payload
        and path not in checkout.project.version_files
        and not is_egg_info(path)
    )


def _import_roots(checkout: _Checkout, members: Mapping[str, str]) -> dict[str, str]:
    """Top folder or module of a wheel → the folder of the checkout that it lies in, such as ``src``.

    It is the folder under which most of its files are tracked. A project may have several, and a wheel may
    hold what the checkout has nowhere, such as a generated module.
    """
    by_name: dict[str, list[str]] = {}
    for path in checkout.tracked:
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


def _joined(root: str, path: str) -> str:
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
    return path != "" and (matches(pattern, path) or matches(pattern, _joined(project.import_root, path)))


def _raise(
    project: Project, faults: Mapping[Path, Sequence[ArchiveFault]], *, is_of_tag: bool
) -> tuple[str, ...]:
    """Refuse what no exception allows; gives the notes, those about unused exceptions last."""
    allowed = project.declared.build.allow
    used: set[str] = set()
    notes: list[str] = []
    refused: dict[Path, list[str]] = {}
    for file, some in faults.items():
        for fault in some:
            passing = [one.pattern for one in allowed if _is_allowed(project, one.pattern, fault.path)]
            used.update(passing)
            if passing:
                continue
            if fault.is_note:
                notes.append(f"{file.name}: {fault.text}")
            else:
                refused.setdefault(file, []).append(fault.text)
    notes += [
        f'"{one.pattern}" in allow under [tool.conveyor.build] excepts nothing; remove it'
        for one in allowed
        if one.pattern not in used
    ]
    if refused:
        listed = "\n".join(
            f"{file.name} does not keep the contract of the archives:"
            + "".join(f"\n  - {text}" for text in dict.fromkeys(texts))
            for file, texts in refused.items()
        )
        where = _WHERE_FILES_ARE_NAMED.get(project.backend, f"the documentation of {project.backend}")
        if project.backend == "setuptools" and not project.document.get("project"):
            where = _IN_SETUP_CFG
        raise ProjectError(
            listed,
            hint=f"see {where}; what is right as it is goes into allow under [tool.conveyor.build], with a "
            'reason: {pattern = "…", reason = "…"}; '
            f"then commit{', tag that commit' if is_of_tag else ''}, and build again",
        )
    return tuple(dict.fromkeys(notes))
