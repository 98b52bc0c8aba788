"""Downloads of mirrored files: how long they go on, and what is left of those that end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from conveyor.domain.indexes.mirror import UpstreamFile, UpstreamPage
from conveyor.errors import UpstreamFailed
from conveyor.operations.indexes.mirror import store_page
from conveyor.server.mirror.downloads import Download
from conveyor.upstream import Upstream
from distributions_made import make_wheel
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from upstreams import RunningUpstream

LARGE = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 4000}, compression=0)
"""Of 1 MB: it arrives in several pieces."""


@asynccontextmanager
async def downloading(
    folder: Path,
    upstream: RunningUpstream,
    *,
    limit_bytes: int = 2_000_000,
    chunked: bool = False,
) -> AsyncIterator[tuple[Download, Store, threading.Event]]:
    """A download that stands in its middle until the event is set."""
    goes_on = threading.Event()
    headers = {"Content-Encoding": "x-none"} if chunked else {}  # so that no length is believed
    url = upstream.root + upstream.add_file(LARGE, ends_after=goes_on, headers=headers)
    store = make_store(folder / "store")
    offered = UpstreamFile(LARGE.filename, url, LARGE.sha256)
    (file,) = store_page(store, "pypi", canonicalize_name("demo"), UpstreamPage((offered,), etag="1"))
    reader = Upstream(upstream.url, timeout_seconds=10)
    download = Download(store, reader, file, limit_bytes=limit_bytes)
    try:
        yield download, store, goes_on
    finally:
        goes_on.set()
        await asyncio.wait({download.task})
        await reader.close()


async def test_download_that_nobody_follows_any_more_ends_and_leaves_nothing(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.server.mirror.downloads.LINGER_SECONDS", 0)
    monkeypatch.setattr("conveyor.server.mirror.downloads.NEARLY_DONE_BYTES", 1000)
    async with downloading(tmp_path, upstream) as (download, store, goes_on):
        with download.followed() as follower:
            first = await anext(follower.chunks())
        goes_on.set()
        with pytest.raises(UpstreamFailed, match="nobody waits"):
            await download.task
        assert not store.blobs.has(LARGE.sha256)
    assert LARGE.content.startswith(first)
    assert isinstance(download.error, UpstreamFailed)
    assert "nobody waits" in download.error.message
    assert list((tmp_path / "store" / "blobs" / "temporary").iterdir()) == []


@pytest.mark.parametrize("reason", ["LINGER_SECONDS", "NEARLY_DONE_BYTES"])
async def test_download_without_followers_goes_on_for_a_while_or_when_nearly_done(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    for name in {"LINGER_SECONDS", "NEARLY_DONE_BYTES"} - {reason}:
        monkeypatch.setattr(f"conveyor.server.mirror.downloads.{name}", 0)
    async with downloading(tmp_path, upstream) as (download, store, goes_on):
        with download.followed() as follower:
            await follower.begun()
        goes_on.set()
        await download.task
        assert store.blobs.has(LARGE.sha256)
    assert download.error is None


async def test_download_of_unknown_length_is_never_nearly_done(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.server.mirror.downloads.LINGER_SECONDS", 0)
    async with downloading(tmp_path, upstream, chunked=True) as (download, store, goes_on):
        with download.followed() as follower:
            await follower.begun()
            assert follower.size_bytes is None
        goes_on.set()
        with pytest.raises(UpstreamFailed, match="nobody waits"):
            await download.task
        assert not store.blobs.has(LARGE.sha256)


async def test_download_goes_on_for_those_who_stay(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.server.mirror.downloads.LINGER_SECONDS", 0)
    monkeypatch.setattr("conveyor.server.mirror.downloads.NEARLY_DONE_BYTES", 0)
    async with downloading(tmp_path, upstream) as (download, _, goes_on):
        with download.followed() as staying:
            with download.followed() as leaving:
                await leaving.begun()
                leaving.leave()
                assert [chunk async for chunk in leaving.chunks()] == []
            goes_on.set()
            received = b"".join([chunk async for chunk in staying.chunks()])
    assert received == LARGE.content


async def test_last_bytes_wait_until_the_file_is_stored(upstream: RunningUpstream, tmp_path: Path) -> None:
    async with downloading(tmp_path, upstream) as (download, store, goes_on):
        with download.followed() as whole, download.followed() as part:
            middle = part.chunks(1000, 2500)
            first = await anext(middle)
            assert not store.blobs.has(LARGE.sha256)
            assert LARGE.content[1000:2500].startswith(first)
            assert len(first) < 1500
            goes_on.set()
            rest = b"".join([chunk async for chunk in middle])
            assert store.blobs.has(LARGE.sha256)
            assert first + rest == LARGE.content[1000:2500]
            assert b"".join([chunk async for chunk in whole.chunks()]) == LARGE.content


@pytest.mark.parametrize("chunked", [True, False])
async def test_file_over_the_limit_ends_as_soon_as_that_is_known(
    upstream: RunningUpstream, tmp_path: Path, chunked: bool
) -> None:
    async with downloading(tmp_path, upstream, limit_bytes=400_000, chunked=chunked) as (
        download,
        store,
        _,
    ):
        with download.followed() as follower, pytest.raises(UpstreamFailed, match="at most 400,000"):
            await follower.stored()
        assert download.received_bytes <= 400_000
        assert not store.blobs.has(LARGE.sha256)


async def test_download_that_is_broken_off_tells_its_followers(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    async with downloading(tmp_path, upstream) as (download, _, goes_on):
        with download.followed() as follower:
            waiting = asyncio.create_task(follower.stored())
            await follower.begun()
            download.task.cancel()
            with pytest.raises(UpstreamFailed, match="broken off"):
                await waiting
        goes_on.set()
