"""Decisions on uploads: reads what policy asks for, and holds the upload against every rule of it.

A decision is made on a snapshot of the catalogue, before anything is written, and is asked for again inside
the transaction that writes. It holds as long as no change was about the same project, or about none in
particular (an index that was made, a prefix that was claimed): every change is an event (rule 8 of the
design), so one look at the newest events tells. Only who claims a name decides anew in any case: what makes
names look alike are the names of other projects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.catalog.database.events import is_touched_since
from conveyor.catalog.database.serials import newest_serial
from conveyor.catalog.indexes.definitions import all_indexes, claims_on
from conveyor.catalog.releases.distributions import is_retired, placements_of_filename
from conveyor.catalog.releases.projects import project_size, releases_among, status_of
from conveyor.domain.indexes.definitions import is_claimed, resolution_order
from conveyor.domain.indexes.policy import (
    FilenameState,
    accepting_index,
    chain_of,
    decide_filename,
    must_ask_upstream,
    readable_indexes,
)
from conveyor.domain.indexes.projects import check_project_size, must_accept_uploads
from conveyor.domain.people.access import may_claim, may_upload
from conveyor.domain.words.names import equal_spellings, parse_version
from conveyor.operations.indexes.claims import check_new_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from conveyor.domain.distributions.reading import Distribution
    from conveyor.domain.indexes.definitions import Claim, Index
    from conveyor.domain.indexes.policy import UploadLimits
    from conveyor.domain.people.access import Identity


@dataclass(frozen=True)
class WantedUpload:
    """Somebody wants a distribution in an index."""

    index: str
    distribution: Distribution
    identity: Identity
    limits: UploadLimits
    upstream_has: bool | None
    """Whether upstream has a project of that name; ``None``: it was not asked."""


@dataclass(frozen=True)
class Decision:
    """It is allowed, as things stood at a serial."""

    serial: int
    holder: str | None
    """The index that shows the identical file already; ``None``: the file is new here."""
    is_claimed: bool
    """Whether the project's own name is claimed; else this upload claims it."""


@dataclass(frozen=True)
class _Known:
    """What is known without looking at the file's name: read before upstream may have to be asked."""

    serial: int
    indexes: Mapping[str, Index]
    claims: Sequence[Claim]
    """Those that cover the project's name."""


def decide_or_ask(connection: Connection, wanted: WantedUpload) -> Decision | None:
    """The decision; ``None``: upstream has to be asked for the project's name first.

    Raises:
        NotFound, Forbidden, Unauthorized, DistributionExists, Conflict, TooLarge: it is not allowed.
    """
    known = _look(connection, wanted)
    if must_ask_upstream(wanted.identity, wanted.distribution.project, known.claims):
        may_claim(wanted.identity, wanted.distribution.project)
        return None
    return _decide(connection, wanted, known)


def decide(connection: Connection, wanted: WantedUpload) -> Decision:
    """The decision, when upstream has been asked or need not be; raises as ``decide_or_ask``."""
    return _decide(connection, wanted, _look(connection, wanted))


def decide_again(connection: Connection, wanted: WantedUpload, before: Decision) -> Decision:
    """As things stand now: a new decision only when the one made before may not hold any more."""
    project = wanted.distribution.project
    if before.is_claimed and not is_touched_since(connection, project, before.serial):
        return before
    return decide(connection, wanted)


def _look(connection: Connection, wanted: WantedUpload) -> _Known:
    project = wanted.distribution.project
    known = _Known(newest_serial(connection), all_indexes(connection), claims_on(connection, project))
    accepting_index(wanted.index, known.indexes, wanted.identity)
    may_upload(wanted.identity, wanted.index, project)
    return known


def _decide(connection: Connection, wanted: WantedUpload, known: _Known) -> Decision:
    distribution, indexes = wanted.distribution, known.indexes
    project, filename = distribution.project, distribution.filename
    if not is_claimed(project, known.claims):
        check_new_name(connection, wanted.identity, project, upstream_has=wanted.upstream_has)
    spellings = sorted({distribution.version, *equal_spellings(parse_version(distribution.version))})
    releases = {row.version: row for row in releases_among(connection, project, spellings)}
    release = releases.pop(distribution.version, None)
    state = FilenameState(
        holders=placements_of_filename(
            connection, project, filename, indexes=chain_of(wanted.index, indexes)
        ),
        shown=frozenset(resolution_order(wanted.index, indexes)),
        readable=readable_indexes(indexes, wanted.identity),
        is_retired=is_retired(connection, filename),
        closed_at=release.closed_at if release else None,
        other_spelling=next(iter(releases), None),
    )
    holder = decide_filename(
        state,
        index=wanted.index,
        filename=filename,
        project=project,
        version=distribution.version,
        sha256=distribution.digests.sha256,
    )
    if holder is None:
        must_accept_uploads(project, status_of(connection, project))
        check_project_size(
            distribution.size_bytes,
            project_size(connection, project),
            name=project,
            store_limit_bytes=wanted.limits.project_bytes,
        )
    has_own_claim = any(not claim.is_prefix for claim in known.claims)
    return Decision(known.serial, holder, is_claimed=has_own_claim)
