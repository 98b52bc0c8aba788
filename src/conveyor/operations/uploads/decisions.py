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

from conveyor.catalog.indexes.definitions import indexes_now, upload_facts
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
    from sqlalchemy import Connection

    from conveyor.catalog.indexes.definitions import UploadFacts
    from conveyor.domain.distributions.reading import Distribution
    from conveyor.domain.indexes.definitions import IndexesNow
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
    seen: IndexesNow | None = None
    """The indexes as they were a moment ago; ``None``: they have to be read."""


@dataclass(frozen=True)
class Decision:
    """It is allowed, as things stood at a serial."""

    serial: int
    facts: UploadFacts
    holder: str | None
    """The index that shows the identical file already; ``None``: the file is new here."""
    is_claimed: bool
    """Whether the project's own name is claimed; else this upload claims it."""
    has_release: bool
    """Whether the file's version is known; else this upload makes it a release."""


def decide_or_ask(connection: Connection, wanted: WantedUpload) -> Decision | None:
    """The decision; ``None``: upstream has to be asked for the project's name first.

    Raises:
        NotFound, Forbidden, Unauthorized, DistributionExists, Conflict, TooLarge: it is not allowed.
    """
    facts, now = _look(connection, wanted)
    if must_ask_upstream(wanted.identity, wanted.distribution.project, facts.claims):
        may_claim(wanted.identity, wanted.distribution.project)
        return None
    return _decide(connection, wanted, facts, now)


def decide(connection: Connection, wanted: WantedUpload) -> Decision:
    """The decision, when upstream has been asked or need not be; raises as ``decide_or_ask``."""
    return _decide(connection, wanted, *_look(connection, wanted))


def _look(connection: Connection, wanted: WantedUpload) -> tuple[UploadFacts, IndexesNow]:
    distribution = wanted.distribution
    project, version = distribution.project, distribution.version
    # Read before the facts: what changes in between is found by its serial, inside the transaction.
    now = wanted.seen or indexes_now(connection, since=0)
    may_upload(wanted.identity, wanted.index, project)
    accepting_index(wanted.index, now.indexes, wanted.identity)
    facts = upload_facts(
        connection,
        project,
        filename=distribution.filename,
        sha256=distribution.digests.sha256,
        spellings=sorted({version, *equal_spellings(parse_version(version))}),
    )
    return facts, now


def _decide(connection: Connection, wanted: WantedUpload, facts: UploadFacts, now: IndexesNow) -> Decision:
    distribution, indexes = wanted.distribution, now.indexes
    project, version = distribution.project, distribution.version
    if not is_claimed(project, facts.claims):
        check_new_name(connection, wanted.identity, project, upstream_has=wanted.upstream_has)
    chain = chain_of(wanted.index, indexes)
    state = FilenameState(
        holders={index: sha256 for index, sha256 in facts.holders.items() if index in chain},
        shown=frozenset(resolution_order(wanted.index, indexes)),
        readable=readable_indexes(indexes, wanted.identity, project=project),
        is_retired=facts.is_retired,
        closed_at=facts.releases.get(version),
        other_spelling=min((other for other in facts.releases if other != version), default=None),
    )
    holder = decide_filename(
        state,
        index=wanted.index,
        filename=distribution.filename,
        project=project,
        version=version,
        sha256=distribution.digests.sha256,
    )
    if holder is None:
        must_accept_uploads(project, facts.status)
        check_project_size(
            distribution.size_bytes, facts.size, name=project, store_limit_bytes=wanted.limits.project_bytes
        )
    has_own_claim = any(not claim.is_prefix for claim in facts.claims)
    return Decision(
        now.serial, facts, holder, is_claimed=has_own_claim, has_release=version in facts.releases
    )
