"""Rules that the rows of a catalogue must keep, and the rows that break them.

The tables' own constraints enforce most of them; these checks find damage that a faulty program, a manual
change or a broken disk has done nonetheless. Each check is one statement that finds the wrong rows; in a
sound catalogue it finds no row. All of them are read in one snapshot, while others write.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, func, literal, not_, or_, select, text, update

from conveyor.catalog.database.connection import is_sqlite
from conveyor.catalog.database.judging_tables import evidence
from conveyor.catalog.database.schema import read_fact
from conveyor.catalog.database.tables import (
    SCHEMA_VERSION,
    bytes_of_files,
    claims,
    distributions,
    events,
    first_digests,
    indexes,
    mirrored_files,
    open_files,
    placements,
    projects,
    releases,
    retired_filenames,
    serial,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import ColumnElement, Connection, Select

ROWS_AT_ONCE = 2000
MOST_PER_CHECK = 1000
"""Wrong rows of one kind that are reported individually; there may be millions."""


@dataclass(frozen=True, slots=True)
class CatalogFault:
    """One broken rule."""

    kind: str
    subject: str
    what: str


def damage_of_database(connection: Connection) -> list[CatalogFault]:
    """Faults that SQLite finds in its file and its foreign keys; PostgreSQL enforces both itself."""
    if not is_sqlite(connection.engine):
        return []
    rows = connection.execute(text(f"pragma integrity_check({MOST_PER_CHECK})"))
    said = [str(row[0]) for row in rows if row[0] != "ok"]
    found = [CatalogFault("damaged-database", "catalogue", line) for line in said]
    for table, row_id, parent, _ in connection.execute(text("pragma foreign_key_check")):
        what = f"row {row_id} of {table} points at a row of {parent} that does not exist"
        found.append(CatalogFault("broken-reference", str(table), what))
    return found


def faults_of_rows(connection: Connection) -> Iterator[CatalogFault]:
    """Every row that breaks a rule, kind by kind."""
    yield from _facts(connection)
    yield from _serials(connection)
    yield from _metadata(connection)
    for kind, statement, describe in _CHECKS:
        rows = connection.execute(statement.limit(MOST_PER_CHECK + 1)).all()
        for row in rows[:MOST_PER_CHECK]:
            yield CatalogFault(kind, str(row[0]), describe(*row))
        if len(rows) > MOST_PER_CHECK:
            yield CatalogFault(kind, "more", f"there are more than {MOST_PER_CHECK} of these")


def contents_by_filename(connection: Connection) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(project, filename, [(index, SHA-256), …]) of each filename that means different bytes in two indexes.

    That is allowed for indexes that do not see each other; which ones do is decided elsewhere.
    """
    several = (
        select(placements.c.project, placements.c.filename)
        .join_from(placements, distributions, placements.c.distribution_id == distributions.c.id)
        .group_by(placements.c.project, placements.c.filename)
        .having(func.count(distributions.c.sha256.distinct()) > 1)
        .limit(MOST_PER_CHECK)
        .subquery()
    )
    rows = connection.execute(
        select(placements.c.project, placements.c.filename, placements.c.index_name, distributions.c.sha256)
        .join_from(placements, distributions, placements.c.distribution_id == distributions.c.id)
        .join(
            several,
            and_(several.c.project == placements.c.project, several.c.filename == placements.c.filename),
        )
        .order_by(placements.c.project, placements.c.filename, placements.c.index_name)
    )
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for project, filename, index, sha256 in rows:
        found.setdefault((project, filename), []).append((index, sha256))
    return [(*names, holders) for names, holders in found.items()]


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """Metadata as the row of a distribution holds it."""

    project: str
    sha256: str
    """Of the distribution."""
    metadata_sha256: str
    metadata: bytes


def metadata_by_filename(connection: Connection, filename: str) -> list[MetadataRow]:
    """The metadata in the rows of that filename, one for each content with that name."""
    rows = connection.execute(
        select(_file.project, _file.sha256, _file.metadata_sha256, _file.metadata).where(
            _file.filename == filename, _file.metadata.is_not(None)
        )
    )
    return [MetadataRow(**row._mapping) for row in rows]


def set_metadata(connection: Connection, filename: str, sha256: str, content: bytes) -> None:
    """Write the metadata of a distribution."""
    connection.execute(
        update(distributions)
        .where(_file.filename == filename, _file.sha256 == sha256)
        .values(metadata=content)
    )


