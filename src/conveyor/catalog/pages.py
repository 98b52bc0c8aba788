"""Rows that pages and files are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from conveyor.catalog.tables import (
    claims,
    distributions,
    events,
    mirrored_projects,
    placements,
)
from conveyor.domain.indexes import Claim, covering_prefixes
from conveyor.domain.simple_api import PageFile

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from packaging.utils import NormalizedName
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A distribution of our own, in one index that holds it."""

    index: str
    project: str
    filename: str
    size_bytes: int
    metadata_sha256: str


def own_page_files(
    connection: Connection, project: NormalizedName, index_names: Sequence[str]
) -> list[PageFile]:
    """The project's own distributions in any of the indexes, oldest first.

    Metadata is advertised for wheels: what an sdist says of its dependencies may change when it is built.
    """
    files, held = distributions.c, placements.c
    rows = connection.execute(
        select(
            files.filename,
            held.index_name,
            files.sha256,
            files.version,
            files.size_bytes,
            files.uploaded_at,
            files.requires_python,
            held.is_yanked,
            held.yank_reason,
            files.packagetype,
            files.metadata_sha256,
        )
        .join_from(placements, distributions, held.distribution_id == files.id)
        .where(held.project == project, held.index_name.in_(index_names))
        .order_by(files.id)
    )
    return [
        PageFile(
            filename=filename,
            index=index,
            sha256=sha256,
            version=version,
            size_bytes=size_bytes,
            upload_time=uploaded_at,
            requires_python=requires_python,
            is_yanked=is_yanked,
            yank_reason=yank_reason,
            has_metadata=packagetype == "bdist_wheel",
            metadata_sha256=metadata_sha256 if packagetype == "bdist_wheel" else None,
        )
        for (
            filename,
            index,
            sha256,
            version,
            size_bytes,
            uploaded_at,
            requires_python,
            is_yanked,
            yank_reason,
            packagetype,
            metadata_sha256,
        ) in rows
    ]


def claims_on(connection: Connection, project: NormalizedName) -> list[Claim]:
    """The claims that cover a project's name: its own, and those of prefixes."""
    rows = connection.execute(
        select(claims.c.name, claims.c.is_prefix).where(
            or_(
                and_(claims.c.name == project, ~claims.c.is_prefix),
                and_(claims.c.name.in_(covering_prefixes(project)), claims.c.is_prefix),
            )
        )
    )
    return [Claim(name=name, is_prefix=is_prefix) for name, is_prefix in rows]


def last_change(connection: Connection, project: NormalizedName, *, without: Collection[str]) -> int:
    """Serial of the newest change of a project, some actions left out; 0 when there was none."""
    newest = select(func.max(events.c.serial)).where(
        events.c.project == project, events.c.action.not_in(sorted(without))
    )
    return connection.scalar(newest) or 0


def project_names(connection: Connection, index_names: Sequence[str]) -> list[str]:
    """The projects with files in any of the indexes, sorted; of mirrors, those that were asked for."""
    own = select(placements.c.project).where(placements.c.index_name.in_(index_names))
    mirrored = select(mirrored_projects.c.project).where(
        mirrored_projects.c.index_name.in_(index_names), mirrored_projects.c.is_present
    )
    rows = connection.execute(own.union(mirrored))
    return sorted(name for (name,) in rows)


def actions_since(connection: Connection, serial: int) -> list[tuple[int, str, str | None]]:
    """(serial, action, project) of every event after ``serial``, oldest first."""
    rows = connection.execute(
        select(events.c.serial, events.c.action, events.c.project)
        .where(events.c.serial > serial)
        .order_by(events.c.serial)
    )
    return [(row.serial, row.action, row.project) for row in rows]


def held_files(connection: Connection, sha256: str, filename: str) -> list[HeldFile]:
    """Where a distribution of our own is: one row per index that holds it."""
    files, held = distributions.c, placements.c
    rows = connection.execute(
        select(held.index_name, held.project, files.filename, files.size_bytes, files.metadata_sha256)
        .join_from(placements, distributions, held.distribution_id == files.id)
        .where(files.sha256 == sha256, files.filename == filename)
    )
    return [HeldFile(*row) for row in rows]
