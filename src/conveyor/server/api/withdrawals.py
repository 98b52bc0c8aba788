"""Withdrawals: have installers ignore files of a release, or delete them, everywhere and permanently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.indexes.withdrawals import Deletion, NewYank, Yank
from conveyor.domain.words.records import Text
from conveyor.operations.releases.withdrawals import delete_files, unyank_release, yank_release
from conveyor.server.api.endpoints import Answer, Endpoint

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def put_yank(call: Call) -> Answer:
    """Yank a release, or one file of it, in one index or wherever it is."""
    asked = call.read(NewYank, what="the yank")
    yank = yank_release(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        index=asked.index,
        filename=asked.filename,
        reason=asked.reason,
    )
    return Answer(yank)


def delete_yank(call: Call) -> Answer:
    """Take back the yank of a release, or of one file of it."""
    yank = unyank_release(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        index=call.query.get("index"),
        filename=call.query.get("filename"),
    )
    return Answer(yank)


_PATH = "/projects/{project}/releases/{version}/yank"


def delete_file(call: Call) -> Answer:
    """Delete one file of a release; its name can never be used again."""
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
    return Answer(deletion)


# The right that it takes depends on the index (``domain.indexes.withdrawals``), so it is checked where the
# index is known.
ENDPOINTS = (
    Endpoint(
        "PUT",
        _PATH,
        put_yank,
        right="read",
        body=NewYank,
        answers={200: Yank},
    ),
    Endpoint(
        "DELETE",
        _PATH,
        delete_yank,
        right="read",
        query={"index": IndexName, "filename": Text},
        answers={200: Yank},
    ),
    Endpoint("DELETE", "/projects/{project}", delete_project, right="admin", answers={200: Deletion}),
    Endpoint(
        "DELETE",
        "/projects/{project}/releases/{version}",
        delete_release,
        right="admin",
        answers={200: Deletion},
    ),
    Endpoint(
        "DELETE",
        "/projects/{project}/releases/{version}/files/{filename}",
        delete_file,
        right="admin",
        answers={200: Deletion},
    ),
)
