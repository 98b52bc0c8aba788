"""Releases and their projects: where they are, where they may go, what is known of them, withdrawing them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.answers import (
    read_deletion,
    read_judgement,
    read_project_size,
    read_project_status,
    read_promotion,
    read_release,
    read_releases,
    read_yank,
)
from conveyor.client.connection import Request, api_path, ask
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from conveyor.client.answers import OfProject, Release
    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.projects import ProjectSize, ProjectStatus, StatusName
    from conveyor.domain.indexes.withdrawals import Deletion, Yank
    from conveyor.domain.releases.promotions import Judgement, Promotion


@dataclass(frozen=True)
class Releases:
    """The releases of a store."""

    connection: Connection

    def get(self, project: str, version: str) -> Release:
        """One release; raises NotFound."""
        request = Request("GET", api_path("projects", project, "releases", version))
        return ask(self.connection, request, read_release)

    def of_commit(self, project: str, commit: str) -> tuple[Release, ...]:
        """The releases of a project with build evidence that names the commit, oldest evidence first."""
        request = Request("GET", api_path("projects", project, "releases", commit=commit))
        return ask(self.connection, request, read_releases)

    def judgement(self, project: str, version: str, *, to: str | None = None) -> Judgement:
        """What the gates say between where a release is and an index; ``None``: the one that follows."""
        request = Request("GET", api_path("projects", project, "releases", version, "verdicts", to=to))
        return ask(self.connection, request, read_judgement)

    def promote(self, project: str, version: str, *, to: str, source: str | None = None) -> Promotion:
        """Move a release to an index; raises PromotionRefused with one verdict per gate."""
        body = {"project": project, "version": version, "to": to, "from": source}
        request = Request("POST", api_path("promotions"), json_body=body, may_repeat=True)
        return ask(self.connection, request, read_promotion)

    def yank(
        self,
        project: str,
        version: str,
        *,
        index: str | None = None,
        filename: str | None = None,
        reason: str | None = None,
    ) -> Yank:
        """Yank a release, or one file of it, in one index or wherever this caller sees it."""
        body = {"index": index, "filename": filename, "reason": reason}
        request = Request("PUT", api_path("projects", project, "releases", version, "yank"), json_body=body)
        return ask(self.connection, request, read_yank)

    def unyank(
        self, project: str, version: str, *, index: str | None = None, filename: str | None = None
    ) -> Yank:
        """Take a yank back."""
        path = api_path("projects", project, "releases", version, "yank", index=index, filename=filename)
        return ask(self.connection, Request("DELETE", path, may_repeat=True), read_yank)


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


@dataclass(frozen=True)
class StoreEvidence:
    """The evidence of a store. What it has already is a success."""

    connection: Connection

    def add(self, envelope: bytes) -> None:
        """Hand in a signed statement."""
        ask(self.connection, Request("POST", api_path("evidence"), body=envelope, may_repeat=True), dict)

    def add_tag(self, project: str, tag_object: bytes) -> None:
        """Hand in a signed tag object (``git cat-file tag NAME``)."""
        body = {"project": project, "tag_object": base64.b64encode(tag_object).decode()}
        ask(self.connection, Request("POST", api_path("tags"), json_body=body, may_repeat=True), dict)
