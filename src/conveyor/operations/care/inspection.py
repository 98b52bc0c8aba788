"""Inspection of a store (``fsck``): proves that catalogue and blobs agree, or says where they do not.

It works while the store serves, and changes nothing. Its steps:

1. the rows: SQLite's own check of its file, then every rule between rows (``catalog.care.consistency``), and
   a list of the digests that rows name, all read before the long work begins;
2. every blob that a row promises: is it here, and does every byte of it hash to its name?
3. every other blob: does it hash to its name, and is it young enough to belong to an upload under way?
4. files among the blobs that are not blobs; as warnings, temporary files of processes that have ended, files
   that others keep beside the shelves (a snapshot's folder, a desktop's bin), and modes too generous;
5. every finding is checked again with the current rows: a change made meanwhile is not a fault.

A blob exists before its row is committed and as long as the row does, so a finding that survives step 5 is a
fault.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conveyor.blobs.folders import is_open_to_others
from conveyor.blobs.inventory import (
    HashedFile,
    ListedFile,
    foreign_files,
    hash_file,
    in_parallel,
    listed_blobs,
    local_blobs,
    look_at,
    stray_files,
)
from conveyor.catalog.care.consistency import contents_by_filename, damage_of_database, faults_of_rows
from conveyor.catalog.care.named_blobs import UNPROMISED_ROLES, Namer, named_blobs, namers_of
from conveyor.catalog.database.connection import sqlite_path
from conveyor.catalog.indexes.definitions import all_indexes
from conveyor.domain.indexes.policy import chain_of
from conveyor.errors import StorageFailed
from conveyor.operations.store.store import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from conveyor.blobs.filesystem import FilesystemBlobs
    from conveyor.catalog.care.named_blobs import NamedBlob, NamedBlobs, Role
    from conveyor.operations.store.store import Store

    Progress = Callable[[int, int, int], None]
    """Called with the number of blobs read, their total (as far as known), and the bytes read."""

ASKED_AT_ONCE = 500
"""Digests whose rows are looked up together: each question reads whole tables."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One violation of a store's invariants."""

    kind: str
    """For scripts: ``missing-blob``, ``wrong-blob``, ``wrong-size``, ``unnamed-blob``, ``stray-file``,
    ``two-contents``, or a kind of ``catalog.care.consistency``."""
    subject: str
    """The file, digest, project or table concerned."""
    what: str
    """One sentence."""
    sha256: str | None = None
    """For faults of blobs: the digest that the blob should have."""
    file: ListedFile | None = None
    """For faults of blobs: the file as it was found, if it exists."""
    namers: tuple[Namer, ...] = ()
    """For faults of blobs: the rows that name it."""
    repair: str | None = None
    """How it was repaired; ``None`` if nothing was done."""
    is_mended: bool = False


@dataclass(slots=True)
class Inspection:
    """The findings of an inspection."""

    faults: list[Fault] = field(default_factory=list)
    blobs: int = 0
    """How many blobs were read to their end."""
    size_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    """Findings that are not faults but that the owner may want to change; one sentence each."""

    @property
    def remaining(self) -> list[Fault]:
        """The faults that were not mended."""
        return [fault for fault in self.faults if not fault.is_mended]

    @property
    def kinds(self) -> dict[str, int]:
        """The number of faults of each kind."""
        return dict(Counter(fault.kind for fault in self.faults))


def inspect_store(
    store: Store, *, grace_seconds: float, threads: int, progress: Progress | None = None
) -> Inspection:
    """Inspect the whole store; a blob without a row is a fault when it is older than ``grace_seconds``.

    Raises:
        StorageFailed: the catalogue or the folder of blobs cannot be read at all.
        InvalidInput: the blobs are not in a folder of this machine.
    """
    blobs = local_blobs(store.blobs)
    found = Inspection()
    began = time.time()
    # 1. the rows
    with read(store) as connection:
        found.faults += _faults_of_catalogue(connection)
        names = named_blobs(connection)
    with closing(names) as named:
        suspects = _read_blobs(
            blobs, named, found, oldest=began - grace_seconds, threads=threads, progress=progress
        )
    # 4. files that are not blobs
    for stray in stray_files(blobs):
        what = f"{stray.path} is among the blobs but is not one"
        found.faults.append(Fault("stray-file", stray.name, what, file=stray))
    found.warnings += _warnings(store, blobs)
    # 5. again, with the current rows
    found.faults += _confirmed(store, blobs, suspects)
    return found


