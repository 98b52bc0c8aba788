"""Built files, opened and read once: their members with digests, their metadata, and the secrets in them.

Whether what they hold is right is decided in ``archive_rules.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.words.notation import sha256_of
from conveyor.errors import ProjectError
from conveyor.project.contents import LARGEST_SEARCHED_BYTES, secrets_in
from conveyor.project.settings import TEST_FOLDERS
from conveyor.project.taking import refuse_links_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.domain.words.names import Version

_COMPILED = re.compile(r"\.(?:cpython-|cp3|abi3|pypy)[^/]*\.(?:so|pyd)$|\.(?:so|pyd)$")
BESIDE_A_PACKAGE = frozenset({
    *TEST_FOLDERS, "testing", "testdata", "doc", "docs", "example", "examples", "benchmark", "benchmarks",
    "fixtures",
})  # fmt: skip
"""Folders of tests, texts and examples: keys in them are public already, and wheels often leave them out."""

_POINTER_OF_LFS = b"version https://git-lfs.github.com/spec/v1"
_HINT_OF_LFS = (
    "a worker fetches files of Git LFS where it may read them, and the log lfs of its run says which not; "
    "builds of a checkout fetch none: commit the files themselves (git lfs untrack PATTERN, then "
    "git add --renormalize .)"
)
LIMITS = ArchiveLimits()
"""What is unpacked of an archive at most: as much as a store accepts."""


@dataclass(frozen=True)
class ArchiveFault:
    """A fault of a built file."""

    text: str
    path: str = ""
    """The file it is about, by its path in the checkout or archive; empty: the archive, never allowed."""
    is_note: bool = False
    """Whether it is worth a line, but no error."""
    hint: str = ""
    """What to do about it; empty: name what belongs inside where the backend is told."""
    group: str = ""
    """What notes have in common that are one line, in which the text of each is a word."""


@dataclass(frozen=True)
class OpenedArchive:
    """A built file, read once."""

    name: str
    version: Version
    metadata: RawMetadata
    digests: Mapping[str, str]
    """SHA-256 of each file by its path; of an sdist below the top folder, without PKG-INFO."""
    faults: Sequence[ArchiveFault] = ()
    modules: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Its Python files."""


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern names a path, as in ``.gitignore``: ``*`` stops at a slash, ``**`` does not.

    A pattern without a slash names files and folders at any depth; one that names a folder names all in it.
    """
    words = pattern.strip("/")
    if "/" not in pattern.rstrip("/"):
        words = f"**/{words}"
    expression = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", words):
        expression += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.fullmatch(f"{expression}(?:/.*)?", path) is not None


def open_wheel(wheel: Path) -> OpenedArchive:
    """Open a wheel and read all of it.

    Raises:
        ProjectError: its filename is not that of a wheel.
    """
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise ProjectError(f"the backend gave a wheel a wrong name: {error}") from error
    digests: dict[str, str] = {}
    faults: list[ArchiveFault] = []
    modules: dict[str, bytes] = {}
    metadata = b""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if info.is_dir():  # some backends write folders, which RECORD does not list
                continue
            with archive.open(info) as stream:
                content = _read(stream, info.filename, info.file_size, digests, faults)
            if _is_metadata(info.filename, "METADATA"):
                metadata = content
            elif info.filename.endswith(".py"):
                modules[info.filename] = content
    return OpenedArchive(name, version, parse_email(metadata)[0], digests, faults, modules)


def open_sdist(sdist: Path) -> OpenedArchive:
    """Open an sdist and read all of it; its paths are those below the top folder.

    Raises:
        ProjectError: its filename is not that of an sdist.
    """
    try:
        name, version = parse_sdist_filename(sdist.name)
    except InvalidSdistFilename as error:
        raise ProjectError(f"the backend gave an sdist a wrong name: {error}") from error
    digests: dict[str, str] = {}
    faults: list[ArchiveFault] = []
    metadata = b""
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = path_in_sdist(member.name)
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None:  # a folder or a link
                continue
            content = _read(stream, path, member.size, digests, faults)
            if path == "PKG-INFO":
                metadata = content
                del digests[path]
    return OpenedArchive(name, version, parse_email(metadata)[0], digests, faults)


def _read(
    stream: IO[bytes], path: str, size: int, digests: dict[str, str], faults: list[ArchiveFault]
) -> bytes:
    """Take a member's digest and look for secrets in it; gives its content, empty if it is large."""
    if size > LARGEST_SEARCHED_BYTES:
        digests[path] = sha256_of(stream)
        return b""
    content = stream.read()
    digests[path] = hashlib.sha256(content).hexdigest()
    if content.startswith(_POINTER_OF_LFS):
        text = f"{path} is a pointer of Git LFS, not the file that it stands for"
        faults.append(ArchiveFault(text, path, hint=_HINT_OF_LFS))
    # Servers under test need keys, which are public with the tests; in a package none has a use.
    is_note = bool(BESIDE_A_PACKAGE & set(PurePosixPath(path).parts[:-1]))
    faults += [
        ArchiveFault(f"{path} holds {kind} in line {line}", path, is_note)
        for kind, line in secrets_in(content)
    ]
    return content


