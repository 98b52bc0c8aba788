"""Answers for a mirrored file that is not here yet: it is sent on while it is received.

HEAD asks the file's server for the size and fetches nothing. A single range is sent as its bytes arrive, but
it is not completed before the file is verified: see ``downloads``. The departure of a client is noticed,
because its download may then end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.words.ranges import parse_ranges
from conveyor.server.http.file_answers import content_range, file_headers, length_header, without_type
from conveyor.server.http.messages import (
    NO_BODY,
    has_already,
    must_match,
    noticing_departure,
    send_head,
    wanted_range,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from conveyor.domain.indexes.mirror import MirroredFile
    from conveyor.operations.indexes.files import FoundFile
    from conveyor.server.http.messages import Headers
    from conveyor.server.mirror.downloads import Follower
    from conveyor.server.mirror.mirroring import Mirroring


async def send_arriving(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    found: FoundFile,
    file: MirroredFile,
    mirroring: Mirroring,
) -> bool:
    """Send a file while it is received; returns false if it is now stored and nothing was sent.

    Raises:
        UpstreamFailed, NotFound, StorageFailed, PreconditionFailed: before the answer begins; later the
            answer is broken off.
    """
    headers = file_headers(found.sha256, found.filename, is_public=found.is_public)
    asked, etag = scope["headers"], f'"{found.sha256 or ""}"'
    # 1. answers that need no bytes
    must_match(asked, etag)
    if has_already(asked, etag):
        await send_head(send, 304, without_type(headers))
        return True
    if scope["method"] == "HEAD":  # a range means nothing here (RFC 9110, section 14.2)
        size_bytes = found.size_bytes if found.size_bytes is not None else await mirroring.sizes.of(file)
        await send_head(send, 200, [*headers, *length_header(size_bytes)])
        return True
    # 2. the download, as long as the client is there
    with mirroring.downloads.follow(file) as follower, noticing_departure(receive, follower.leave):
        await follower.begun()
        wanted = wanted_range(asked, etag)
        if not wanted:
            await _send(send, follower, 200, [*headers, *length_header(follower.size_bytes)])
            return True
        # 3. one range of a known size as it arrives; all other ranges once the file is here
        size_bytes = follower.size_bytes
        ranges = parse_ranges(wanted, size_bytes) if size_bytes is not None else None
        if size_bytes is None or ranges is None or len(ranges) != 1:
            await follower.stored()
            return follower.has_left
        start, end = ranges[0]
        partial = (b"content-range", content_range(start, end, size_bytes))
        part = [*headers, partial, *length_header(end - start)]
        await _send(send, follower, 206, part, start=start, end=end)
        return True


async def _send(
    send: Send,
    follower: Follower,
    status: int,
    headers: Headers,
    *,
    start: int = 0,
    end: int | None = None,
) -> None:
    """Begin the answer with the first bytes, so that a short, wrong file is an error, not a broken answer."""
    begin = {"type": "http.response.start", "status": status, "headers": headers}
    has_begun = False
    async for chunk in follower.chunks(start, end):
        if not has_begun:
            await send(begin)
            has_begun = True
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if follower.has_left:
        return
    if not has_begun:
        await send(begin)
    await send(NO_BODY)
