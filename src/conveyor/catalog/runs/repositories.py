"""Rows of the repositories that runs may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from conveyor.catalog.database.tables import repositories
from conveyor.domain.runs.repositories import Repository

if TYPE_CHECKING:
    from sqlalchemy import Connection


def insert_repository(connection: Connection, repository: Repository) -> None:
    """Write a registration that is not there yet."""
    connection.execute(
        insert(repositories).values(
            project=repository.project,
            url=repository.url,
            is_local=repository.is_local,
            registered_by=repository.registered_by,
            registered_at=repository.registered_at,
        )
    )


def delete_repository(connection: Connection, project: str, url: str) -> bool:
    """Remove a registration; whether it was there."""
    removed = delete(repositories).where(repositories.c.project == project, repositories.c.url == url)
    return connection.execute(removed).rowcount > 0


def all_repositories(connection: Connection) -> list[Repository]:
    """Every registration, by project and URL."""
    rows = connection.execute(select(repositories).order_by(repositories.c.project, repositories.c.url))
    return [
        Repository(row.project, row.url, bool(row.is_local), row.registered_by, row.registered_at)
        for row in rows
    ]


def projects_of(connection: Connection, url: str) -> frozenset[str]:
    """The projects that a repository is registered for."""
    asked = select(repositories.c.project).where(repositories.c.url == url)
    return frozenset(connection.execute(asked).scalars())
