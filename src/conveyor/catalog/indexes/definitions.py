"""Rows of indexes with their ordered bases, of claims, and of the state that an upload into an index meets.

Claims are names, and prefixes of names, that belong to this store. A claim is never deleted with its project.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Integer,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy import cast as cast_as

from conveyor.catalog.database.statements import (
    Statement,
    columns_of,
    insert_missing,
    is_among,
    numbered,
    record_of,
    values_of,
)
from conveyor.catalog.database.tables import (
    claims,
    distributions,
    events,
    index_bases,
    indexes,
    mirrored_projects,
    placements,
    projects,
    releases,
    retired_filenames,
    serial,
)
from conveyor.domain.indexes.definitions import (
    Claim,
    Index,
    IndexesNow,
    MadeClaim,
    covering_prefixes,
)
from conveyor.domain.indexes.projects import ProjectSize, ProjectStatus, status_from
from conveyor.domain.words.names import LOOKALIKES, MOST_RELEASE_NUMBERS, skeleton

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import BindParameter, ColumnElement, Connection, Select

    from conveyor.domain.words.names import NormalizedName


def insert_index(connection: Connection, index: Index, *, created_at: str) -> None:
    """Write a new index and its bases; the bases must exist."""
    connection.execute(
        insert(indexes).values({**values_of(index, without=("bases",)), "created_at": created_at})
    )
    for position, base in enumerate(index.bases):
        connection.execute(
            insert(index_bases).values(index_name=index.name, position=position, base_name=base)
        )


def update_settings(connection: Connection, index: Index) -> None:
    """Write what can be changed of an index that exists."""
    values = {name: value for name, value in values_of(index).items() if name in ("pythons", "isolation")}
    connection.execute(update(indexes).where(indexes.c.name == index.name).values(values))


_ALL_COLUMNS = (
    select(*columns_of(Index, indexes, without=("bases",)), index_bases.c.base_name)
    .join_from(indexes, index_bases, indexes.c.name == index_bases.c.index_name, isouter=True)
    .order_by(indexes.c.name, index_bases.c.position)
)
_ALL = Statement(_ALL_COLUMNS)


def all_indexes(connection: Connection) -> dict[str, Index]:
    """Every index, keyed and ordered by name."""
    return {index.name: index for index in _indexes_from(tuple(_ALL.all(connection)))}


_ALL_SINCE = Statement(
    _ALL_COLUMNS.add_columns(
        select(serial.c.newest).scalar_subquery(),
        exists().where(events.c.serial > bindparam("serial"), events.c.project.is_(None)),
    )
)


def indexes_now(connection: Connection, *, since: int) -> IndexesNow:
    """Every index, and whether anything besides projects has changed since a serial; one statement."""
    rows = _ALL_SINCE.all(connection, {"serial": since})
    found = _indexes_from(tuple(row[:-2] for row in rows))
    *_, newest, is_touched = rows[0]
    return IndexesNow(newest, {index.name: index for index in found}, bool(is_touched))


@lru_cache(maxsize=4)
def _indexes_from(rows: tuple[tuple[Any, ...], ...]) -> tuple[Index, ...]:
    """Cached for equal rows: indexes hardly ever change, and every upload needs them."""
    return tuple(
        record_of(Index, own, bases=tuple(base for *_, base in group if base is not None))
        for own, group in groupby(rows, key=lambda row: row[:-1])
    )


def _looks_like(name: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a name differs from the given one but has the same skeleton (``domain.words.names``)."""
    reduced = name
    for sign, other in LOOKALIKES:
        reduced = func.replace(reduced, sign, other)
    return (name != bindparam("name")) & (reduced == bindparam("skeleton"))


_FIND = select(claims).where(claims.c.name == bindparam("name"), claims.c.is_prefix == bindparam("is_prefix"))
_LOOKALIKES = Statement(
    union_all(
        select(claims.c.name).where(~claims.c.is_prefix, _looks_like(claims.c.name)),
        select(mirrored_projects.c.project).where(
            mirrored_projects.c.is_present, _looks_like(mirrored_projects.c.project)
        ),
    ).limit(1)
)


def insert_claim(connection: Connection, claim: MadeClaim) -> bool:
    """Write a claim unless it exists; returns whether it is new."""
    return insert_missing(connection, claims, asdict(claim)) is not None


def find_claim(connection: Connection, name: str, *, is_prefix: bool) -> MadeClaim | None:
    """The claim on exactly this name or prefix; ``None`` if there is no such claim."""
    row = connection.execute(_FIND, {"name": name, "is_prefix": is_prefix}).first()
    return None if row is None else MadeClaim(**row._mapping)


def has_lookalike(connection: Connection, name: NormalizedName) -> bool:
    """Whether another name looks like this one: one that is claimed, or that a mirror has from upstream.

    Reads all names; only claims of new names wait for that.
    """
    return _LOOKALIKES.first(connection, {"name": name, "skeleton": skeleton(name)}) is not None


