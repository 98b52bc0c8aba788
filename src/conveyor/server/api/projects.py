"""Projects as a whole, by name alone: status (PEP 792) and size; show them, set them.

A name may be mistyped: each answer says whether it is known.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.domain.indexes.projects import NewLimit, NewStatus, SizeOfProject, StatusOfProject
from conveyor.domain.words.names import project_name
from conveyor.operations.indexes.projects import (
    get_project_size,
    get_project_status,
    set_project_size_limit,
    set_project_status,
)
from conveyor.operations.releases.standing import is_project_known
from conveyor.server.api.endpoints import Answer, Endpoint

if TYPE_CHECKING:
    from conveyor.domain.indexes.projects import ProjectSize, ProjectStatus
    from conveyor.server.api.endpoints import Call


def get_status_of_project(call: Call) -> Answer:
    """The status of a project, own or mirrored, and the reason for it."""
    return _status_answer(call, get_project_status(call.store, call.identity, call.path["project"]))


def put_status_of_project(call: Call) -> Answer:
    """Archive, deprecate or quarantine a project, or set it active again."""
    asked, project = call.read(NewStatus, what="the status"), call.path["project"]
    return _status_answer(
        call, set_project_status(call.store, call.identity, project, asked.status, reason=asked.reason)
    )


def _status_answer(call: Call, status: ProjectStatus) -> Answer:
    project = call.path["project"]
    known = is_project_known(call.store, project)
    return Answer(StatusOfProject(project_name(project), status.name, status.reason, known))


def get_size_of_project(call: Call) -> Answer:
    """The total size of a project's files, and its own limit."""
    return _size_answer(call, get_project_size(call.store, call.identity, call.path["project"]))


def put_size_of_project(call: Call) -> Answer:
    """Give a project a limit of its own; null removes it."""
    asked, project = call.read(NewLimit, what="the limit"), call.path["project"]
    return _size_answer(call, set_project_size_limit(call.store, call.identity, project, asked.limit_bytes))


def _size_answer(call: Call, size: ProjectSize) -> Answer:
    project = call.path["project"]
    known = is_project_known(call.store, project)
    return Answer(SizeOfProject(project=project_name(project), **asdict(size), is_known=known))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/projects/{project}/status",
        get_status_of_project,
        right="read",
        answers={200: StatusOfProject},
    ),
    Endpoint(
        "PUT",
        "/projects/{project}/status",
        put_status_of_project,
        right="admin",
        body=NewStatus,
        answers={200: StatusOfProject},
    ),
    Endpoint(
        "GET", "/projects/{project}/size", get_size_of_project, right="admin", answers={200: SizeOfProject}
    ),
    Endpoint(
        "PUT",
        "/projects/{project}/size",
        put_size_of_project,
        right="admin",
        body=NewLimit,
        answers={200: SizeOfProject},
    ),
)
