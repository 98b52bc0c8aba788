"""``POST /{index}/legacy/``: uploads, as twine, uv, poetry, pdm, flit and hatch send them.

The path works with and without its last slash; a redirect would lose the body. The caller is authenticated
before the body is read, and checked for the right to upload to the index, unless the body is small: a body
below a mebibyte takes one hop to a thread in all, which also checks whether a known token is still valid. A
larger one is parsed, hashed and written piece by piece as it arrives. Memory is constant.

A refused body is read to its end all the same, unless the client waits for permission (``Expect``): most
clients listen only when they have sent everything, and would report a broken pipe instead of the reason.
Refusals are plain text, one line per fault (``server.http.problems``).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from conveyor.domain.distributions.documentation import DOC_UPLOAD
from conveyor.domain.indexes.policy import UploadLimits, check_file_size
from conveyor.errors import ConveyorError, InvalidInput, NotFound, TooSlow
from conveyor.operations.releases.documentation import add_docs
from conveyor.operations.uploads.acceptance import (
    AcceptedUpload,
    IdentityOutdated,
    ReceivedUpload,
    UpstreamQuestion,
    accept_answered,
    accept_upload,
    check_upload_rights,
)
from conveyor.operations.uploads.incoming_files import IncomingFile
from conveyor.server.http.auth import refuse_other_sites
from conveyor.server.http.messages import NEVER_KEPT, PLAIN_TEXT, send_answer
from conveyor.server.http.problems import method_not_allowed
from conveyor.server.uploads.forms import FIELDS_LIMIT_BYTES, FormReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from conveyor.domain.distributions.forms import UploadForm
    from conveyor.domain.indexes.definitions import IndexesNow
    from conveyor.domain.people.access import Identity
    from conveyor.domain.words.names import NormalizedName
    from conveyor.operations.store.store import Store
    from conveyor.server.http.auth import Authenticator

Result = TypeVar("Result")

PIECE_BYTES = 1024 * 1024
"""How much of a body is collected in memory before a thread parses, hashes and writes it."""


class Uploads:
    """The ASGI application of uploads; finds the index in ``scope["index"]``."""

    def __init__(
        self,
        store: Store,
        authenticator: Authenticator,
        *,
        upstream_has_project: Callable[[NormalizedName], Awaitable[bool]],
        limits: UploadLimits | None = None,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._upstream_has_project = upstream_has_project
        self._limits = limits or UploadLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one upload: 200 when the file is in the index; errors are raised for the app to answer."""
        if scope.get("rest"):
            raise NotFound(f"there is nothing at {scope['path']}", hint="uploads go to /INDEX/legacy/")
        if scope["method"] != "POST":
            raise method_not_allowed(scope, "POST")
        body = _Body(receive)
        try:
            accepted = await self._take(scope, body)
        except ConveyorError:
            if b"expect" not in dict(scope["headers"]):
                await body.drain(limit_bytes=self._limits.file_bytes + FIELDS_LIMIT_BYTES)
            raise
        what = "is in" if accepted.is_new else "was already in"
        if accepted.is_open:
            what = "waits to be published to"
        said = f'{accepted.filename} {what} index "{accepted.index}"\n'
        said += "".join(f"note: {note}\n" for note in accepted.notes)
        await send_answer(send, 200, said.encode(), content_type=PLAIN_TEXT, headers=[NEVER_KEPT])

    async def _take(self, scope: Scope, body: _Body) -> AcceptedUpload:
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        announced_bytes = int(announced) if announced.isdigit() else None
        is_small = announced_bytes is not None and announced_bytes < PIECE_BYTES and b"expect" not in headers
        # 1. the caller; whether a token that comes with a small body is still valid is checked with the rest
        refuse_other_sites(scope["headers"])
        recalled = self._authenticator.recall(scope["headers"]) if is_small else None
        identity = (
            recalled.identity if recalled else await self._authenticator.authenticate(scope, body.receive)
        )
        scope.setdefault("state", {})["user"] = identity.name or None
        # 2. their right, and the form's size; for a small body both are checked with the rest
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        upload = _Arriving(self._store, identity, scope["index"], content_type, self._limits)
        upload.known_at = recalled.serial if recalled else None
        if not is_small or identity.is_anonymous:
            await asyncio.to_thread(upload.begin)
            check_file_size((announced_bytes or 0) - FIELDS_LIMIT_BYTES, self._limits)
        # 3. the body; 4. the decision
        thread = _OneCall()
        try:
            piece: list[bytes] = []
            piece_bytes = 0
            while data := await body.read():
                piece.append(data)
                piece_bytes += len(data)
                if piece_bytes >= PIECE_BYTES:
                    await thread.start(upload.take_in, piece)
                    piece, piece_bytes = [], 0
            await thread.finish()
            try:
                accepted = await self._decide(upload, thread, piece)
            except IdentityOutdated:
                upload.identity = await self._authenticator.authenticate(scope, body.receive)
                upload.known_at = recalled = None
                accepted = await self._decide(upload, thread, piece)
            if recalled and upload.seen:
                self._authenticator.confirm(recalled, upload.seen.serial)
            return accepted
        finally:
            with suppress(ConveyorError):  # one that is told already, or comes after one that is
                await thread.finish()
            upload.close()

    async def _decide(self, upload: _Arriving, thread: _OneCall, rest: list[bytes]) -> AcceptedUpload:
        received, answer = await thread.result(upload.accept, rest)
        if isinstance(answer, UpstreamQuestion):
            upstream_has = await self._upstream_has_project(answer.project)
            go_on = partial(
                accept_answered,
                self._store,
                received,
                answer,
                identity=upload.identity,
                limits=self._limits,
                upstream_has=upstream_has,
            )
            return await thread.result(go_on)
        return answer


