"""Rows of the repositories that runs may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from conveyor.catalog.database.statements import columns_of, record_of, values_of
from conveyor.catalog.database.tables import repositories
from conveyor.domain.runs.repositories import Repository

if TYPE_CHECKING:
    from sqlalchemy import Connection


def insert_repository(connection: Connection, repository: Repository) -> None:
    """Write a registration that is not there yet."""
    connection.execute(insert(repositories).values(values_of(repository)))


def delete_repository(connection: Connection, project: str, url: str) -> bool:
    """Remove a registration; returns whether it existed."""
    removed = delete(repositories).where(repositories.c.project == project, repositories.c.url == url)
    return connection.execute(removed).rowcount > 0


def all_repositories(connection: Connection) -> list[Repository]:
    """Every registration, by project and URL."""
    asked = select(*columns_of(Repository, repositories))
    rows = connection.execute(asked.order_by(repositories.c.project, repositories.c.url))
    return [record_of(Repository, row) for row in rows]


def projects_of(connection: Connection, url: str) -> frozenset[str]:
    """The projects that a repository is registered for."""
    asked = select(repositories.c.project).where(repositories.c.url == url)
    return frozenset(connection.execute(asked).scalars())
