"""What is kept beside the files of a release: the locks of its tests, its documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.releases.locks import MAX_LOCK_BYTES, TakenLock
from conveyor.domain.words.records import Text
from conveyor.operations.releases.locks import add_lock, get_lock
from conveyor.server.api.endpoints import Answer, Document, DocumentOf, Endpoint

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call

TOML = "application/toml"


def post_lock(call: Call) -> Answer:
    """Hand in the lock of a test as a registered worker; the mirrored files that it names are kept."""
    taken = add_lock(
        call.store, call.identity, call.path["project"], call.path["version"], call.body, keep=call.keep
    )
    return Answer(taken, 201)


def get_pylock(call: Call) -> Answer:
    """The environment in which a release passed its tests, as pylock.toml (PEP 751).

    Of the most mature index that the caller may see, on the newest Python, the newest.
    """
    content = get_lock(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        python=call.query.get("python"),
        index=call.query.get("index"),
    )
    return Answer(Document(content, TOML))


_RELEASE = "/projects/{project}/releases/{version}"

ENDPOINTS = (
    Endpoint(
        "POST",
        f"{_RELEASE}/locks",
        post_lock,
        right="upload",
        answers={201: TakenLock},
        document=DocumentOf(TOML),
        max_body_bytes=MAX_LOCK_BYTES + 1,
    ),
    Endpoint(
        "GET",
        f"{_RELEASE}/pylock.toml",
        get_pylock,
        right="read",
        query={"python": Text, "index": IndexName},
        answers={200: DocumentOf(TOML)},
    ),
)
