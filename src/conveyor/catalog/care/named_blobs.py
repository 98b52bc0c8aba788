"""The digests that rows name: the whole list as it was at one moment, and the rows that name a given one now.

The list of a large store has millions of entries, and is consulted during hours of hashing. It is copied out
of the catalogue in one snapshot, so that no transaction stays open meanwhile, into an unnamed SQLite file,
which takes little memory and disappears with the process.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from sqlalchemy import ColumnElement, and_, literal, null, select, true, update

from conveyor.catalog.database.judging_tables import pinned_files
from conveyor.catalog.database.tables import distributions, docs_archives, mirrored_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection

Role = Literal[
    "file",
    "metadata",
    "provenance",
    "docs",
    "pinned-file",
    "mirrored-file",
    "mirrored-metadata",
    "mirrored-provenance",
]
"""The role that a row gives the blob."""

OWN_ROLES: frozenset[Role] = frozenset({"file", "metadata", "provenance", "docs", "pinned-file"})
"""Roles whose bytes nobody else may have: they cannot be fetched again."""
UNPROMISED_ROLES: frozenset[Role] = frozenset({"mirrored-metadata", "mirrored-provenance"})
"""Roles whose digest a row may know before the bytes are stored; these are fetched on demand."""

ROWS_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A digest that at least one row names."""

    sha256: str
    roles: frozenset[Role]
    sizes: frozenset[int]
    """Its sizes as rows state them; empty for metadata, whose size no row states."""

    @property
    def must_be_here(self) -> bool:
        """Whether a row promises the bytes."""
        return bool(self.roles - UNPROMISED_ROLES)


@dataclass(frozen=True, slots=True)
class Namer:
    """A row that names a digest."""

    role: Role
    index: str | None
    """The mirror; ``None`` for a distribution of our own, whichever indexes it is in."""
    project: str
    version: str | None
    filename: str
    file_sha256: str | None
    """Digest of the distribution itself; ``None`` if it is mirrored and the digest is not known yet."""

    @property
    def is_own(self) -> bool:
        """Whether only this store may have the bytes: those of a distribution of our own, or kept for one."""
        return self.role in OWN_ROLES


class NamedBlobs:
    """Every digest that was named at one moment; for one thread. Made by ``named_blobs``; close it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = connection

    def close(self) -> None:
        """Discard the list."""
        self._rows.close()

    def __contains__(self, sha256: str) -> bool:
        found = self._rows.execute("select 1 from names where sha256 = ?", [bytes.fromhex(sha256)])
        return found.fetchone() is not None

    def __len__(self) -> int:
        return int(self._rows.execute("select count(distinct sha256) from names").fetchone()[0])

    def __iter__(self) -> Iterator[NamedBlob]:
        """Each digest once, in order."""
        rows = self._rows.execute(
            "select sha256, group_concat(distinct role), group_concat(distinct size_bytes) from names"
            " group by sha256 order by sha256"
        )
        for sha256, roles, sizes in rows:
            numbers = {int(size) for size in str(sizes).split(",")} - {_UNKNOWN}
            yield NamedBlob(
                sha256.hex(), cast("frozenset[Role]", frozenset(roles.split(","))), frozenset(numbers)
            )


def named_blobs(connection: Connection) -> NamedBlobs:
    """The digests that rows name in the snapshot of this transaction, which may end before the list does."""
    private = sqlite3.connect("", isolation_level=None)
    try:
        private.execute("pragma journal_mode=off")
        private.execute(
            "create table names (sha256 blob, role text, size_bytes integer,"
            " primary key (sha256, role, size_bytes)) without rowid"
        )
        private.execute("begin")
        for naming in _NAMINGS:
            statement = select(naming.digest, literal(naming.role), naming.size_bytes).where(naming.condition)
            rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(statement)
            for some in rows.partitions():
                private.executemany(
                    "insert or ignore into names values (?, ?, ?)",
                    [
                        (bytes.fromhex(sha256), role, _UNKNOWN if size is None else size)
                        for sha256, role, size in some
                        if _DIGEST.fullmatch(sha256)  # fsck reports the others
                    ],
                )
        private.execute("commit")
    except BaseException:
        private.close()
        raise
    return NamedBlobs(private)


def namers_of(connection: Connection, digests: Collection[str]) -> dict[str, list[Namer]]:
    """The rows that name each of a few digests now; digests that no row names are left out.

    Reads whole tables: ask for many at a time.
    """
    found: dict[str, list[Namer]] = {}
    for naming in _NAMINGS:
        statement = (
            select(naming.digest.label("digest"), literal(naming.role), *naming.namer)
            .where(naming.condition)
            .where(naming.digest.in_(sorted(digests)))
        )
        for digest, *rest in connection.execute(statement):
            found.setdefault(digest, []).append(Namer(*rest))
    return found


def mark_not_stored(connection: Connection, index: str, filename: str, sha256: str) -> bool:
    """Write that the bytes of a mirrored file are missing; returns whether a row said otherwise."""
    changed = connection.execute(
        update(mirrored_files)
        .where(
            mirrored_files.c.index_name == index,
            mirrored_files.c.filename == filename,
            mirrored_files.c.sha256 == sha256,
            mirrored_files.c.is_stored,
        )
        .values(is_stored=False)
    )
    return changed.rowcount > 0


@dataclass(frozen=True)
class _Naming:
    """A column that names blobs."""

    role: Role
    digest: ColumnElement[Any]
    condition: ColumnElement[bool]
    """The rows it applies to."""
    size_bytes: ColumnElement[Any] = field(default_factory=null)

    @property
    def namer(self) -> tuple[ColumnElement[Any], ...]:
        """The columns of a ``Namer`` after its role."""
        if self.role == "docs":
            return null(), _DOCS.project, _DOCS.version, _DOCS.project, null()
        if self.role == "pinned-file":
            return null(), _PINS.project, _PINS.version, _PINS.filename, _PINS.sha256
        if self.role in OWN_ROLES:
            return null(), _FILES.project, _FILES.version, _FILES.filename, _FILES.sha256
        return _MIRRORED.index_name, _MIRRORED.project, null(), _MIRRORED.filename, _MIRRORED.sha256


_UNKNOWN = -1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILES, _MIRRORED = distributions.c, mirrored_files.c
_DOCS, _PINS = docs_archives.c, pinned_files.c
_NAMINGS = (
    _Naming("file", _FILES.sha256, true(), _FILES.size_bytes),
    _Naming("metadata", _FILES.metadata_sha256, _FILES.metadata.is_(None)),
    _Naming("docs", _DOCS.sha256, true(), _DOCS.size_bytes),
    _Naming("pinned-file", _PINS.sha256, true(), _PINS.size_bytes),
    _Naming("provenance", _FILES.provenance_sha256, _FILES.provenance_sha256.is_not(None)),
    _Naming(
        "mirrored-file",
        _MIRRORED.sha256,
        and_(_MIRRORED.is_stored, _MIRRORED.sha256.is_not(None)),
        _MIRRORED.size_bytes,
    ),
    _Naming("mirrored-metadata", _MIRRORED.metadata_sha256, _MIRRORED.metadata_sha256.is_not(None)),
    _Naming("mirrored-provenance", _MIRRORED.provenance_sha256, _MIRRORED.provenance_sha256.is_not(None)),
)