def list_claims(connection: Connection) -> list[MadeClaim]:
    """Every claim, by name."""
    rows = connection.execute(select(claims).order_by(claims.c.name, claims.c.is_prefix))
    return [MadeClaim(**row._mapping) for row in rows]


def claims_on(connection: Connection, project: NormalizedName) -> list[Claim]:
    """The claims that cover a project's name: its own, and those of prefixes."""
    prefixes = covering_prefixes(project)
    values = {"project": project, **numbered("prefix", prefixes)}
    rows = _claims_on(len(prefixes)).all(connection, values)
    return [Claim(name=name, is_prefix=bool(is_prefix)) for name, is_prefix in rows]


@cache
def _claims_on(prefixes: int) -> Statement:
    return Statement(select(claims.c.name, claims.c.is_prefix).where(is_claim_on(prefixes)))


def is_claim_on(prefixes: int) -> ColumnElement[bool]:
    """The condition for claims that cover a name: parameters ``project``, ``prefix0`` …."""
    own = and_(claims.c.name == bindparam("project"), ~claims.c.is_prefix)
    covering = and_(is_among(claims.c.name, "prefix", prefixes), claims.c.is_prefix)
    # The names once more, all of them: so each database finds the rows by their key.
    names = or_(claims.c.name == bindparam("project"), is_among(claims.c.name, "prefix", prefixes))
    return and_(names, or_(own, covering))


@dataclass(frozen=True)
class UploadFacts:
    """The rows that decide about an upload, as of one moment."""

    claims: tuple[Claim, ...]
    """Claims that cover the project's name."""
    has_project: bool
    status: ProjectStatus
    size: ProjectSize
    releases: Mapping[str, str | None]
    """Version → when it was closed, for the spellings that were passed in."""
    holders: Mapping[str, str]
    """Index → SHA-256 of the file of that name in it."""
    is_retired: bool
    """Whether a file of that name was deleted."""
    is_stored: bool
    """Whether a distribution has that name and these bytes, in whatever index."""


def upload_facts(
    connection: Connection, project: NormalizedName, *, filename: str, sha256: str, spellings: Sequence[str]
) -> UploadFacts:
    """Everything that decides about an upload, except the indexes; in one statement.

    ``spellings`` are those of its version. Raises ValueError if there are none, or more than
    ``MOST_VERSIONS``.
    """
    prefixes = covering_prefixes(project)
    values = {"project": project, "filename": filename, "sha256": sha256}
    values |= numbered("prefix", prefixes) | numbered("version", spellings, MOST_VERSIONS)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for kind, *columns in _upload_facts(len(prefixes)).all(connection, values):
        found.setdefault(kind, []).append(tuple(columns))
    (known,) = found.get("project", [(None, None, 0, None)])
    return UploadFacts(
        claims=tuple(Claim(name, is_prefix=bool(prefix)) for name, _, prefix, _ in found.get("claim", ())),
        has_project="project" in found,
        status=status_from(*known[:2]),
        size=ProjectSize(*known[2:]),
        releases={version: closed_at for version, closed_at, *_ in found.get("release", ())},
        holders={index: digest for index, digest, *_ in found.get("placement", ())},
        is_retired="retired" in found,
        is_stored="stored" in found,
    )


MOST_VERSIONS = MOST_RELEASE_NUMBERS + 1
"""The number of spellings of a version, plus one for a version with too many zeros to be among them."""


@cache
def _upload_facts(prefixes: int) -> Statement:
    """Rows of a kind and four columns: two of text, two of numbers."""
    project: BindParameter[str] = bindparam("project")
    filename: BindParameter[str] = bindparam("filename")
    is_same = (distributions.c.filename == filename) & (distributions.c.sha256 == bindparam("sha256"))
    return Statement(
        union_all(
            _facts(  # the first: its columns determine the types of the others' columns
                "project",
                projects.c.status,
                projects.c.status_reason,
                projects.c.stored_bytes,
                projects.c.size_limit_bytes,
            ).where(projects.c.name == project),
            _facts("claim", claims.c.name, null(), cast_as(claims.c.is_prefix, Integer), null()).where(
                is_claim_on(prefixes)
            ),
            _facts("release", releases.c.version, releases.c.closed_at, null(), null()).where(
                releases.c.project == project, is_among(releases.c.version, "version", MOST_VERSIONS)
            ),
            _facts("placement", placements.c.index_name, distributions.c.sha256, null(), null())
            .join_from(distributions, placements, placements.c.distribution_id == distributions.c.id)
            .where(distributions.c.filename == filename),
            _facts("retired", null(), null(), null(), null()).where(
                exists().where(retired_filenames.c.filename == filename)
            ),
            _facts("stored", null(), null(), null(), null()).where(exists().where(is_same)),
        )
    )


def _facts(kind: str, *columns: ColumnElement[Any]) -> Select[Any]:
    return select(literal_column(f"'{kind}'"), *columns)