def _facts(connection: Connection) -> Iterator[CatalogFault]:
    for key in ("store-id", "upstream", "schema"):
        if read_fact(connection, key) is None:
            yield CatalogFault("missing-fact", key, f'the store does not know its "{key}"')
    schema = read_fact(connection, "schema")
    if schema is not None and schema != str(SCHEMA_VERSION):
        yield CatalogFault(
            "wrong-schema", "schema", f"the schema has number {schema}, this conveyor knows {SCHEMA_VERSION}"
        )


def _serials(connection: Connection) -> Iterator[CatalogFault]:
    """Serials begin with 1, have no gaps, and end with the newest."""
    rows = list(connection.execute(select(serial.c.newest)))
    if len(rows) != 1:
        yield CatalogFault("wrong-serial", "serial", f"the table of the newest serial has {len(rows)} rows")
        return
    newest = rows[0].newest
    last = connection.scalar(select(func.max(events.c.serial))) or 0
    if last != newest:
        yield CatalogFault(
            "wrong-serial", "serial", f"the newest serial is {newest}, that of the newest event {last}"
        )
    after = events.alias("after")
    gaps = (
        select(events.c.serial)
        .where(events.c.serial < last)
        .where(not_(exists().where(after.c.serial == events.c.serial + 1)))
        .order_by(events.c.serial)
        .limit(MOST_PER_CHECK)
    )
    first = connection.scalar(select(func.min(events.c.serial)))
    before_gaps = [*([0] if first is not None and first != 1 else []), *connection.scalars(gaps)]
    for number in before_gaps:
        yield CatalogFault("missing-event", f"serial {number + 1}", f"no event has the serial {number + 1}")


def _metadata(connection: Connection) -> Iterator[CatalogFault]:
    """Each row's metadata has the digest that the row names."""
    rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
        select(_file.filename, _file.metadata_sha256, _file.metadata).where(_file.metadata.is_not(None))
    )
    wrong = (row for row in rows if hashlib.sha256(row.metadata).hexdigest() != row.metadata_sha256)
    for row in islice(wrong, MOST_PER_CHECK):
        what = f"the row of {row.filename} has other metadata than that of the digest {row.metadata_sha256}"
        yield CatalogFault("wrong-metadata", row.filename, what)


