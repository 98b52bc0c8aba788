"""Repositories that runs may be asked for: register, list and remove them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.operations.runs.repositories import add_repository, list_repositories, remove_repository
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import FLAG, MOMENT, PROJECT, TEXT, given, listed, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_repositories(call: Call) -> Answer:
    """Every repository that runs may be asked for, by project."""
    found = list_repositories(call.store, call.identity)
    return Answer({"repositories": [asdict(repository) for repository in found]})


def post_repository(call: Call) -> Answer:
    """Let runs of a repository be asked for, and release this project."""
    fields = call.fields("the repository")
    project, url = fields.text("project", max_length=300), fields.text("url")
    is_local = fields.flag("is_local", default=False)
    fields.finish(is_closed=True)
    return Answer(asdict(add_repository(call.store, call.identity, project, url, is_local=is_local)), 201)


def post_repository_removal(call: Call) -> Answer:
    """Let no further run of a repository release this project."""
    fields = call.fields("the repository")
    project, url = fields.text("project", max_length=300), fields.text("url")
    fields.finish(is_closed=True)
    remove_repository(call.store, call.identity, project, url)
    return Answer(None, 204)


_REPOSITORY = record(
    {"project": TEXT, "url": TEXT, "is_local": FLAG, "registered_by": TEXT, "registered_at": MOMENT}
)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/repositories",
        get_repositories,
        right="admin",
        answers={200: record({"repositories": listed(_REPOSITORY)})},
    ),
    Endpoint(
        "POST",
        "/repositories",
        post_repository,
        right="admin",
        body=record({"project": PROJECT, "url": given()}, {"is_local": FLAG}),
        answers={201: _REPOSITORY},
    ),
    Endpoint(
        "POST",
        "/repositories/removals",
        post_repository_removal,
        right="admin",
        body=record({"project": PROJECT, "url": given()}),
        answers={204: None},
    ),
)
