"""Sizes of projects: show one, limit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.operations.indexes.projects import get_project_size, set_project_size_limit
from conveyor.server.api.endpoints import Endpoint
from conveyor.server.api.of_project import answer_of_project, record_of_project
from conveyor.server.api.schemas import COUNT, nullable, record

if TYPE_CHECKING:
    from conveyor.domain.indexes.projects import ProjectSize
    from conveyor.operations.store.store import Store
    from conveyor.server.api.endpoints import Answer, Call


def get_size_of_project(call: Call) -> Answer:
    """The bytes of all files of a project, and the limit that it has of its own."""
    project = call.path["project"]
    return _answer(call.store, project, get_project_size(call.store, call.identity, project))


def put_size_of_project(call: Call) -> Answer:
    """Give a project a limit of its own, or with null none."""
    fields = call.fields("the limit")
    is_none = fields.has("limit_bytes") and fields.anything("limit_bytes") is None
    limit_bytes = None if is_none else fields.count("limit_bytes")
    fields.finish(is_closed=True)
    project = call.path["project"]
    size = set_project_size_limit(call.store, call.identity, project, limit_bytes)
    return _answer(call.store, project, size)


def _answer(store: Store, project: str, size: ProjectSize) -> Answer:
    told = {"stored_bytes": size.stored_bytes, "limit_bytes": size.limit_bytes}
    return answer_of_project(store, project, told)


_SIZE = record_of_project({"stored_bytes": COUNT, "limit_bytes": nullable(COUNT)})

ENDPOINTS = (
    Endpoint("GET", "/projects/{project}/size", get_size_of_project, right="admin", answers={200: _SIZE}),
    Endpoint(
        "PUT",
        "/projects/{project}/size",
        put_size_of_project,
        right="admin",
        body=record({"limit_bytes": nullable(COUNT)}),
        answers={200: _SIZE},
    ),
)
