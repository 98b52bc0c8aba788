"""Answers about a project by its name alone, which may be mistyped: each says whether it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.words.names import project_name
from conveyor.operations.releases.standing import is_project_known
from conveyor.server.api.endpoints import Answer
from conveyor.server.api.schemas import FLAG, TEXT, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.operations.store.store import Store
    from conveyor.server.api.schemas import Schema


def answer_of_project(store: Store, project: str, told: Mapping[str, object]) -> Answer:
    """The project, what is told of it, and whether it is known here; raises InvalidName."""
    name, is_known = project_name(project), is_project_known(store, project)
    return Answer({"project": name, **told, "is_known": is_known})


def record_of_project(told: dict[str, Schema]) -> Schema:
    """The schema of such an answer."""
    return record({"project": TEXT, **told, "is_known": FLAG})