def _is_metadata(member: str, name: str) -> bool:
    path = PurePosixPath(member)
    return path.name == name and len(path.parts) == 2 and path.parts[0].endswith(".dist-info")


def path_in_sdist(member: str) -> str:
    """Where a member of an sdist lies below its top folder; ``.`` for that folder itself."""
    return str(PurePosixPath(*PurePosixPath(member).parts[1:]))


def unpack_sdist(sdist: Path, into: Path, *, limits: ArchiveLimits = LIMITS) -> None:
    """Unpack an sdist so that ``into`` is its top folder.

    Raises:
        ProjectError: it has not exactly one top folder, or holds a member that leads out of it, or more than
            a store would accept.
    """
    parent = into.parent / f"{into.name}.part"
    try:
        with tarfile.open(sdist) as archive:
            unpack_tar(archive, parent, limits=limits, packed_bytes=sdist.stat().st_size)
    except (tarfile.TarError, OSError) as error:
        raise ProjectError(f"{sdist.name} cannot be unpacked: {error}") from error
    tops = list(parent.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        named = ", ".join(sorted(top.name for top in tops)[:5]) or "nothing"
        raise ProjectError(f"{sdist.name} holds {named} at its top instead of one folder")
    tops[0].rename(into)
    parent.rmdir()


def unpack_tar(
    archive: tarfile.TarFile, into: Path, *, limits: ArchiveLimits = LIMITS, packed_bytes: int | None = None
) -> None:
    """Unpack plain files, folders and links that stay inside; owners of members are not kept.

    As the filter "data" of ``tarfile`` does it (PEP 706), which Python 3.11.2, that of Debian 12, lacks.

    Args:
        archive: at its beginning.
        into: the folder; made if it does not exist.
        limits: those of the store's archives; what goes beyond is not unpacked.
        packed_bytes: the size of the archive; ``None``: it was made here, so it may be small for its content.

    Raises:
        ProjectError: a member leads out of the folder, or is a device or a pipe; or there is too much.
        tarfile.TarError, OSError: the archive cannot be read, or a member not be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    top = into.resolve()
    expanded = 0
    for number, member in enumerate(archive, 1):
        expanded += member.size if member.isfile() else 0
        fault = limits.bomb_fault(expanded, expanded if packed_bytes is None else packed_bytes)
        if number > limits.members:
            fault = f"the archive has more than {limits.members:,} members"
        if fault is not None:
            raise ProjectError(f"it cannot be unpacked: {fault}")
        target = into / member.name
        linked = target.parent / member.linkname if member.issym() else into / member.linkname
        leads = [target.parent, *([linked] if member.issym() or member.islnk() else [])]
        if (
            PurePosixPath(member.name).is_absolute()
            or ".." in PurePosixPath(member.name).parts
            or not all(Path(os.path.realpath(one)).is_relative_to(top) for one in leads)
            or PurePosixPath(member.linkname).is_absolute()
        ):
            raise ProjectError(f"{member.name} leads out of the archive")
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.isdir():
            target.mkdir(exist_ok=True)
            continue
        if target.is_symlink() or target.is_file():
            target.unlink()
        if member.issym():
            target.symlink_to(member.linkname)
        elif member.islnk():
            target.hardlink_to(os.path.realpath(linked))
        elif (content := archive.extractfile(member)) is not None:
            with target.open("wb") as file:
                shutil.copyfileobj(content, file)
            target.chmod(0o755 if member.mode & 0o100 else 0o644)
            os.utime(target, (member.mtime, member.mtime))
        else:
            raise ProjectError(f"{member.name} is neither a file nor a folder nor a link")
    refuse_links_out(into)  # a link may lead elsewhere once the next ones are there


def installed_path(member: str) -> str:
    """Where a member of a wheel is installed: files of ``NAME.data/purelib`` and ``platlib`` at the top."""
    parts = PurePosixPath(member).parts
    if len(parts) > 2 and parts[0].endswith(".data") and parts[1] in ("purelib", "platlib"):
        return "/".join(parts[2:])
    return member


def lasting_path(member: str) -> str:
    """A member without what changes from version to version and from Python to Python."""
    folder, _, rest = member.partition("/")
    if folder.endswith(".data"):
        member = f"data/{rest}"
    return _COMPILED.sub(".so", member)


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return sha256_of(stream)
