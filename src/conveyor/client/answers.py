"""What a store answers, as values.

A field that is missing or of another kind raises ``KeyError``, ``TypeError`` or ``ValueError`` here;
``connection.ask`` turns these into ``StoreUnreachable``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from conveyor.domain.indexes.definitions import Index
from conveyor.domain.indexes.projects import STATUS_NAMES, ProjectSize, ProjectStatus
from conveyor.domain.indexes.withdrawals import DeletedFile, Deletion, Yank, YankedFile
from conveyor.domain.releases.evidence import Evidence
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.releases.promotions import Judgement, Promotion
from conveyor.domain.runs.states import Run, Step

Json = dict[str, Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class ReleaseFile:
    """One distribution of a release."""

    filename: str
    packagetype: str
    """``bdist_wheel`` or ``sdist``."""
    sha256: str
    size_bytes: int
    url: str
    """Path on the store."""
    uploaded_at: str
    uploaded_by: str
    requires_python: str | None


@dataclass(frozen=True)
class Release:
    """A release: where it is, its files, the evidence on it (oldest first)."""

    project: str
    version: str
    index: str
    """Where it is; of several indexes, the one that the others lead to."""
    indexes: tuple[str, ...]
    is_closed: bool
    files: tuple[ReleaseFile, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class OfProject(Generic[Value]):
    """What a store says of a project that it may not have: such values can be set before the first file."""

    value: Value
    is_known: bool
    """Whether the project is here, from upstream, or at least claimed; else its name may be mistyped."""


def read_release(value: Json) -> Release:
    """A release."""
    project, version = str(value["project"]), str(value["version"])
    return Release(
        project=project,
        version=version,
        index=str(value["index"]),
        indexes=tuple(value["indexes"]),
        is_closed=bool(value["is_closed"]),
        files=tuple(_file(one) for one in value["files"]),
        evidence=tuple(_evidence(one, project, version) for one in value["evidence"]),
    )


def read_releases(value: Json) -> tuple[Release, ...]:
    """A list of releases."""
    return tuple(read_release(one) for one in value["releases"])


def read_promotion(value: Json) -> Promotion:
    """A promotion that was made."""
    return Promotion(
        project=str(value["project"]),
        version=str(value["version"]),
        source=value["from"],
        target=str(value["to"]),
        files=tuple(value["files"]),
        verdicts=read_verdicts(value),
    )


def read_yank(value: Json) -> Yank:
    """What is true of files after a yank, or after one was taken back."""
    return Yank(
        project=str(value["project"]),
        version=str(value["version"]),
        is_yanked=bool(value["is_yanked"]),
        reason=value["reason"],
        files=tuple(YankedFile(str(one["index"]), str(one["filename"])) for one in value["files"]),
    )


def read_deletion(value: Json) -> Deletion:
    """What was deleted."""
    files = (
        DeletedFile(str(one["filename"]), str(one["version"]), str(one["sha256"]), int(one["size"]))
        for one in value["files"]
    )
    return Deletion(project=str(value["project"]), files=tuple(files))


def read_project_status(value: Json) -> OfProject[ProjectStatus]:
    """The status of a project."""
    if value["status"] not in STATUS_NAMES:
        raise ValueError(f"{value['status']!r} is not a status of a project")
    return OfProject(ProjectStatus(value["status"], value["reason"]), bool(value["is_known"]))


def read_project_size(value: Json) -> OfProject[ProjectSize]:
    """How large a project is, and may become."""
    limit = value["limit_bytes"]
    size = ProjectSize(int(value["stored_bytes"]), None if limit is None else int(limit))
    return OfProject(size, bool(value["is_known"]))


def read_judgement(value: Json) -> Judgement:
    """What the gates say of a release."""
    return Judgement(str(value["project"]), str(value["version"]), str(value["to"]), read_verdicts(value))


def read_verdicts(value: Json) -> tuple[Verdict, ...]:
    """The verdicts in an answer or a problem."""
    return tuple(
        Verdict(
            gate=str(one["gate"]),
            outcome=one["outcome"],
            reason=str(one["reason"]),
            next_step=one.get("next_step"),
        )
        for one in value["verdicts"]
    )


def read_run(value: Json) -> Run:
    """A pipeline run with its steps."""
    steps = tuple(
        Step(
            name=str(one["name"]),
            state=one["state"],
            started_at=str(one["started_at"]),
            finished_at=one["finished_at"],
            detail=dict(one["detail"]),
        )
        for one in value["steps"]
    )
    return Run(
        id=int(value["id"]),
        repository=str(value["repository"]),
        ref=str(value["ref"]),
        index=str(value["index"]),
        commit=value["commit"],
        project=value["project"],
        version=value["version"],
        state=value["state"],
        worker=value["worker"],
        requested_by=str(value["requested_by"]),
        requested_at=str(value["requested_at"]),
        claimed_at=value["claimed_at"],
        finished_at=value["finished_at"],
        detail=value["detail"],
        steps=steps,
    )


def read_runs(value: Json) -> tuple[Run, ...]:
    """A list of runs."""
    return tuple(read_run(one) for one in value["runs"])


def read_indexes(value: Json) -> tuple[Index, ...]:
    """A list of indexes."""
    return tuple(
        Index(
            name=str(one["name"]),
            kind=one["kind"],
            mode=one["mode"],
            bases=tuple(one["bases"]),
            gates=tuple(one["gates"]),
            is_private=bool(one["is_private"]),
        )
        for one in value["indexes"]
    )


def read_way(value: Json) -> tuple[str, ...]:
    """The indexes on the way of a run."""
    return tuple(str(name) for name in value["indexes"])


def _file(value: Json) -> ReleaseFile:
    return ReleaseFile(
        filename=str(value["filename"]),
        packagetype=str(value["packagetype"]),
        sha256=str(value["sha256"]),
        size_bytes=int(value["size"]),
        url=str(value["url"]),
        uploaded_at=str(value["uploaded_at"]),
        uploaded_by=str(value["uploaded_by"]),
        requires_python=value["requires_python"],
    )


def _evidence(value: Json, project: str, version: str) -> Evidence:
    return Evidence(
        kind=value["kind"],
        project=project,
        version=version,
        sha256=value["sha256"],
        commit_id=value["commit"],
        predicate=dict(value["predicate"]),
        signed_by=str(value["signed_by"]),
        received_at=str(value["received_at"]),
        is_signer_valid=bool(value["is_signer_valid"]),
    )
