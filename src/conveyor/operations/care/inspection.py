"""Inspection of a store (``fsck``): proves that catalogue and blobs agree, or says where they do not.

Works while the store serves, and changes nothing. Its steps:

1. the rows: SQLite's own check of its file, then every rule between rows (``catalog.care.consistency``), and
   a list of the digests that rows name, all read before the long work begins;
2. every blob that a row promises: is it here, and does every byte of it hash to its name?
3. every other blob: does it hash to its name, and is it young enough to belong to an upload under way?
4. files among the blobs that are none; as warnings, temporaries of processes that are gone, what others
   keep beside the shelves (a snapshot's folder, a desktop's bin), and who may read it all;
5. what was found is looked at again, with the rows of now: what others did meanwhile is no fault.

A blob is there before its row is committed and as long as the row is, so what step 5 still finds is one.
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
    """Told how many blobs were read, of how many (as far as known), and how many bytes they had."""

ASKED_AT_ONCE = 500
"""Digests whose rows are looked up together: each question reads whole tables."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it must be."""

    kind: str
    """For scripts: ``missing-blob``, ``wrong-blob``, ``wrong-size``, ``unnamed-blob``, ``stray-file``,
    ``two-contents``, or a kind of ``catalog.care.consistency``."""
    subject: str
    """The file, digest, project or table concerned."""
    what: str
    """One sentence."""
    sha256: str | None = None
    """Of faults of blobs: the digest that it should have."""
    file: ListedFile | None = None
    """Of faults of blobs: the file as it was found, if there is one."""
    namers: tuple[Namer, ...] = ()
    """Of faults of blobs: the rows that name it."""
    repair: str | None = None
    """What was done about it; ``None``: nothing."""
    is_mended: bool = False


@dataclass(slots=True)
class Inspection:
    """What an inspection found."""

    faults: list[Fault] = field(default_factory=list)
    blobs: int = 0
    """How many blobs were read to their end."""
    size_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    """What is no fault, and yet may not be as the owner wants it; one sentence each."""

    @property
    def remaining(self) -> list[Fault]:
        """What was not mended."""
        return [fault for fault in self.faults if not fault.is_mended]

    @property
    def kinds(self) -> dict[str, int]:
        """How many faults of each kind there were."""
        return dict(Counter(fault.kind for fault in self.faults))


def inspect_store(
    store: Store, *, grace_seconds: float, threads: int, progress: Progress | None = None
) -> Inspection:
    """Look at everything; ``grace_seconds``: how old a blob without a row may be.

    Raises:
        StorageFailed: the catalogue or the folder of blobs cannot be read at all.
        InvalidInput: the blobs are in no folder of this machine.
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
    # 4. what is no blob
    for stray in stray_files(blobs):
        what = f"{stray.path} is among the blobs but is not one"
        found.faults.append(Fault("stray-file", stray.name, what, file=stray))
    found.warnings += _warnings(store, blobs)
    # 5. with the rows of now
    found.faults += _confirmed(store, blobs, suspects)
    return found


def look_again(store: Store, fault: Fault) -> Fault | None:
    """A fault of a blob with the rows and the file of now; ``None``: it is none any more."""
    confirmed = _confirmed(store, local_blobs(store.blobs), [fault])
    return replace(confirmed[0], what=fault.what) if confirmed else None


def _warnings(store: Store, blobs: FilesystemBlobs) -> Iterator[str]:
    """What was left behind, what is not of this store, and what others on this machine may read."""
    if left := blobs.remove_leftovers(is_dry=True):
        yield (
            f"{len(left)} unfinished files of processes that have ended hold {sum(left)} bytes;"
            " remove them: conveyor store gc --data DIR"
        )
    for foreign in foreign_files(blobs):
        yield f"{foreign.path} is not of this store: move it elsewhere, a repair does not touch it"
    # Stores are made for their owner alone, older ones were not.
    catalog = sqlite_path(store.catalog.url.render_as_string(hide_password=False))
    for path, everything in ((blobs.root, ""), (catalog, "*")):
        if path is not None and is_open_to_others(path):
            command = f"chmod o= {shlex.quote(str(path))}{everything}"
            yield f"every user of this machine may read {path}; to keep others out: {command}"


def _faults_of_catalogue(connection: Connection) -> Iterator[Fault]:
    damages = damage_of_database(connection)
    yield from (Fault(damage.kind, damage.subject, damage.what) for damage in damages)
    if any(damage.kind == "damaged-database" for damage in damages):
        return  # what its rows say is worth nothing
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
    """Read every blob; returns what looks wrong, before it was looked at again."""
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

    # 2. what rows promise
    def check(blob: NamedBlob) -> tuple[HashedFile | None, Fault | None]:
        return _check_named(blobs, blob)

    for hashed, fault in in_parallel(check, named, threads=threads):
        note(hashed, fault)
    # 3. the others
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
    """The file, hashed, and whether it is wrong; (``None``, ``None``): there is none."""
    try:
        hashed = hash_file(path)
    except StorageFailed as error:
        return None, Fault("wrong-blob", sha256, error.message, sha256=sha256, file=look_at(path))
    if hashed is None or hashed.sha256 == sha256:
        return hashed, None
    what = f"its bytes have the digest {hashed.sha256}"
    return hashed, Fault("wrong-blob", sha256, what, sha256=sha256, file=hashed.file)


def _confirmed(store: Store, blobs: FilesystemBlobs, suspects: Sequence[Fault]) -> list[Fault]:
    """Those that are faults still, with the rows that name them now."""
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
        # Another file by now: who stored it has hashed it. A backup may have linked it: it is the same then.
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
    "mirrored-file": "the mirrored file",
    "mirrored-metadata": "the mirrored metadata of",
    "mirrored-provenance": "the mirrored provenance of",
}
