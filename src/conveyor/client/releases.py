"""Releases: where they are, where they may go, and having installers pass over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.answers import read_promotion, read_release, read_releases, read_verdicts, read_yank
from conveyor.client.connection import Request, ask
from conveyor.client.paths import api_path

if TYPE_CHECKING:
    from conveyor.client.answers import Release
    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.withdrawals import Yank
    from conveyor.domain.releases.gates.judged import Verdict
    from conveyor.domain.releases.promotions import Promotion


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

    def verdicts(self, project: str, version: str, *, to: str) -> tuple[Verdict, ...]:
        """One verdict per gate between where a release is and an index."""
        request = Request("GET", api_path("projects", project, "releases", version, "verdicts", to=to))
        return ask(self.connection, request, read_verdicts)

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
