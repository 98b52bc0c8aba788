"""Decisions on uploads: reads the facts that policy needs, and checks the upload against every rule of it.

A decision is made on a snapshot of the catalogue, before anything is written, and is confirmed inside the
transaction that writes. It holds as long as no change concerned the same project, or all of them (an index
was made, a prefix was claimed): every change is an event (rule 8 of the design), so a look at the newest
events is enough. Only an upload that claims a name is always decided again, because a name may resemble those
of other projects.
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
    from conveyor.domain.indexes.definitions import IndexesNow
    from conveyor.domain.indexes.policy import UploadLimits
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName


@dataclass(frozen=True)
class WantedFile:
    """A file as far as policy looks at it."""

    filename: str
    project: NormalizedName
    version: str
    """Canonical."""
    sha256: str
    size_bytes: int
    """What it adds to the size of its project."""

    @classmethod
    def not_made_yet(cls, project: NormalizedName, version: str) -> WantedFile:
        """Some file of a release, before there is one: without a name, so that only its release counts."""
        return cls("", project, version, "", 0)


@dataclass(frozen=True)
class WantedUpload:
    """A request to put a file into an index."""

    index: str
    file: WantedFile
    identity: Identity
    limits: UploadLimits
    upstream_has: bool | None
    """Whether upstream has a project of that name; ``None`` if it was not asked."""
    seen: IndexesNow | None = None
    """The indexes as they were a moment ago; ``None`` if they must be read."""


@dataclass(frozen=True)
class Decision:
    """Permission for an upload, as of a serial."""

    serial: int
    facts: UploadFacts
    holder: str | None
    """The index that already shows the identical file; ``None`` if the file is new here."""
    is_claimed: bool
    """Whether the project's own name is claimed; if not, this upload claims it."""
    has_release: bool
    """Whether the file's version is known; if not, this upload makes it a release."""


def decide_or_ask(connection: Connection, wanted: WantedUpload) -> Decision | None:
    """The decision, or ``None`` if upstream must be asked for the project's name first.

    Raises:
        NotFound, Forbidden, Unauthorized, DistributionExists, Conflict, TooLarge: the upload is not allowed.
    """
    facts, now = _look(connection, wanted)
    if must_ask_upstream(wanted.identity, wanted.file.project, facts.claims):
        may_claim(wanted.identity, wanted.file.project)
        return None
    return _decide(connection, wanted, facts, now)


def decide(connection: Connection, wanted: WantedUpload) -> Decision:
    """The decision, once upstream has been asked or need not be; raises as ``decide_or_ask``."""
    return _decide(connection, wanted, *_look(connection, wanted))


def _look(connection: Connection, wanted: WantedUpload) -> tuple[UploadFacts, IndexesNow]:
    file = wanted.file
    project, version = file.project, file.version
    # Read before the facts: a change in between is found by its serial, inside the transaction.
    now = wanted.seen or indexes_now(connection, since=0)
    may_upload(wanted.identity, wanted.index, project)
    accepting_index(wanted.index, now.indexes, wanted.identity)
    facts = upload_facts(
        connection,
        project,
        filename=file.filename,
        sha256=file.sha256,
        spellings=sorted({version, *equal_spellings(parse_version(version))}),
    )
    return facts, now


def _decide(connection: Connection, wanted: WantedUpload, facts: UploadFacts, now: IndexesNow) -> Decision:
    file, indexes = wanted.file, now.indexes
    project, version = file.project, file.version
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
        filename=file.filename,
        project=project,
        version=version,
        sha256=file.sha256,
    )
    if holder is None:
        must_accept_uploads(project, facts.status)
        check_project_size(
            file.size_bytes, facts.size, name=project, store_limit_bytes=wanted.limits.project_bytes
        )
    has_own_claim = any(not claim.is_prefix for claim in facts.claims)
    return Decision(
        now.serial, facts, holder, is_claimed=has_own_claim, has_release=version in facts.releases
    )
