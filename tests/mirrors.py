"""A store that mirrors a real upstream, read through the server's handlers, with a clock that stands."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from conveyor.domain.indexes.mirror import MirroredFile
from makers import make_store
from readers import Answer, Reader, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from conveyor.blobs import BlobStore
    from conveyor.operations.store.store import Store
    from distributions_made import Made
    from upstreams import RunningUpstream

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time


@asynccontextmanager
async def mirroring(
    folder: Path,
    upstream: RunningUpstream,
    *,
    clock: Callable[[], datetime] | None = None,
    blobs: BlobStore | None = None,
    store: Store | None = None,
    **more: Any,
) -> AsyncIterator[Reader]:
    """A store, if need be a new one, that mirrors an upstream; answers that wait are let go at the end."""
    store = store or replace(make_store(folder / "store"), clock=clock or Clock())
    if blobs is not None:
        store = replace(store, blobs=blobs)
    async with reading(store, upstream_url=upstream.url, **more) as reader:
        try:
            yield reader
        finally:
            upstream.let_go()


def only_file(answer: Answer) -> dict[str, Any]:
    """The one file of a page."""
    assert answer.status == 200, answer
    (file,) = answer.json["files"]
    assert isinstance(file, dict)
    return file


def packages_path(made: Made, beside: str = "") -> str:
    """Where a store serves a file, or what stands ``beside`` it, such as ``.metadata``."""
    return f"/packages/{made.sha256}/{made.filename}{beside}"


def mirrored_file(made: Made, url: str, **more: Any) -> MirroredFile:
    """A file as a store remembers it that has seen a page without sizes, times and metadata."""
    file = MirroredFile(
        index="pypi",
        project="demo",
        filename=made.filename,
        sha256=made.sha256,
        url=url,
        size_bytes=None,
        upload_time="2026-11-21T08:00:00.000000Z",
        is_upload_time_first_seen=True,
        requires_python=None,
        is_yanked=False,
        yank_reason=None,
        upstream_has_metadata=True,
        metadata_sha256=None,
        is_stored=False,
    )
    return replace(file, **more)


async def settled() -> None:
    """Wait until nothing is under way on this event loop but the test itself."""
    test = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not test]:
        await asyncio.wait(others)
