"""Repositories that runs may be asked for: register, list and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.runs.repositories import NewRepository, Repository, RepositoryRemoval
from conveyor.operations.runs.repositories import add_repository, list_repositories, remove_repository
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_repositories(call: Call) -> Answer:
    """Every repository that runs may be asked for, by project."""
    return Answer({"repositories": list_repositories(call.store, call.identity)})


def post_repository(call: Call) -> Answer:
    """Let runs of a repository be asked for and release this project."""
    asked = call.read(NewRepository, what="the repository")
    repository = add_repository(call.store, call.identity, asked.project, asked.url, is_local=asked.is_local)
    return Answer(repository, 201)


def post_repository_removal(call: Call) -> Answer:
    """Stop a repository's runs from releasing this project."""
    asked = call.read(RepositoryRemoval, what="the repository")
    remove_repository(call.store, call.identity, asked.project, asked.url)
    return Answer(None, 204)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/repositories",
        get_repositories,
        right="admin",
        answers={200: ListOf("repositories", Repository)},
    ),
    Endpoint(
        "POST",
        "/repositories",
        post_repository,
        right="admin",
        body=NewRepository,
        answers={201: Repository},
    ),
    Endpoint(
        "POST",
        "/repositories/removals",
        post_repository_removal,
        right="admin",
        body=RepositoryRemoval,
        answers={204: None},
    ),
)
