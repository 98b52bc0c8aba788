"""Project status (PEP 792): show it, set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from conveyor.domain.indexes.projects import STATUS_NAMES, StatusName
from conveyor.domain.words.notation import LONGEST_REASON
from conveyor.operations.indexes.projects import get_project_status, set_project_status
from conveyor.server.api.endpoints import Endpoint
from conveyor.server.api.of_project import answer_of_project, record_of_project
from conveyor.server.api.schemas import TEXT, given, nullable, one_of, record

if TYPE_CHECKING:
    from conveyor.domain.indexes.projects import ProjectStatus
    from conveyor.operations.store.store import Store
    from conveyor.server.api.endpoints import Answer, Call


def get_status_of_project(call: Call) -> Answer:
    """The status of a project, own or mirrored, and the reason for it."""
    project = call.path["project"]
    return _answer(call.store, project, get_project_status(call.store, call.identity, project))


def put_status_of_project(call: Call) -> Answer:
    """Archive, deprecate or quarantine a project, or set it active again."""
    fields = call.fields("the status")
    status = cast("StatusName", fields.choice("status", STATUS_NAMES))
    reason = fields.optional_text("reason", max_length=LONGEST_REASON)
    fields.finish(is_closed=True)
    project = call.path["project"]
    shown = set_project_status(call.store, call.identity, project, status, reason=reason)
    return _answer(call.store, project, shown)


def _answer(store: Store, project: str, status: ProjectStatus) -> Answer:
    return answer_of_project(store, project, {"status": status.name, "reason": status.reason})


_STATUS = record_of_project({"status": one_of(*STATUS_NAMES), "reason": nullable(TEXT)})

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
)
