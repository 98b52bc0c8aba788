"""Uploads at the edges of pieces, and who is told what: the application itself, handed its messages."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from urllib3.filepost import encode_multipart_formdata

from conveyor.blobs.filesystem import FilesystemBlobs
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.indexes.policy import UploadLimits
from conveyor.domain.people.access import NewToken
from conveyor.errors import (
    ConveyorError,
    Forbidden,
    InvalidDistribution,
    InvalidInput,
    TooLarge,
    Unauthorized,
)
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.tokens import create_token, list_tokens, revoke_token
from conveyor.operations.uploads.incoming_files import MOST_IN_MEMORY_BYTES
from conveyor.server.http.auth import Authenticator
from conveyor.server.memory.newest import Newest
from conveyor.server.uploads.forms import FIELDS_LIMIT_BYTES
from conveyor.server.uploads.legacy import PIECE_BYTES, Uploads
from distributions_made import Made, make_wheel
from makers import make_store
from releases_made import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conveyor.blobs import Temporary
    from conveyor.blobs.filesystem import TemporaryFile
    from conveyor.operations.store.store import Store

LIMITS = UploadLimits(file_bytes=4 * PIECE_BYTES)
BOUNDARY = "where-one-part-ends"
WAIT_SECONDS = 30


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


@pytest.fixture
def admin(store: Store) -> str:
    """The token of an administrator."""
    return create_token(store, ADMIN, NewToken("admin")).secret


def body_of(made: Made, *, size_bytes: int | None = None, **fields: str) -> bytes:
    """A form with the file before every other field, and so many bytes in all."""
    pairs: list[tuple[str, Any]] = [("content", (made.filename, made.content))]
    pairs += [(name, value) for name, values in made.form.items() for value in values]
    pairs += fields.items()
    short, _ = encode_multipart_formdata([*pairs, ("padding", "")], boundary=BOUNDARY)
    if size_bytes is None:
        return short
    padded, _ = encode_multipart_formdata(
        [*pairs, ("padding", "x" * (size_bytes - len(short)))], boundary=BOUNDARY
    )
    assert len(padded) == size_bytes
    return padded


def wheel_of_size(size_bytes: int, name: str = "demo") -> Made:
    """A wheel of exactly so many bytes."""
    empty = make_wheel(name, extra={f"{name}/data.bin": b""}, compression=zipfile.ZIP_STORED)
    lacking = size_bytes - len(empty.content)
    for length in range(lacking, lacking - 20, -1):  # RECORD grows by the digits of the length
        content = hashlib.shake_128(name.encode()).digest(length)
        made = make_wheel(name, extra={f"{name}/data.bin": content}, compression=zipfile.ZIP_STORED)
        if len(made.content) == size_bytes:
            return made
    raise AssertionError(f"no wheel has {size_bytes} bytes")


class Sent:
    """A request whose body comes in messages of so many bytes; notes how much of it was asked for."""

    def __init__(
        self,
        body: bytes,
        *,
        token: str | None = None,
        index: str = "unstable",
        message_bytes: int = 65_536,
        is_whole: bool = True,
        headers: Mapping[str, str | None] | None = None,
    ) -> None:
        given = {
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
            "content-length": str(len(body)),
            "authorization": f"Bearer {token}" if token else None,
            **(headers or {}),
        }
        self.headers = [(name.encode(), value.encode()) for name, value in given.items() if value]
        self.index = index
        self.read_bytes = 0
        self.answer: list[dict[str, Any]] = []
        self._messages = self._cut(body, message_bytes, is_whole=is_whole)

    @staticmethod
    def _cut(body: bytes, message_bytes: int, *, is_whole: bool) -> Iterator[dict[str, Any]]:
        for start in range(0, len(body), message_bytes):
            has_more = start + message_bytes < len(body) or not is_whole
            yield {"type": "http.request", "body": body[start : start + message_bytes], "more_body": has_more}
        yield {"type": "http.disconnect"}

    async def receive(self) -> dict[str, Any]:
        message = next(self._messages)
        self.read_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Any) -> None:
        self.answer.append(message)


async def upload(
    store: Store, sent: Sent, *, limits: UploadLimits = LIMITS, authenticator: Authenticator | None = None
) -> str:
    """What is said to an upload that is accepted; raises the error of one that is refused."""

    async def upstream_has_project(_: object) -> bool:
        return False

    newest = Newest(store)
    try:
        authenticator = authenticator or Authenticator(store, newest)
        uploads = Uploads(store, authenticator, upstream_has_project=upstream_has_project, limits=limits)
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": f"/{sent.index}/legacy/"}
        scope |= {"rest": "", "index": sent.index, "headers": sent.headers}
        await uploads(scope, sent.receive, sent.send)
        await authenticator.close()
    finally:
        newest.close()
    start, body = sent.answer
    assert start["status"] == 200
    return bytes(body["body"]).decode()


def check_is_stored(store: Store, made: Made) -> None:
    with store.blobs.open(made.sha256) as blob:
        assert blob.read() == made.content
    assert temporaries(store) == []


def temporaries(store: Store) -> list[Path]:
    assert isinstance(store.blobs, FilesystemBlobs)
    return list((store.blobs.root / "temporary").iterdir())


@pytest.mark.parametrize("more_bytes", [-1, 0, 1, PIECE_BYTES, PIECE_BYTES + 1])
@pytest.mark.parametrize("message_bytes", [65_521, PIECE_BYTES])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_body_that_ends_at_the_edge_of_a_piece_is_whole(
    store: Store, admin: str, more_bytes: int, message_bytes: int, is_announced: bool
) -> None:
    made = make_wheel()
    body = body_of(made, size_bytes=PIECE_BYTES + more_bytes)
    length = str(len(body)) if is_announced else None
    sent = Sent(body, token=admin, message_bytes=message_bytes, headers={"content-length": length})
    assert await upload(store, sent) == f'{made.filename} is in index "unstable"\n'
    check_is_stored(store, made)


@pytest.mark.parametrize("bytes_after_the_file", [-1, 0, 1, 12, 80])
async def test_form_whose_headers_lie_across_the_edge_of_a_piece_is_understood(
    store: Store, admin: str, bytes_after_the_file: int
) -> None:
    small = wheel_of_size(100_000)
    before_the_file = body_of(small).index(small.content)
    made = wheel_of_size(PIECE_BYTES - before_the_file - bytes_after_the_file)
    sent = Sent(body_of(made), token=admin, message_bytes=PIECE_BYTES)
    await upload(store, sent)
    check_is_stored(store, made)


@pytest.mark.parametrize("size_bytes", [50_000, MOST_IN_MEMORY_BYTES + 1, 2 * MOST_IN_MEMORY_BYTES])
async def test_digest_that_comes_after_the_file_is_compared_with_it(
    store: Store, admin: str, size_bytes: int
) -> None:
    made = wheel_of_size(size_bytes)
    right = hashlib.md5(made.content, usedforsecurity=False).hexdigest()
    with pytest.raises(InvalidDistribution, match=f"but the file received has {right}"):
        await upload(store, Sent(body_of(made, md5_digest="0" * 32), token=admin))
    await upload(store, Sent(body_of(made, md5_digest=right), token=admin))
    check_is_stored(store, made)


CONTENTS = {
    "sound": body_of(make_wheel()),
    "faulty": body_of(make_wheel(replace={"demo/__init__.py": b"changed"})),
    "no form": b"nothing of the kind",
    "no form of one piece": b"x" * PIECE_BYTES,
    "no form of many pieces": b"x" * (2 * PIECE_BYTES + 1),
}


HEADERS: dict[str, dict[str, str | None]] = {
    "announced": {},
    "unannounced": {"content-length": None},
    "of another type": {"content-type": "application/json"},
    "too large": {"content-length": str(LIMITS.file_bytes + FIELDS_LIMIT_BYTES + 1)},
    "waiting": {"expect": "100-continue"},
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("headers", HEADERS)
async def test_who_may_not_upload_hears_that_whatever_was_sent(
    store: Store, content: str, headers: str
) -> None:
    """Not a word about the content, and no more about a private index than about any other."""
    create_index(store, ADMIN, NewIndex("secret", mode="uploads", is_private=True))
    reader = create_token(store, ADMIN, NewToken("admin", scopes=("read",))).secret
    elsewhere = create_token(store, ADMIN, NewToken("admin", scopes=("upload",), indexes=("secret",))).secret
    narrowed = create_token(store, ADMIN, NewToken("admin", scopes=("upload",), indexes=("unstable",))).secret
    refusals: list[tuple[str | None, str, type[ConveyorError], str]] = [
        (None, "unstable", Unauthorized, "say who you are"),
        (None, "secret", Unauthorized, "say who you are"),
        (None, "nowhere", Unauthorized, "say who you are"),
        (reader, "unstable", Forbidden, "lacks the scope upload"),
        (reader, "stable", Forbidden, "promotion-only"),
        (elsewhere, "unstable", Forbidden, 'index "unstable"'),
        (narrowed, "secret", Forbidden, 'index "secret"'),
    ]
    for token, index, error, said in refusals:
        sent = Sent(CONTENTS[content], token=token, index=index, headers=HEADERS[headers])
        with pytest.raises(error, match=said):
            await upload(store, sent)
        assert sent.read_bytes == (0 if headers == "waiting" else len(CONTENTS[content]))
    assert temporaries(store) == []


async def test_token_that_is_remembered_is_refused_once_it_is_revoked(store: Store, admin: str) -> None:
    newest = Newest(store)
    authenticator = Authenticator(store, newest)
    try:
        for version in ("1.0", "2.0", "3.0"):
            sent = Sent(body_of(make_wheel(version=version)), token=admin)
            assert "is in index" in await upload(store, sent, authenticator=authenticator)
        create_index(store, ADMIN, NewIndex("other", mode="uploads"))  # could be about a token, and is not
        sent = Sent(body_of(make_wheel(version="4.0")), token=admin)
        assert "is in index" in await upload(store, sent, authenticator=authenticator)
        revoke_token(store, ADMIN, list_tokens(store, ADMIN)[0].id)
        with pytest.raises(Unauthorized, match="revoked"):
            await upload(store, Sent(b"no form at all", token=admin), authenticator=authenticator)
    finally:
        newest.close()


async def test_small_file_over_the_limit_is_refused(store: Store, admin: str) -> None:
    made = make_wheel()
    limits = UploadLimits(file_bytes=len(made.content) - 1)
    with pytest.raises(TooLarge):
        await upload(store, Sent(body_of(made), token=admin), limits=limits)


@pytest.mark.parametrize("sent_bytes", [1000, PIECE_BYTES, 2 * PIECE_BYTES + 1])
async def test_client_that_leaves_in_the_middle_leaves_nothing(
    store: Store, admin: str, sent_bytes: int
) -> None:
    body = body_of(wheel_of_size(3 * PIECE_BYTES))
    sent = Sent(body[:sent_bytes], token=admin, headers={"content-length": str(len(body))}, is_whole=False)
    with pytest.raises(InvalidInput, match="broken off by its client"):
        await upload(store, sent)
    assert temporaries(store) == []


class HeldBlobs(FilesystemBlobs):
    """Begins with a temporary file, or with making it a blob (``at``), when the test allows it."""

    def __init__(self, root: Path, at: str) -> None:
        super().__init__(root)
        self._at = at
        self.is_writing = threading.Event()
        self.may_write = threading.Event()
        self.adopted: list[str] = []

    @contextmanager
    def new_temporary(self) -> Iterator[TemporaryFile]:
        with super().new_temporary() as temporary:
            self._hold("new_temporary")
            yield temporary

    def adopt(self, temporary: Temporary, sha256: str) -> None:
        self._hold("adopt")
        super().adopt(temporary, sha256)
        self.adopted.append(sha256)

    def _hold(self, at: str) -> None:
        if at == self._at:
            self.is_writing.set()
            assert self.may_write.wait(WAIT_SECONDS)


@pytest.mark.parametrize("at", ["new_temporary", "adopt"])
def test_upload_that_is_cancelled_lets_go_of_its_file_when_the_thread_has(
    store: Store, admin: str, at: str
) -> None:
    assert isinstance(store.blobs, FilesystemBlobs)
    blobs = HeldBlobs(store.blobs.root, at)
    sent = Sent(body_of(wheel_of_size(3 * PIECE_BYTES)), token=admin)

    async def cancel() -> None:
        uploading = asyncio.create_task(upload(replace(store, blobs=blobs), sent))
        assert await asyncio.to_thread(blobs.is_writing.wait, WAIT_SECONDS)
        uploading.cancel()
        done, _ = await asyncio.wait([uploading], timeout=0.1)
        assert not done
        asyncio.get_running_loop().call_soon(blobs.may_write.set)
        with pytest.raises(asyncio.CancelledError):
            await uploading

    asyncio.run(cancel())
    assert temporaries(store) == []
    assert len(blobs.adopted) == (at == "adopt"), "its file was there as long as the thread used it"
