"""What is kept beside the files of a release: the locks of its tests, its documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.releases.locks import MAX_LOCK_BYTES, TakenLock
from conveyor.domain.releases.publications import DocsArchive
from conveyor.domain.words.records import Text
from conveyor.operations.releases.documentation import add_docs, check_docs_upload, get_docs
from conveyor.operations.releases.locks import add_lock, get_lock
from conveyor.server.api.endpoints import Answer, Document, DocumentOf, Endpoint, StoredDocument

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call

TOML, ZIP = "application/toml", "application/zip"


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


def _may_send_docs(call: Call) -> None:
    check_docs_upload(
        call.store, call.identity, call.path["project"], call.path["version"], index=call.query_text("index")
    )


def post_docs(call: Call) -> Answer:
    """Give a release its documentation, a zip or tar.gz."""
    assert call.file is not None  # noqa: S101 - the endpoint takes a file
    kept = add_docs(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        call.file.archive(),
        index=call.query_text("index"),
        limits=call.limits,
    )
    return Answer(kept, 201)


def get_docs_of_release(call: Call) -> Answer:
    """What documentation a release has."""
    return Answer(get_docs(call.store, call.identity, call.path["project"], call.path["version"]))


def get_docs_archive(call: Call) -> Answer:
    """The documentation of a release, as it was uploaded."""
    kept = get_docs(call.store, call.identity, call.path["project"], call.path["version"])
    media_type = ZIP if kept.format == "zip" else "application/gzip"
    return Answer(StoredDocument(kept.sha256, kept.size_bytes, media_type))


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
    Endpoint(
        "POST",
        f"{_RELEASE}/docs",
        post_docs,
        right="upload",
        query={"index": IndexName},
        required_query=("index",),
        answers={201: DocsArchive},
        document=DocumentOf(ZIP),
        takes_file=_may_send_docs,
    ),
    Endpoint("GET", f"{_RELEASE}/docs", get_docs_of_release, right="read", answers={200: DocsArchive}),
    Endpoint(
        "GET", f"{_RELEASE}/docs/archive", get_docs_archive, right="read", answers={200: DocumentOf(ZIP)}
    ),
)