def _is_no_digest(column: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(func.length(column) != 64, column != func.lower(column))


_file, _held, _event = distributions.c, placements.c, events.c
_digests = (_file.sha256, _file.metadata_sha256, _file.provenance_sha256)
_is_placed = exists().where(_held.distribution_id == _file.id)
"""A file of an open release has no claim and no release yet."""
_stored_bytes = bytes_of_files()
_promoted = (
    select(_event.project, _event.version, func.min(_event.serial).label("first"))
    .where(_event.action == "promote")
    .group_by(_event.project, _event.version)
    .subquery()
)

_CHECKS: tuple[tuple[str, Select[tuple[object, ...]], Callable[..., str]], ...] = (
    (
        "wrong-placement",
        select(_held.filename, _held.index_name, _held.project, _file.filename, _file.project)
        .join_from(placements, distributions, _held.distribution_id == _file.id)
        .where(or_(_held.project != _file.project, _held.filename != _file.filename)),
        lambda filename, index, project, other, of: (
            f'index "{index}" shows {filename} of {project}, the distribution is {other} of {of}'
        ),
    ),
    (
        "wrong-placement",
        select(_held.filename, _held.index_name)
        .join_from(placements, indexes, _held.index_name == indexes.c.name)
        .where(indexes.c.kind != "local"),
        lambda filename, index: f'{filename} is in the mirror "{index}" as if it had been uploaded there',
    ),
    (
        "unknown-serial",
        select(_held.filename, _held.index_name, _held.added_serial)
        .join_from(placements, events, _held.added_serial == _event.serial, isouter=True)
        .where(_event.index_name.is_distinct_from(_held.index_name)),
        lambda filename, index, number: (
            f'{filename} is in index "{index}" since serial {number}, which is not an event of that index'
        ),
    ),
    (
        "missing-release",
        select(_file.filename, _file.project, _file.version)
        .join_from(
            distributions,
            releases,
            and_(releases.c.project == _file.project, releases.c.version == _file.version),
            isouter=True,
        )
        .where(releases.c.version.is_(None), _is_placed),
        lambda filename, project, version: f"{filename} is of {project} {version}, which is not a release",
    ),
    (
        "open-release",
        select(_held.filename, _held.index_name, _file.project, _file.version)
        .join_from(placements, distributions, _held.distribution_id == _file.id)
        .join(indexes, indexes.c.name == _held.index_name)
        .join(releases, and_(releases.c.project == _file.project, releases.c.version == _file.version))
        .where(indexes.c.mode == "promotion-only", releases.c.closed_at.is_(None)),
        lambda filename, index, project, version: (
            f'{filename} was promoted to "{index}", but {project} {version} is not closed'
        ),
    ),
    (
        "late-file",
        select(_event.project, _event.version, _event.serial, _promoted.c.first)
        .join_from(
            _promoted,
            events,
            and_(_event.project == _promoted.c.project, _event.version == _promoted.c.version),
        )
        .where(_event.action.in_(["upload", "publish"]), _event.serial > _promoted.c.first),
        lambda project, version, number, promoted: (
            f"serial {number} added a file to {project} {version}, closed since serial {promoted}"
        ),
    ),
    (
        "unclaimed-project",
        # A mirrored project has a row too, once this store has given it a status; but no files of ours.
        select(projects.c.name).where(
            exists().where(_file.project == projects.c.name, _is_placed),
            not_(
                exists().where(
                    or_(
                        claims.c.name == projects.c.name,
                        and_(claims.c.is_prefix, projects.c.name.like(claims.c.name + literal("-%"))),
                    )
                )
            ),
        ),
        lambda name: f'nobody has claimed "{name}": mirrors would ask upstream for it',
    ),
    (
        "wrong-project-size",
        select(projects.c.name, projects.c.stored_bytes, _stored_bytes).where(
            projects.c.stored_bytes != _stored_bytes
        ),
        lambda name, counted, stored: f"{name} counts {counted} bytes, its files have {stored}",
    ),
    (
        "lost-distribution",
        select(_file.filename, _file.project, _file.version).where(
            not_(_is_placed), not_(exists().where(open_files.c.distribution_id == _file.id))
        ),
        lambda filename, project, version: (
            f"{filename} of {project} {version} is in no index, and in no release that waits to be published"
        ),
    ),
    (
        "retired-filename",
        select(_held.filename, _held.index_name).join_from(
            placements, retired_filenames, _held.filename == retired_filenames.c.filename
        ),
        lambda filename, index: f'{filename} was deleted for good, and is in index "{index}"',
    ),
    (
        "wrong-mirror",
        select(mirrored_files.c.filename, mirrored_files.c.index_name)
        .join_from(mirrored_files, indexes, mirrored_files.c.index_name == indexes.c.name)
        .where(indexes.c.kind != "mirror"),
        lambda filename, index: f'{filename} is known from the index "{index}", which is not a mirror',
    ),
    (
        "mirrored-without-digest",
        select(mirrored_files.c.filename, mirrored_files.c.index_name).where(
            mirrored_files.c.sha256.is_(None),
            or_(mirrored_files.c.is_stored, mirrored_files.c.address.is_(None)),
        ),
        lambda filename, index: f'{filename} of the mirror "{index}" has no digest, and should have one',
    ),
    (
        "wrong-first-digest",
        select(mirrored_files.c.filename, mirrored_files.c.sha256, first_digests.c.sha256).join_from(
            mirrored_files,
            first_digests,
            and_(
                first_digests.c.address == mirrored_files.c.address,
                first_digests.c.filename == mirrored_files.c.filename,
                first_digests.c.sha256 != mirrored_files.c.sha256,
            ),
        ),
        lambda filename, now, first: (
            f"{filename} is known by the digest {now}, its first download had {first}"
        ),
    ),
    (
        "evidence-without-file",
        select(evidence.c.id, evidence.c.kind, evidence.c.project, evidence.c.version, evidence.c.sha256)
        .join_from(evidence, distributions, evidence.c.sha256 == _file.sha256, isouter=True)
        .where(
            evidence.c.sha256.is_not(None),
            _file.id.is_(None),
            exists().where(projects.c.name == evidence.c.project),  # else a mirror has the file
            not_(exists().where(retired_filenames.c.sha256 == evidence.c.sha256)),  # it was deleted
        ),
        lambda number, kind, project, version, sha256: (
            f"evidence {number} ({kind}) of {project} {version} is about a file that is not here: {sha256}"
        ),
    ),
    (
        "wrong-digest",
        select(_file.filename, *_digests).where(or_(*(_is_no_digest(column) for column in _digests))),
        lambda filename, *digests: f"{filename} has a malformed digest: {', '.join(map(str, digests))}",
    ),
)
"""(kind, statement that finds wrong rows, sentence about one of them)."""
