"""Checks a wheel from the inside: its archive, its ``.dist-info``, and its RECORD against every byte.

RECORD must list exactly the members, each with a SHA-256 or stronger hash that is verified here: whether or
not an installer checks them, the store has. ``RECORD.jws`` and ``RECORD.p7s`` need no line.

Sources: binary distribution format 1.0, recording installed projects (RECORD), entry points specification,
PEP 639 (licence files).
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name

from conveyor.domain.distributions.archives import ArchiveLimits, Unreadable, path_fault
from conveyor.domain.distributions.filenames import MOST_TAGS, count_tags
from conveyor.domain.distributions.metadata import METADATA_LIMIT_BYTES
from conveyor.domain.distributions.zips import ZipArchive
from conveyor.domain.words.names import version_or_none

if TYPE_CHECKING:
    from conveyor.domain.distributions.filenames import DistributionFilename
    from conveyor.domain.words.faults import Faults
    from conveyor.errors import Rule

WHEEL_LIMIT_BYTES = 64 * 1024
ENTRY_POINTS_LIMIT_BYTES = 1024 * 1024
RECORD_LIMIT_BYTES = 32 * 1024 * 1024
HASHES = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b"})
"""Hashes of ``hashlib`` that are SHA-256 or stronger, as the specification asks."""
LARGE_BYTES = 8 * 1024 * 1024
"""Total size of the members above which threads pay off."""
MOST_NOTED_TAGS = 5
READERS = 2
"""Threads for one large wheel: several such uploads may arrive at the same time."""
_DATA_SCHEMES = frozenset({"data", "headers", "platlib", "purelib", "scripts"})
_DATA_PATH = re.compile(r"[^/]+\.data/([^/]*)")
_ENTRY_POINT = re.compile(r"\w+(\.\w+)*\s*:\s*\w+(\.\w+)*\s*(\[[\w,. -]*\])?")


@dataclass(frozen=True)
class RecordLine:
    """The line of RECORD for one file; ``algorithm`` is empty if the line has no hash."""

    algorithm: str
    digest: str
    size_bytes: int | None


def read_wheel(
    stream: BinaryIO,
    filename: DistributionFilename,
    *,
    size_bytes: int,
    limits: ArchiveLimits,
    faults: Faults,
) -> tuple[bytes, frozenset[str]] | None:
    """(METADATA, paths of licence files) of a wheel in a seekable stream; ``None`` if it cannot be examined.

    Every fault of archive, WHEEL, RECORD and entry points goes to ``faults``; the contents of METADATA are
    not checked here.
    """
    archive = ZipArchive.of(stream, size_bytes=size_bytes, limits=limits, faults=faults)
    if archive is None:
        return None
    folder = _dist_info(archive, filename, faults)
    if folder is None:
        return None
    metadata = _read(archive, f"{folder}/METADATA", METADATA_LIMIT_BYTES, "wheel-dist-info", faults)
    if (wheel := _read(archive, f"{folder}/WHEEL", WHEEL_LIMIT_BYTES, "wheel-file", faults)) is not None:
        _check_wheel_file(wheel, filename, faults)
    if f"{folder}/entry_points.txt" in archive.members:
        points = _read(
            archive, f"{folder}/entry_points.txt", ENTRY_POINTS_LIMIT_BYTES, "entry-points", faults
        )
        _check_entry_points(points or b"", faults)
    if (record := _read(archive, f"{folder}/RECORD", RECORD_LIMIT_BYTES, "record", faults)) is not None:
        _check_record(archive, folder, parse_record(record, faults), faults)
    if metadata is None:
        return None
    licences = f"{folder}/licenses/"
    return metadata, frozenset(
        path.removeprefix(licences) for path in archive.members if path.startswith(licences)
    )


def parse_record(content: bytes, faults: Faults) -> dict[str, RecordLine]:
    """The lines of a RECORD file by path; malformed ones become faults and are left out."""
    lines: dict[str, RecordLine] = {}
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        faults.add("record", f"RECORD is not a table of comma-separated values in UTF-8: {error}")
        return lines
    malformed, repeated, weak = [], [], []
    for row in rows:
        if not row:
            continue
        row[0] = row[0].replace("\\", "/")  # written on Windows by old tools; no member has one in its path
        match = re.fullmatch(r"(?:(\w+)=([A-Za-z0-9_-]+)=*)?,(\d{1,15})?", ",".join(row[1:]))
        if len(row) != 3 or match is None:
            malformed.append(",".join(row)[:200])
        elif row[0] in lines:
            repeated.append(row[0])
        else:
            algorithm, digest, size = match[1] or "", match[2] or "", match[3]
            if algorithm and algorithm not in HASHES:
                weak.append(f"{row[0]} ({algorithm})")
                algorithm = ""
            lines[row[0]] = RecordLine(algorithm, digest, int(size) if size else None)
    faults.add_each("record", malformed, "RECORD has a malformed line: {}")
    faults.add_each("record", repeated, "RECORD lists {} twice")
    faults.add_each("record-hash", weak, "RECORD has a hash weaker than SHA-256 for {}")
    return lines


def _check_record(archive: ZipArchive, folder: str, lines: dict[str, RecordLine], faults: Faults) -> None:
    """Compare RECORD with the members, each of which is read once here, to its last byte."""
    exempt = {f"{folder}/RECORD", f"{folder}/RECORD.jws", f"{folder}/RECORD.p7s"}
    unreadable, other_hash = _read_all(archive, lines)
    unlisted, without_hash, other_size = [], [], []
    for path, member in archive.members.items():
        line = lines.get(path)
        if path in unreadable:
            faults.add("zip-structure", unreadable[path])
        elif path in exempt:
            continue
        elif line is None:
            unlisted.append(path)
        else:
            if not line.digest:
                without_hash.append(path)
            if line.size_bytes not in (None, member.size_bytes):
                other_size.append(path)
    faults.add_each("record-complete", unlisted, "RECORD does not list {}")
    absent = lines.keys() - archive.members.keys() - exempt
    faults.add_each("record-complete", absent, "RECORD lists {}, which is not in the wheel")
    faults.add_each("record-hash", without_hash, "RECORD has no hash for {}")
    faults.add_each("record-hash", other_hash - exempt, "RECORD has a hash other than that of {}")
    faults.add_each("record-hash", other_size, "RECORD has a size other than that of {}")


def _read_all(archive: ZipArchive, lines: dict[str, RecordLine]) -> tuple[dict[str, str], set[str]]:
    """(Path → fault of members that cannot be read, paths of members with another hash than in RECORD).

    Threads share the members of a large wheel: zlib and hashlib release the interpreter lock.
    """
    unreadable: dict[str, str] = {}
    other_hash: set[str] = set()
    # Taken by the next free thread; the largest first, so that all end at about the same time.
    waiting = iter(sorted(archive.members.items(), key=lambda item: item[1].size_bytes, reverse=True))

    def read() -> None:
        for path, member in waiting:
            line = lines.get(path)
            algorithm = line.algorithm if line and line.algorithm else "sha256"
            digest = hashlib.new(algorithm, usedforsecurity=False)
            try:
                for chunk in archive.chunks(member):
                    digest.update(chunk)
            except Unreadable as fault:
                unreadable[path] = fault.message
            else:
                if line is not None and line.algorithm and not _is_digest(line.digest, digest.digest()):
                    other_hash.add(path)

    if sum(member.size_bytes for member in archive.members.values()) < LARGE_BYTES:
        read()
    else:
        with ThreadPoolExecutor(READERS, thread_name_prefix="reading") as readers:
            for reading in [readers.submit(read) for _ in range(READERS)]:
                reading.result()
    return unreadable, other_hash


def _dist_info(archive: ZipArchive, filename: DistributionFilename, faults: Faults) -> str | None:
    """The wheel's one ``.dist-info`` folder; it and ``.data`` must be named after project and version."""
    tops = {path.split("/", 1)[0] for path in archive.members if "/" in path}
    folders = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(folders) != 1:
        found = ", ".join(folders) or "none"
        faults.add(
            "wheel-dist-info", f"the wheel must have one folder {filename.stem}.dist-info; it has: {found}"
        )
        return None
    for top in sorted(top for top in tops if top.endswith((".dist-info", ".data"))):
        name, _, version = top.removesuffix(".dist-info").removesuffix(".data").partition("-")
        if canonicalize_name(name) != filename.project or _canonical(version) != str(filename.version):
            faults.add(
                "wheel-dist-info",
                f"the folder {top} does not belong to {filename.project} {filename.version}",
            )
    outside = {
        path for path in archive.members if (m := _DATA_PATH.match(path)) and m[1] not in _DATA_SCHEMES
    }
    known = ", ".join(sorted(_DATA_SCHEMES))
    faults.add_each("wheel-data", outside, "{} is in no known folder of .data (" + known + ")")
    return folders[0]