def look_again(store: Store, fault: Fault) -> Fault | None:
    """A fault of a blob with its current rows and file; ``None`` if it is no longer a fault."""
    confirmed = _confirmed(store, local_blobs(store.blobs), [fault])
    return replace(confirmed[0], what=fault.what) if confirmed else None


def _warnings(store: Store, blobs: FilesystemBlobs) -> Iterator[str]:
    """Warnings of files left behind, of foreign files, and of files that other users can read."""
    if left := blobs.remove_leftovers(is_dry=True):
        yield (
            f"{len(left)} unfinished files of processes that have ended hold {sum(left)} bytes;"
            " remove them: conveyor store gc --data DIR"
        )
    for foreign in foreign_files(blobs):
        yield f"{foreign.path} is not of this store: move it elsewhere, a repair does not touch it"
    # Stores are made readable by their owner only; older ones were not.
    catalog = sqlite_path(store.catalog.url.render_as_string(hide_password=False))
    for path, everything in ((blobs.root, ""), (catalog, "*")):
        if path is not None and is_open_to_others(path):
            command = f"chmod o= {shlex.quote(str(path))}{everything}"
            yield f"every user of this machine may read {path}; to keep others out: {command}"


def _faults_of_catalogue(connection: Connection) -> Iterator[Fault]:
    damages = damage_of_database(connection)
    yield from (Fault(damage.kind, damage.subject, damage.what) for damage in damages)
    if any(damage.kind == "damaged-database" for damage in damages):
        return  # the rows of a damaged database prove nothing
    for fault in faults_of_rows(connection):
        yield Fault(fault.kind, fault.subject, fault.what)
    indexes = all_indexes(connection)
    for project, filename, holders in contents_by_filename(connection):
        for index, sha256 in holders:
            chain = chain_of(index, indexes)
            others = [name for name, digest in holders if name in chain and digest != sha256 and name > index]
            for other in others:
                what = f'{filename} of {project} means other bytes in index "{index}" than in "{other}"'
                yield Fault("two-contents", filename, what)


def _read_blobs(
    blobs: FilesystemBlobs,
    named: NamedBlobs,
    found: Inspection,
    *,
    oldest: float,
    threads: int,
    progress: Progress | None,
) -> list[Fault]:
    """Read every blob and return the suspects, which step 5 has yet to confirm."""
    suspects: list[Fault] = []
    of = len(named)

    def note(hashed: HashedFile | None, fault: Fault | None) -> None:
        if hashed is not None:
            found.blobs += 1
            found.size_bytes += hashed.size_bytes
            if progress is not None:
                progress(found.blobs, max(of, found.blobs), found.size_bytes)
        if fault is not None:
            suspects.append(fault)

    # 2. blobs that rows promise
    def check(blob: NamedBlob) -> tuple[HashedFile | None, Fault | None]:
        return _check_named(blobs, blob)

    for hashed, fault in in_parallel(check, named, threads=threads):
        note(hashed, fault)
    # 3. the other blobs
    unnamed = (listed for listed in listed_blobs(blobs) if listed.name not in named)

    def check_unnamed(listed: ListedFile) -> tuple[HashedFile | None, Fault | None]:
        return _check_unnamed(listed, oldest)

    for hashed, fault in in_parallel(check_unnamed, unnamed, threads=threads):
        note(hashed, fault)
    return suspects


