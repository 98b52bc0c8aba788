"""Projects and releases: what there is, where it is, what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.operations.releases.standing import (
    file_url,
    get_project,
    get_release,
    releases_of_commit,
)
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, TEXT, given, listed, named, nullable, record

if TYPE_CHECKING:
    from conveyor.operations.releases.standing import VisibleRelease
    from conveyor.server.api.endpoints import Call


def get_one_project(call: Call) -> Answer:
    """A project and its releases, newest version first."""
    project = get_project(call.store, call.identity, call.path["project"])
    return Answer(
        {
            "name": project.name,
            "display_name": project.display_name,
            "claimed_by": project.claimed_by,
            "releases": [
                {"version": one.version, "indexes": list(one.indexes), "files": one.file_count}
                for one in project.releases
            ],
        }
    )


def get_one_release(call: Call) -> Answer:
    """A release: where it is, its files, the evidence on it."""
    found = get_release(call.store, call.identity, call.path["project"], call.path["version"])
    return Answer(_as_json(found))


def get_releases_of_commit(call: Call) -> Answer:
    """The releases of a project that were built from a commit."""
    found = releases_of_commit(
        call.store, call.identity, call.path["project"], call.query_text("commit").lower()
    )
    return Answer({"releases": [_as_json(release) for release in found]})


def _as_json(release: VisibleRelease) -> dict[str, Any]:
    return {
        "project": release.project,
        "version": release.version,
        "index": release.index,
        "indexes": list(release.indexes),
        "is_closed": release.is_closed,
        "files": [
            {
                "filename": file.filename,
                "packagetype": file.packagetype,
                "sha256": file.sha256,
                "size": file.size_bytes,
                "url": file_url(file),
                "uploaded_at": file.uploaded_at,
                "uploaded_by": file.uploaded_by,
                "requires_python": file.requires_python,
                "is_yanked": file.is_yanked,
                "yank_reason": file.yank_reason,
            }
            for file in release.files
        ],
        "evidence": [
            {
                "kind": one.kind,
                "sha256": one.sha256,
                "commit": one.commit_id,
                "signed_by": one.signed_by,
                "received_at": one.received_at,
                "is_signer_valid": one.is_signer_valid,
                "predicate": one.predicate,
            }
            for one in release.evidence
        ],
    }


ENDPOINTS = (
    Endpoint(
        "GET",
        "/projects/{project}",
        get_one_project,
        right="read",
        answers={
            200: record(
                {
                    "name": TEXT,
                    "display_name": TEXT,
                    "claimed_by": nullable(TEXT),
                    "releases": listed(record({"version": TEXT, "indexes": listed(TEXT), "files": COUNT})),
                }
            )
        },
    ),
    Endpoint(
        "GET",
        "/projects/{project}/releases",
        get_releases_of_commit,
        right="read",
        query={"commit": given()},
        required_query=("commit",),
        answers={200: record({"releases": listed(named("Release"))})},
    ),
    Endpoint(
        "GET",
        "/projects/{project}/releases/{version}",
        get_one_release,
        right="read",
        answers={200: named("Release")},
    ),
)