class _Arriving:
    """One upload while it arrives; its methods are for a thread, one at a time.

    Each of them first checks whether the caller may upload into this index at all: callers without the right
    learn nothing about the upload.
    """

    def __init__(
        self, store: Store, identity: Identity, index: str, content_type: str, limits: UploadLimits
    ) -> None:
        self.identity = identity
        self.known_at: int | None = None
        """The serial at which the identity was found out; ``None`` if just now."""
        self.seen: IndexesNow | None = None
        """The indexes, as they were when the caller was allowed to upload."""
        self._store = store
        self._index = index
        self._content_type = content_type
        self._limits = limits
        self._file = IncomingFile(store.blobs, limits=limits)
        self._reader: FormReader | None = None

    def begin(self) -> FormReader:
        """The reader of the form, once the caller may upload; raises ConveyorError, IdentityOutdated."""
        if self._reader is None:
            self.seen = check_upload_rights(self._store, self.identity, self._index, known_at=self.known_at)
            self._reader = FormReader(self._content_type)
        return self._reader

    def take_in(self, piece: list[bytes]) -> None:
        """Parse, hash and write the next bytes of the body; raises ConveyorError."""
        reader = self.begin()
        for data in piece:
            reader.feed(data)
        if reader.has("md5_digest"):
            self._file.expect_md5()
        self._file.write(reader.take_file())

    def accept(self, rest: list[bytes]) -> tuple[ReceivedUpload, AcceptedUpload | UpstreamQuestion]:
        """Take in the last bytes and decide about the whole; raises ConveyorError, IdentityOutdated."""
        self.take_in(rest)
        filename, form = self.begin().finish()
        received = ReceivedUpload(self._index, filename, form, self._file, seen=self.seen)
        if form.value(":action") == DOC_UPLOAD:
            return received, self._accept_docs(form)
        answer = accept_upload(self._store, received, identity=self.identity, limits=self._limits)
        return received, answer

    def _accept_docs(self, form: UploadForm) -> AcceptedUpload:
        """Take in documentation, as setuptools, devpi and others send it."""
        kept = add_docs(
            self._store,
            self.identity,
            form.value("name"),
            form.value("version"),
            self._file.archive(),
            index=self._index,
            limits=self._limits,
        )
        what = f"the documentation of {kept.project} {kept.version}"
        return AcceptedUpload(self._index, what, kept.sha256, is_new=True)

    def close(self) -> None:
        """Release the received bytes."""
        self._file.close()


class _OneCall:
    """Calls a function in a thread while the caller goes on; the next call waits for the one before."""

    def __init__(self) -> None:
        self._running: asyncio.Task[object] | None = None

    async def start(self, function: Callable[..., Result], *arguments: object) -> asyncio.Task[Result]:
        """Begin a call; raises the error of the call before."""
        await self.finish()
        self._running = running = asyncio.create_task(asyncio.to_thread(function, *arguments))
        return running

    async def finish(self) -> None:
        """Wait for the call under way, if there is one; raises its error."""
        if self._running is not None:
            await asyncio.wait([self._running])  # the waiting caller may be cancelled; the thread goes on
            running, self._running = self._running, None
            running.result()

    async def result(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Make a call and wait for its result; raises its error, or that of the call before."""
        running = await self.start(function, *arguments)
        await self.finish()
        return running.result()


class _Body:
    """The body of a request, message by message."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._has_ended = False

    async def read(self) -> bytes:
        """The next bytes, empty only at the end; raises InvalidInput if the client went away."""
        while not self._has_ended:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self._has_ended = True
                raise InvalidInput("the upload was broken off by its client")
            self._has_ended = not message.get("more_body", False)
            if data := message.get("body", b""):
                return bytes(data)
        return b""

    async def drain(self, *, limit_bytes: int) -> None:
        """Read and forget the rest, up to a limit."""
        try:
            while limit_bytes > 0 and (data := await self.read()):
                limit_bytes -= len(data)
        except (InvalidInput, TooSlow):
            return
