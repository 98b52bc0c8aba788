"""The wheel contract: every built file is opened and compared with the checkout it was built from.

A build backend silently drops an ignored model, ships a stray file, or includes raw data (measured: five of
seven backends build another wheel at a desk than from a clean clone). So every built file is checked:

1. its name and version are the project's, and those of the tag if a tag was built;
2. every tracked file of the package is inside, with the same bytes;
3. every declared payload file is inside, with the digest of the working file;
4. no other file of the checkout is inside, such as an ignored file that is not declared;
5. the sdist holds nothing but tracked files and the payload, and no raw data.

All faults are named at once.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.domain.words.notation import sha256_of
from conveyor.errors import ProjectError
from conveyor.project.git import tracked_files
from conveyor.project.model import read_payload, sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.domain.words.names import Version
    from conveyor.project.settings import Project

RAW_DATA_FOLDERS = ("data", "models", "notebooks")
"""Folders at the top of a checkout for data, trained models and experiments: never parts of a release."""


def check_wheel(
    wheel: Path, project: Project, *, version: Version | None = None, is_of_tag: bool = False
) -> Version:
    """Return the version of a wheel, after checking that it keeps the contract.

    Args:
        wheel: the built file.
        project: the checkout's declarations; its files are read and compared.
        version: the version that it must have; ``None`` allows any.
        is_of_tag: whether a tag was built, which stays where it is.

    Raises:
        ProjectError: the contract is broken; all faults are named.
    """
    name, filename_version, _, _ = parse_wheel_filename(wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if not member.endswith("/")]
        digests = {member: _sha256_of_member(archive, member) for member in members}
        metadata = next((archive.read(member) for member in digests if _is_metadata(member, "METADATA")), b"")
    faults = _identity_faults(project, name, filename_version, metadata, version)
    faults += _member_faults(project, digests)
    _raise(wheel, faults, project, is_of_tag=is_of_tag)
    return filename_version


def check_sdist(
    sdist: Path, project: Project, *, version: Version | None = None, is_of_tag: bool = False
) -> Version:
    """Check an sdist and return its version; arguments and errors as for ``check_wheel``."""
    name, filename_version = parse_sdist_filename(sdist.name)
    digests: dict[str, str] = {}
    metadata = b""
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if str(path) == "PKG-INFO":
                metadata = content.read()
            else:
                digests[str(path)] = sha256_of(content)
    faults = _identity_faults(project, name, filename_version, metadata, version)
    faults += _source_faults(project, digests)
    _raise(sdist, faults, project, is_of_tag=is_of_tag)
    return filename_version


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


def _is_distribution_of(project: Project, filename: str) -> bool:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[0] == project.name
        return parse_sdist_filename(filename)[0] == project.name
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False


def _identity_faults(
    project: Project, name: str, filename_version: Version, metadata: bytes, version: Version | None
) -> list[str]:
    """Compare the name and version in a file's filename and metadata with the project and the tag."""
    raw: RawMetadata = parse_email(metadata)[0]
    faults = []
    if name != project.name:
        faults.append(f"its filename names {name}, the project is {project.name}")
    if canonicalize_name(raw.get("name", "")) != project.name:
        faults.append(f"its metadata names {raw.get('name')!r}, the project is {project.name}")
    if raw.get("version") != str(filename_version):
        faults.append(f"its metadata has version {raw.get('version')!r}, its filename {filename_version}")
    if version is not None and filename_version != version:
        faults.append(f"it has version {filename_version}, the tag is {version}")
    return faults


def _member_faults(project: Project, digests: Mapping[str, str]) -> list[str]:
    """Compare the package's files in a wheel with those of the checkout."""
    expected = {file.path: file.sha256 for file in read_payload(project)}
    known = {*expected, *project.version_files, *tracked_files(project.root)}
    for path in tracked_files(project.root, project.package_folder):
        expected[path] = sha256_of_file(project.root / path)
    faults = []
    for path, sha256 in expected.items():
        member = project.member_of(path)
        what = "the model" if path in project.payload else "the tracked file"
        if member not in digests:
            faults.append(f"{what} {path} is not inside{_missing_hint(project, path)}")
        elif digests[member] != sha256 and path not in project.version_files:
            faults.append(f"{what} {path} is inside with other bytes than in the checkout")
    origins = {member: str(PurePosixPath(project.import_root, member)) for member in sorted(digests)}
    faults += [
        f"{member} is inside, but git does not track it and payload does not declare it"
        for member, origin in origins.items()
        if ".dist-info/" not in member and origin not in known and (project.root / origin).exists()
    ]
    return faults


def _source_faults(project: Project, digests: Mapping[str, str]) -> list[str]:
    """Compare the files of an sdist with those of the checkout."""
    payload = {file.path: file.sha256 for file in read_payload(project)}
    tracked = set(tracked_files(project.root))
    faults = [
        f"the model {path} is not inside, or with other bytes than in the checkout"
        for path, sha256 in payload.items()
        if digests.get(path) != sha256
    ]
    for path in sorted(digests):
        if path in payload or path in project.version_files:
            continue
        if PurePosixPath(path).parts[0] in RAW_DATA_FOLDERS:
            faults.append(f"{path} is inside: data, models and notebooks do not belong in a release")
        elif path not in tracked and not is_egg_info(path) and (project.root / path).exists():
            faults.append(f"{path} is inside, but git does not track it")
    return faults


def _missing_hint(project: Project, path: str) -> str:
    if path not in project.payload and project.backend == "hatchling":
        return " (does a line of .gitignore without a leading slash match it?)"
    return ""


def _is_metadata(member: str, name: str) -> bool:
    path = PurePosixPath(member)
    return path.name == name and len(path.parts) == 2 and path.parts[0].endswith(".dist-info")


def _sha256_of_member(archive: zipfile.ZipFile, member: str) -> str:
    with archive.open(member) as stream:
        return sha256_of(stream)


_WHERE_FILES_ARE_NAMED = {
    "hatchling": "artifacts and exclude under [tool.hatch.build] in pyproject.toml",
    "setuptools": "include, exclude and prune in MANIFEST.in, beside pyproject.toml",
    "flit_core": "include and exclude under [tool.flit.sdist] in pyproject.toml",
    "poetry": "include (format sdist and wheel) and exclude under [tool.poetry] in pyproject.toml",
    "pdm": "includes and excludes under [tool.pdm.build] in pyproject.toml",
    "uv_build": "source-include, source-exclude and wheel-exclude "
    "under [tool.uv.build-backend] in pyproject.toml",
}
"""Build backend → the setting that says which files belong inside."""


def _raise(file: Path, faults: list[str], project: Project, *, is_of_tag: bool) -> None:
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        where = _WHERE_FILES_ARE_NAMED.get(project.backend, f"the documentation of {project.backend}")
        raise ProjectError(
            f"{file.name} does not keep the wheel contract:{listed}",
            hint=f"see {where}; then commit{', tag that commit' if is_of_tag else ''}, and build again",
        )
