"""Releases and their projects: their indexes, promotion, evidence and withdrawal."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.client.connection import Request, api_path, ask_for, ask_for_all, lock_request
from conveyor.domain.indexes.projects import NewLimit, NewStatus, SizeOfProject, StatusOfProject
from conveyor.domain.indexes.withdrawals import Deletion, NewYank, Yank
from conveyor.domain.releases.approvals import NewSignedApproval, TakenApproval
from conveyor.domain.releases.bundles import Bundle
from conveyor.domain.releases.dependants import Dependants
from conveyor.domain.releases.evidence import Evidence, NewTag, TakenEvidence, TakenTag
from conveyor.domain.releases.locks import TakenLock
from conveyor.domain.releases.promotions import Judgement, NewPromotion, Promotion
from conveyor.domain.releases.publications import FileToPublish, NewPublication, Publication, PublishingCheck
from conveyor.domain.releases.standing import ProjectReleases, Release
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.client.connection import Connection
    from conveyor.domain.indexes.projects import StatusName


@dataclass(frozen=True)
class Releases:
    """The releases of a store."""

    connection: Connection

    def get(self, project: str, version: str) -> Release:
        """One release; raises NotFound."""
        request = Request("GET", api_path("projects", project, "releases", version))
        return ask_for(self.connection, request, Release)

    def bundle(self, project: str, version: str) -> Bundle:
        """Everything that proves a release, to be verified without the store; raises NotFound."""
        request = Request("GET", api_path("projects", project, "releases", version, "bundle"))
        return ask_for(self.connection, request, Bundle)

    def dependants(self, project: str, version: str, *, index: str | None = None) -> Dependants:
        """The newest releases that require the project, in one index or in all that this caller can read."""
        path = api_path("projects", project, "releases", version, "dependants", index=index)
        return ask_for(self.connection, Request("GET", path), Dependants)

    def of_commit(self, project: str, commit: str) -> tuple[Release, ...]:
        """The releases of a project with build evidence that names the commit, oldest evidence first."""
        request = Request("GET", api_path("projects", project, "releases", commit=commit))
        return ask_for_all(self.connection, request, "releases", Release)

    def judgement(self, project: str, version: str, *, to: str | None = None) -> Judgement:
        """The gates' verdicts on moving a release to an index; ``None`` means the one that follows."""
        request = Request("GET", api_path("projects", project, "releases", version, "verdicts", to=to))
        return ask_for(self.connection, request, Judgement)

    def judge(self, project: str, version: str, *, to: str | None = None) -> Judgement:
        """Have the store judge a release now, and move it as far as its gates allow.

        ``to``: the index whose verdicts are told; ``None`` means the one that follows where it is then.
        """
        path = api_path("projects", project, "releases", version, "judgement", to=to)
        return ask_for(self.connection, Request("POST", path, may_repeat=True), Judgement)

    def promote(self, project: str, version: str, *, to: str, source: str | None = None) -> Promotion:
        """Move a release to an index; raises PromotionRefused with one verdict per gate."""
        body = NewPromotion(project, version, to, source)
        request = Request("POST", api_path("promotions"), json_body=body, may_repeat=True)
        return ask_for(self.connection, request, Promotion)

    def check_publishing(self, project: str, version: str, *, index: str) -> PublishingCheck:
        """Ask whether this caller may publish a new version; raises the error that its upload would."""
        path = api_path("projects", project, "releases", version, "publication", index=index)
        return ask_for(self.connection, Request("GET", path), PublishingCheck)

    def publish(self, project: str, version: str, *, index: str, digests: Mapping[str, str]) -> Publication:
        """Make the uploaded files of an open release visible; ``digests`` has the SHA-256 of each filename.

        May be repeated. Raises Conflict if a file did not come, was replaced, or waited for too long.
        """
        body = NewPublication(index, tuple(FileToPublish(*item) for item in sorted(digests.items())))
        path = api_path("projects", project, "releases", version, "publication")
        request = Request("POST", path, json_body=body, may_repeat=True)
        return ask_for(self.connection, request, Publication)

    def add_lock(self, project: str, version: str, content: bytes) -> TakenLock:
        """Hand in the lock of a test, before the evidence that names it by its digest."""
        path = api_path("projects", project, "releases", version, "locks")
        headers = {"Content-Type": "application/toml"}
        request = Request("POST", path, body=content, headers=headers, may_repeat=True)
        return ask_for(self.connection, request, TakenLock)

    def lock(
        self, project: str, version: str, *, python: str | None = None, index: str | None = None
    ) -> bytes:
        """The lock of a release; without ``python`` and ``index``, that of its most mature, newest test."""
        return self.connection.send(lock_request(project, version, python=python, index=index)).body

    def yank(
        self,
        project: str,
        version: str,
        *,
        index: str | None = None,
        filename: str | None = None,
        reason: str | None = None,
    ) -> Yank:
        """Yank a release, or one file of it, in one index or in every index that this caller can read."""
        body = NewYank(index, filename, reason)
        request = Request("PUT", api_path("projects", project, "releases", version, "yank"), json_body=body)
        return ask_for(self.connection, request, Yank)

    def unyank(
        self, project: str, version: str, *, index: str | None = None, filename: str | None = None
    ) -> Yank:
        """Undo a yank."""
        path = api_path("projects", project, "releases", version, "yank", index=index, filename=filename)
        return ask_for(self.connection, Request("DELETE", path, may_repeat=True), Yank)