def _read(archive: ZipArchive, path: str, limit_bytes: int, rule: Rule, faults: Faults) -> bytes | None:
    member = archive.members.get(path)
    if member is None:
        faults.add(rule, f"the wheel has no {path}")
        return None
    try:
        return archive.read(member, limit_bytes=limit_bytes)
    except Unreadable as unreadable:
        unreadable.add_to(faults, otherwise="zip-structure")
        return None


def _check_wheel_file(content: bytes, filename: DistributionFilename, faults: Faults) -> None:
    fault, says_where, tags = _read_wheel_file(content)
    if fault:
        faults.add("wheel-file", f"WHEEL{fault}")
        return
    if not says_where:
        faults.note("WHEEL: Root-Is-Purelib is neither true nor false; installers take it for false")
    # Installers use the filename (decision record 0023); scikit-build wrote wheels without a tag in 2023.
    if not tags:
        faults.note("WHEEL names no tag; installers go by the filename")
    elif tags != {str(tag) for tag in _expanded(filename.tags)}:
        faults.note(f"WHEEL names other tags than the filename: {', '.join(sorted(tags)[:MOST_NOTED_TAGS])}")


@lru_cache(maxsize=64)
def _read_wheel_file(content: bytes) -> tuple[str, bool, frozenset[str]]:
    """(Fault, whether Root-Is-Purelib is right, tags) of a WHEEL file.

    Cached, because a build tool writes the same one into many wheels.
    """
    try:
        headers = HeaderParser().parsestr(content.decode("utf-8"))
    except UnicodeDecodeError:
        return " is not UTF-8", False, frozenset()
    version = headers.get("Wheel-Version", "").strip()
    if re.fullmatch(r"1\.\d+", version) is None:
        return f": Wheel-Version is {version or 'missing'}; installers know 1.0", False, frozenset()
    says_where = headers.get("Root-Is-Purelib", "").strip().lower() in ("true", "false")
    tags = {str(tag) for text in headers.get_all("Tag", ()) for tag in _expanded(text.strip())}
    return "", says_where, frozenset(tags)


def _check_entry_points(content: bytes, faults: Faults) -> None:
    """They must parse, and names of scripts must not contain a path: they become files in ``bin``."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep case
    try:
        parser.read_string(content.decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        faults.add("entry-points", f"entry_points.txt cannot be parsed: {str(error).splitlines()[0]}")
        return
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            if path_fault(name) or "/" in name:
                faults.add("entry-points", f"entry_points.txt: the script {name!r} has a path in its name")
            if _ENTRY_POINT.fullmatch(value) is None:
                faults.add(
                    "entry-points",
                    f"entry_points.txt: the script {name!r} is not MODULE:FUNCTION, but {value!r}",
                )


def _expanded(tags: str) -> frozenset[Tag]:
    try:
        return parse_tag(tags) if count_tags(tags) <= MOST_TAGS else frozenset()
    except ValueError:
        return frozenset()


def _is_digest(text: str, digest: bytes) -> bool:
    """Whether RECORD has this digest: in URL-safe base64, or hexadecimal as early flit wrote it."""
    return text in (_unpadded(digest), digest.hex())


def _unpadded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _canonical(version: str) -> str:
    return str(version_or_none(version) or version)
