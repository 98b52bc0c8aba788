"""Projects as a whole, by name alone: status (PEP 792) and size; show them, set them.

A name may be mistyped: each answer says whether it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from conveyor.domain.indexes.projects import STATUS_NAMES, StatusName
from conveyor.domain.words.names import project_name
from conveyor.domain.words.notation import LONGEST_REASON
from conveyor.operations.indexes.projects import (
    get_project_size,
    get_project_status,
    set_project_size_limit,
    set_project_status,
)
from conveyor.operations.releases.standing import is_project_known
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, FLAG, TEXT, given, nullable, one_of, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.domain.indexes.projects import ProjectSize, ProjectStatus
    from conveyor.operations.store.store import Store
    from conveyor.server.api.endpoints import Call
    from conveyor.server.api.schemas import Schema


def answer_of_project(store: Store, project: str, told: Mapping[str, object]) -> Answer:
    """The project, what is told of it, and whether it is known here; raises InvalidName."""
    name, is_known = project_name(project), is_project_known(store, project)
    return Answer({"project": name, **told, "is_known": is_known})


def record_of_project(told: dict[str, Schema]) -> Schema:
    """The schema of such an answer."""
    return record({"project": TEXT, **told, "is_known": FLAG})


def get_status_of_project(call: Call) -> Answer:
    """The status of a project, own or mirrored, and the reason for it."""
    project = call.path["project"]
    return _status_answer(call.store, project, get_project_status(call.store, call.identity, project))


def put_status_of_project(call: Call) -> Answer:
    """Archive, deprecate or quarantine a project, or set it active again."""
    fields = call.fields("the status")
    status = cast("StatusName", fields.choice("status", STATUS_NAMES))
    reason = fields.optional_text("reason", max_length=LONGEST_REASON)
    fields.finish(is_closed=True)
    project = call.path["project"]
    shown = set_project_status(call.store, call.identity, project, status, reason=reason)
    return _status_answer(call.store, project, shown)


def _status_answer(store: Store, project: str, status: ProjectStatus) -> Answer:
    return answer_of_project(store, project, {"status": status.name, "reason": status.reason})


_STATUS = record_of_project({"status": one_of(*STATUS_NAMES), "reason": nullable(TEXT)})


def get_size_of_project(call: Call) -> Answer:
    """The bytes of all files of a project, and the limit that it has of its own."""
    project = call.path["project"]
    return _size_answer(call.store, project, get_project_size(call.store, call.identity, project))


def put_size_of_project(call: Call) -> Answer:
    """Give a project a limit of its own, or with null none."""
    fields = call.fields("the limit")
    is_none = fields.has("limit_bytes") and fields.anything("limit_bytes") is None
    limit_bytes = None if is_none else fields.count("limit_bytes")
    fields.finish(is_closed=True)
    project = call.path["project"]
    size = set_project_size_limit(call.store, call.identity, project, limit_bytes)
    return _size_answer(call.store, project, size)


def _size_answer(store: Store, project: str, size: ProjectSize) -> Answer:
    told = {"stored_bytes": size.stored_bytes, "limit_bytes": size.limit_bytes}
    return answer_of_project(store, project, told)


_SIZE = record_of_project({"stored_bytes": COUNT, "limit_bytes": nullable(COUNT)})


ENDPOINTS = (
    Endpoint(
        "GET", "/projects/{project}/status", get_status_of_project, right="read", answers={200: _STATUS}
    ),
    Endpoint(
        "PUT",
        "/projects/{project}/status",
        put_status_of_project,
        right="admin",
        body=record({"status": one_of(*STATUS_NAMES)}, {"reason": nullable(given(LONGEST_REASON))}),
        answers={200: _STATUS},
    ),
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
