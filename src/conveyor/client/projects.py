"""Projects as a whole: their status, their size, and what is deleted of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.answers import read_deletion, read_project_size, read_project_status
from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.client.answers import OfProject
    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.projects import ProjectSize, ProjectStatus, StatusName
    from conveyor.domain.indexes.withdrawals import Deletion


@dataclass(frozen=True)
class Projects:
    """The projects of a store."""

    connection: Connection

    def status(self, project: str) -> OfProject[ProjectStatus]:
        """The status that readers of a project's pages see."""
        request = Request("GET", api_path("projects", project, "status"))
        return ask(self.connection, request, read_project_status)

    def set_status(
        self, project: str, status: StatusName, *, reason: str | None = None
    ) -> OfProject[ProjectStatus]:
        """Archive, deprecate or quarantine a project, or set it active again."""
        body = {"status": status, "reason": reason}
        request = Request("PUT", api_path("projects", project, "status"), json_body=body)
        return ask(self.connection, request, read_project_status)

    def size(self, project: str) -> OfProject[ProjectSize]:
        """The bytes of all files of a project, and its own limit."""
        request = Request("GET", api_path("projects", project, "size"))
        return ask(self.connection, request, read_project_size)

    def set_size_limit(self, project: str, limit_bytes: int | None) -> OfProject[ProjectSize]:
        """Give a project a limit of its own; ``None``: that of the store holds."""
        body = {"limit_bytes": limit_bytes}
        request = Request("PUT", api_path("projects", project, "size"), json_body=body)
        return ask(self.connection, request, read_project_size)

    def delete(self, project: str, version: str | None = None, *, filename: str | None = None) -> Deletion:
        """Delete a file of a release, a release, or all files of a project; for ever."""
        if filename is not None and version is None:
            raise InvalidInput("a file is deleted out of a release: name its version too")
        release = () if version is None else ("releases", version)
        file = () if filename is None else ("files", filename)
        request = Request("DELETE", api_path("projects", project, *release, *file))
        return ask(self.connection, request, read_deletion)
