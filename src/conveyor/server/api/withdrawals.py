"""Withdrawals: have installers pass over files of a release, or delete them, everywhere and for ever."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from conveyor.domain.words.notation import LONGEST_REASON
from conveyor.operations.releases.withdrawals import delete_files, unyank_release, yank_release
from conveyor.server.api.endpoints import Answer, Endpoint
from conveyor.server.api.schemas import COUNT, FLAG, INDEX_NAME, SHA256, TEXT, given, listed, nullable, record

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def put_yank(call: Call) -> Answer:
    """Yank a release, or one file of it, in one index or wherever it is."""
    fields = call.fields("the yank")
    index = fields.optional_text("index", max_length=200)
    filename = fields.optional_text("filename", max_length=1000)
    reason = fields.optional_text("reason", max_length=LONGEST_REASON)
    fields.finish(is_closed=True)
    yank = yank_release(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        index=index,
        filename=filename,
        reason=reason,
    )
    return Answer(asdict(yank))


def delete_yank(call: Call) -> Answer:
    """Take the yank of a release, or of one file of it, back."""
    yank = unyank_release(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        index=call.query.get("index"),
        filename=call.query.get("filename"),
    )
    return Answer(asdict(yank))


_PATH = "/projects/{project}/releases/{version}/yank"
_YANK = record(
    {
        "project": TEXT,
        "version": TEXT,
        "is_yanked": FLAG,
        "reason": nullable(TEXT),
        "files": listed(record({"index": TEXT, "filename": TEXT})),
    }
)


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

# Which right it takes depends on the index (``domain.indexes.withdrawals``), so it is asked where the index
# is known.
ENDPOINTS = (
    Endpoint(
        "PUT",
        _PATH,
        put_yank,
        right="read",
        body=record(
            {},
            {
                "index": nullable(INDEX_NAME),
                "filename": nullable(given(1000)),
                "reason": nullable(given(LONGEST_REASON)),
            },
        ),
        answers={200: _YANK},
    ),
    Endpoint(
        "DELETE",
        _PATH,
        delete_yank,
        right="read",
        query={"index": INDEX_NAME, "filename": given()},
        answers={200: _YANK},
    ),
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