@dataclass(frozen=True)
class Projects:
    """The projects of a store."""

    connection: Connection

    def get(self, project: str) -> ProjectReleases:
        """A project and its releases, newest first; raises NotFound."""
        return ask_for(self.connection, Request("GET", api_path("projects", project)), ProjectReleases)

    def status(self, project: str) -> StatusOfProject:
        """The status that readers of a project's pages see."""
        request = Request("GET", api_path("projects", project, "status"))
        return ask_for(self.connection, request, StatusOfProject)

    def set_status(self, project: str, status: StatusName, *, reason: str | None = None) -> StatusOfProject:
        """Archive, deprecate or quarantine a project, or set it active again."""
        body = NewStatus(status, reason)
        request = Request("PUT", api_path("projects", project, "status"), json_body=body)
        return ask_for(self.connection, request, StatusOfProject)

    def size(self, project: str) -> SizeOfProject:
        """The bytes of all files of a project, and its own limit."""
        request = Request("GET", api_path("projects", project, "size"))
        return ask_for(self.connection, request, SizeOfProject)

    def set_size_limit(self, project: str, limit_bytes: int | None) -> SizeOfProject:
        """Give a project its own limit; ``None`` restores the limit of the store."""
        body = NewLimit(limit_bytes)
        request = Request("PUT", api_path("projects", project, "size"), json_body=body)
        return ask_for(self.connection, request, SizeOfProject)

    def delete(self, project: str, version: str | None = None, *, filename: str | None = None) -> Deletion:
        """Delete a file of a release, a release, or all files of a project, permanently."""
        if filename is not None and version is None:
            raise InvalidInput("a file belongs to a release: name its version too")
        release = () if version is None else ("releases", version)
        file = () if filename is None else ("files", filename)
        request = Request("DELETE", api_path("projects", project, *release, *file))
        return ask_for(self.connection, request, Deletion)


@dataclass(frozen=True)
class StoreEvidence:
    """The evidence of a store. Adding evidence that it already has is a success."""

    connection: Connection

    def add(self, envelope: bytes, *, mirror: str | None = None) -> None:
        """Hand in a signed statement; with ``mirror`` it is about a file of the store that this mirrors."""
        request = Request("POST", api_path("evidence", mirror=mirror), body=envelope, may_repeat=True)
        ask_for(self.connection, request, TakenEvidence)

    def on_file(self, sha256: str, filename: str) -> tuple[Evidence, ...]:
        """What is known of a distribution, one of the store's own or a mirror's; raises NotFound."""
        request = Request("GET", api_path("files", sha256, filename, "evidence"))
        return ask_for_all(self.connection, request, "evidence", Evidence)

    def tell(self, statement: bytes) -> None:
        """Hand in a statement of this job of a CI host, unsigned."""
        request = Request("POST", api_path("statements"), body=statement, may_repeat=True)
        ask_for(self.connection, request, TakenEvidence)

    def add_tag(self, project: str, tag_object: bytes) -> None:
        """Hand in a signed tag object (``git cat-file tag NAME``)."""
        body = NewTag(project, base64.b64encode(tag_object).decode())
        request = Request("POST", api_path("tags"), json_body=body, may_repeat=True)
        ask_for(self.connection, request, TakenTag)

    def approve(self, signed: bytes) -> TakenApproval:
        """Hand in an approval: its statement, then the signature."""
        body = NewSignedApproval(base64.b64encode(signed).decode())
        request = Request("POST", api_path("approvals"), json_body=body, may_repeat=True)
        return ask_for(self.connection, request, TakenApproval)
