"""Rows of evidence: facts as they were signed and received.

A row is never changed, and is deleted only with a file that was never published (``open_files``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, select

from conveyor.catalog.database.judging_tables import evidence
from conveyor.catalog.database.statements import insert_missing
from conveyor.catalog.database.tables import distributions, publishers, signers, workers
from conveyor.domain.releases.evidence import Evidence, ToldByJob

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from conveyor.domain.releases.evidence import EvidenceKind


@dataclass(frozen=True)
class EvidenceSubject:
    """A distribution that evidence may be about."""

    filename: str
    project: str
    version: str


@dataclass(frozen=True)
class SignedEvidence:
    """A piece of evidence as it was signed."""

    kind: EvidenceKind
    sha256: str | None
    envelope: str
    """The DSSE envelope, or the tag object."""
    key_id: str
    received_at: str


def insert_evidence(
    connection: Connection,
    *,
    kind: str,
    project: str,
    version: str,
    sha256: str | None,
    commit_id: str | None,
    predicate: dict[str, Any],
    envelope: str,
    envelope_sha256: str,
    signed_by: str,
    key_id: str,
    received_at: str,
    received_from: str,
    made_at: str,
    publisher_id: int | None = None,
    job: Mapping[str, str] | None = None,
) -> int | None:
    """Write one piece of evidence and return its id; ``None`` if the same envelope is stored already."""
    written = insert_missing(
        connection,
        evidence,
        {
            "kind": kind,
            "project": project,
            "version": version,
            "sha256": sha256,
            "commit_id": commit_id,
            "predicate": json.dumps(predicate, sort_keys=True),
            "envelope": envelope,
            "envelope_sha256": envelope_sha256,
            "signed_by": signed_by,
            "key_id": key_id,
            "received_at": received_at,
            "received_from": received_from,
            "made_at": made_at,
            "publisher_id": publisher_id,
            "job": None if job is None else json.dumps(dict(job), sort_keys=True),
        },
    )
    return None if written is None else int(written[0])


def find_evidence(connection: Connection, *, project: str, version: str, envelope_sha256: str) -> int | None:
    """The id of evidence that came in the same envelope before; ``None`` if it is new."""
    found: int | None = connection.scalar(
        select(evidence.c.id).where(
            evidence.c.project == project,
            evidence.c.version == version,
            evidence.c.envelope_sha256 == envelope_sha256,
        )
    )
    return found


def count_of_jobs(connection: Connection, project: str, version: str) -> int:
    """How many statements of jobs of CI hosts there are on a release."""
    told = select(func.count()).where(
        evidence.c.project == project,
        evidence.c.version == version,
        evidence.c.publisher_id.is_not(None),
    )
    return int(connection.execute(told).scalar_one())


def signed_evidence_of_release(connection: Connection, project: str, version: str) -> list[SignedEvidence]:
    """All evidence on a release as it was signed, oldest first; what jobs of CI hosts told is none."""
    columns = ("kind", "sha256", "envelope", "key_id", "received_at")
    rows = connection.execute(
        select(*(evidence.c[name] for name in columns))
        .where(evidence.c.project == project, evidence.c.version == version)
        .where(evidence.c.publisher_id.is_(None))
        .order_by(evidence.c.id)
    )
    return [SignedEvidence(**row._mapping) for row in rows]


def evidence_of_release(connection: Connection, project: str, version: str) -> tuple[Evidence, ...]:
    """All evidence on a release, the earliest made first; of equal times, the earliest received.

    Whether a signer counts is decided by the *key* that signed: registering the name again with another key
    does not make the old key valid again.
    """
    rows = connection.execute(
        select(
            evidence,
            workers.c.revoked_at.label("worker_revoked_at"),
            workers.c.name.label("worker"),
            signers.c.revoked_at.label("signer_revoked_at"),
            signers.c.id.label("signer"),
            signers.c.projects.label("signer_projects"),
            signers.c.indexes.label("signer_indexes"),
            publishers.c.removed_at.label("publisher_removed_at"),
        )
        .outerjoin(publishers, publishers.c.id == evidence.c.publisher_id)
        .outerjoin(
            workers, (workers.c.key_id == evidence.c.key_id) & (workers.c.name == evidence.c.signed_by)
        )
        .outerjoin(
            signers,
            (signers.c.public_key == evidence.c.key_id) & (signers.c.principal == evidence.c.signed_by),
        )
        .where(evidence.c.project == project, evidence.c.version == version)
        .order_by(evidence.c.made_at, evidence.c.id)
    )
    return tuple(
        Evidence(
            kind=cast("EvidenceKind", row.kind),
            sha256=row.sha256,
            commit_id=row.commit_id,
            predicate=json.loads(row.predicate),
            signed_by=row.signed_by,
            received_at=row.received_at,
            made_at=row.made_at,
            signer_indexes=None if row.signer_indexes is None else tuple(json.loads(row.signer_indexes)),
            is_signer_valid=(
                row.signer is not None
                and row.signer_revoked_at is None
                and (row.signer_projects is None or project in json.loads(row.signer_projects))
                if row.kind == "qa-signature"
                else row.worker is not None and row.worker_revoked_at is None
            ),
            job=(
                None
                if row.publisher_id is None
                else ToldByJob(row.signed_by, row.publisher_removed_at is None, json.loads(row.job))
            ),
        )
        for row in rows
    )


def versions_built_from(connection: Connection, project: str, commit_id: str) -> list[str]:
    """The versions of a project with build evidence that names the commit, oldest evidence first."""
    rows = connection.execute(
        select(evidence.c.version, evidence.c.id)
        .where(evidence.c.project == project, evidence.c.commit_id == commit_id, evidence.c.kind == "build")
        .order_by(evidence.c.id)
    )
    return list(dict.fromkeys(row.version for row in rows))


def is_built_elsewhere(connection: Connection, project: str, commits: Collection[str]) -> bool:
    """Whether build evidence says of another project that it comes from one of the commits."""
    found = (
        select(evidence.c.id)
        .where(evidence.c.commit_id.in_(sorted(commits)), evidence.c.kind == "build")
        .where(evidence.c.project != project)
        .limit(1)
    )
    return connection.scalar(found) is not None


def subjects_of_digest(connection: Connection, sha256: str) -> list[EvidenceSubject]:
    """The distributions of this store with these bytes, by filename."""
    rows = connection.execute(
        select(distributions.c.filename, distributions.c.project, distributions.c.version)
        .where(distributions.c.sha256 == sha256)
        .order_by(distributions.c.filename)
    )
    return [EvidenceSubject(**row._mapping) for row in rows]