def _check_named(blobs: FilesystemBlobs, blob: NamedBlob) -> tuple[HashedFile | None, Fault | None]:
    hashed, fault = _check(blobs.path(blob.sha256), blob.sha256)
    if hashed is None and fault is None and blob.must_be_here:
        fault = Fault("missing-blob", blob.sha256, "its bytes are missing", sha256=blob.sha256)
    if hashed is not None and fault is None and blob.sizes - {hashed.size_bytes}:
        said = ", ".join(str(size) for size in sorted(blob.sizes))
        what = f"it has {hashed.size_bytes} bytes, rows say {said}"
        fault = Fault("wrong-size", blob.sha256, what, sha256=blob.sha256, file=hashed.file)
    return hashed, fault


def _check_unnamed(listed: ListedFile, oldest: float) -> tuple[HashedFile | None, Fault | None]:
    hashed, fault = _check(listed.path, listed.name)
    if hashed is not None and fault is None and hashed.file.changed_at < oldest:
        what = "no row names it, and it is older than the grace time"
        fault = Fault("unnamed-blob", listed.name, what, sha256=listed.name, file=hashed.file)
    return hashed, fault


def _check(path: Path, sha256: str) -> tuple[HashedFile | None, Fault | None]:
    """The hashed file and its fault, if it has one; both ``None`` if there is no such file."""
    try:
        hashed = hash_file(path)
    except StorageFailed as error:
        return None, Fault("wrong-blob", sha256, error.message, sha256=sha256, file=look_at(path))
    if hashed is None or hashed.sha256 == sha256:
        return hashed, None
    what = f"its bytes have the digest {hashed.sha256}"
    return hashed, Fault("wrong-blob", sha256, what, sha256=sha256, file=hashed.file)


def _confirmed(store: Store, blobs: FilesystemBlobs, suspects: Sequence[Fault]) -> list[Fault]:
    """The suspects that are still faults, with the rows that name them now."""
    confirmed = []
    for begin in range(0, len(suspects), ASKED_AT_ONCE):
        some = suspects[begin : begin + ASKED_AT_ONCE]
        with read(store) as connection:
            namers = namers_of(connection, [fault.sha256 for fault in some if fault.sha256 is not None])
        for suspect in some:
            assert suspect.sha256 is not None  # noqa: S101 - all suspects are faults of blobs
            fault = _confirm(blobs, suspect, suspect.sha256, tuple(namers.get(suspect.sha256, ())))
            if fault is not None:
                confirmed.append(fault)
    return confirmed


def _confirm(blobs: FilesystemBlobs, fault: Fault, sha256: str, namers: tuple[Namer, ...]) -> Fault | None:
    now = look_at(blobs.path(sha256))
    if fault.kind == "missing-blob":
        must_be_here = any(namer.role not in UNPROMISED_ROLES for namer in namers)
        is_fault = now is None and must_be_here
    elif fault.kind == "unnamed-blob":
        is_fault = now == fault.file and not namers
    else:
        # Another file by now was hashed by the upload that stored it. A backup may have linked the same file.
        is_fault = now is not None and fault.file is not None and now.is_alike(fault.file)
        fault = replace(fault, file=now)
    if not is_fault:
        return None
    return replace(fault, subject=_subject(sha256, namers), what=_what(fault, sha256, namers), namers=namers)


def _subject(sha256: str, namers: Sequence[Namer]) -> str:
    return namers[0].filename if namers else sha256


def _what(fault: Fault, sha256: str, namers: Sequence[Namer]) -> str:
    named = [f"{_ROLES[namer.role]} {namer.filename}" for namer in namers[:3]]
    named += [f"{len(namers) - 3} more"] if len(namers) > 3 else []
    of = f" ({', '.join(named)})" if named else ""
    return f"blob {sha256}{of}: {fault.what}"


_ROLES: dict[Role, str] = {
    "file": "the file",
    "metadata": "the metadata of",
    "provenance": "the provenance of",
    "docs": "the documentation of",
    "pinned-file": "the pinned file",
    "mirrored-file": "the mirrored file",
    "mirrored-metadata": "the mirrored metadata of",
    "mirrored-provenance": "the mirrored provenance of",
}
