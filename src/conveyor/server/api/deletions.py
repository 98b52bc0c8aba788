"""Deletions: a file, a release, all of a project, out of every index and for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.operations.releases.withdrawals import delete_files
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, SHA256, TEXT, listed, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def delete_file(call: Call) -> Answer:
    """Delete one file of a release; its name is never given again."""
    return _delete(call)


def delete_release(call: Call) -> Answer:
    """Delete every file of a release."""
    return _delete(call)


def delete_project(call: Call) -> Answer:
    """Delete every file of a project; the claim on its name stays."""
    return _delete(call)


def _delete(call: Call) -> Answer:
    deletion = delete_files(
        call.store,
        call.identity,
        call.path["project"],
        call.path.get("version"),
        filename=call.path.get("filename"),
    )
    return Answer(
        {
            "project": deletion.project,
            "size": deletion.size_bytes,
            "files": [
                {
                    "filename": file.filename,
                    "version": file.version,
                    "sha256": file.sha256,
                    "size": file.size_bytes,
                }
                for file in deletion.files
            ],
        }
    )


_DELETION = record(
    {
        "project": TEXT,
        "size": COUNT,
        "files": listed(record({"filename": TEXT, "version": TEXT, "sha256": SHA256, "size": COUNT})),
    }
)

ENDPOINTS = (
    Endpoint("DELETE", "/projects/{project}", delete_project, right="admin", answers={200: _DELETION}),
    Endpoint(
        "DELETE",
        "/projects/{project}/releases/{version}",
        delete_release,
        right="admin",
        answers={200: _DELETION},
    ),
    Endpoint(
        "DELETE",
        "/projects/{project}/releases/{version}/files/{filename}",
        delete_file,
        right="admin",
        answers={200: _DELETION},
    ),
)
