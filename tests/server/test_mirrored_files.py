"""Files of a mirror, read through the server's handlers, against a real upstream on loopback."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import StorageFailed, StorageFull, UpstreamFailed
from conveyor.operations.care.repairs import repair_store
from disks import FullAfter
from distributions_made import make_wheel
from mirrors import mirroring, packages_path
from upstreams import Served

if TYPE_CHECKING:
    from pathlib import Path

    from readers import Reader
    from upstreams import RunningUpstream

LARGE = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 4000}, compression=0)
"""Of 1 MB: it arrives in several pieces."""


async def test_mirrored_file_is_fetched_once_and_kept(upstream: RunningUpstream, mirror: Reader) -> None:
    wheel = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 4000}, compression=0)
    upstream.add_html("demo", [wheel])
    is_ready = threading.Event()
    path = upstream.add_file(wheel, ends_after=is_ready)
    await mirror.page("demo")
    url = packages_path(wheel)
    asking = [asyncio.create_task(mirror.get(url)) for _ in range(2)]
    await asyncio.to_thread(upstream.wait_until_asked, path)
    is_ready.set()
    first, second = await asyncio.gather(*asking)
    third = await mirror.get(url)
    part = await mirror.get(url, range="bytes=-100")
    assert upstream.asked(path) == 1
    for answer in (first, second, third):
        assert (answer.status, answer.is_whole) == (200, True)
        assert answer.body == wheel.content
        assert answer.headers["content-length"] == str(len(wheel.content))
        assert answer.headers["etag"] == f'"{wheel.sha256}"'
        assert answer.state["supplied_by"] == "pypi"
    assert part.status == 206
    assert part.body == wheel.content[-100:]


async def test_mirrored_file_whose_bytes_are_lost_comes_again_after_a_repair(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    """It cannot be uploaded again, as one of the store's own can: a mirror accepts no uploads."""
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    upstream.add_file(wheel)
    await mirror.page("demo")
    await mirror.get(packages_path(wheel))
    lost = mirror.store.blobs.path(wheel.sha256)
    assert lost is not None
    lost.unlink()
    answer = await mirror.get(packages_path(wheel))
    assert isinstance(answer.error, StorageFailed)
    assert answer.error.hint == (
        "an administrator has it fetched again: conveyor store fsck --repair --data DIR"
    )
    assert repair_store(mirror.store, grace_seconds=3600, threads=1).remaining == []
    assert (await mirror.get(packages_path(wheel))).body == wheel.content


async def test_part_of_a_file_that_is_not_here_is_answered_when_the_whole_was_verified(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    part = await mirror.get(packages_path(wheel), range="bytes=0-9")
    assert mirror.store.blobs.has(wheel.sha256)
    assert (part.status, part.body) == (206, wheel.content[:10])


async def test_head_of_a_file_that_is_not_here_says_what_get_would(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    url = packages_path(wheel)
    head = await mirror.get(url, method="HEAD")
    get = await mirror.get(url)
    later = await mirror.get(url, method="HEAD")
    assert head.headers == get.headers == later.headers
    assert head.body == later.body == b""


@pytest.mark.parametrize("size_is_known", [True, False])
async def test_other_bytes_than_the_page_names_are_cut_off_and_not_stored(
    upstream: RunningUpstream, mirror: Reader, size_is_known: bool
) -> None:
    wheel = make_wheel(extra={"demo/data.bin": bytes(100_000)}, compression=0)
    damaged = wheel.content[:-1] + b"?"
    upstream.add_html("demo", [wheel])
    path = upstream.add_file(wheel, takes_head=size_is_known)
    await mirror.page("demo")
    upstream.paths[path] = Served(damaged)
    url = packages_path(wheel)
    bad = await mirror.get(url)
    assert not mirror.store.blobs.has(wheel.sha256)
    upstream.paths[path] = Served(wheel.content)
    good = await mirror.get(url)
    assert isinstance(bad.error, UpstreamFailed)
    assert not bad.is_whole
    assert len(bad.body) < len(wheel.content), "a client must not take it for the whole file"
    assert good.body == wheel.content


@pytest.mark.parametrize("more", [b"", b"and more"], ids=["shorter", "longer"])
async def test_file_of_another_length_is_refused(
    upstream: RunningUpstream, mirror: Reader, more: bytes
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    path = upstream.add_file(wheel)
    upstream.paths[path] = Served(wheel.content[: -1 if not more else None] + more)
    answer = await mirror.get(packages_path(wheel))
    assert not mirror.store.blobs.has(wheel.sha256)
    assert isinstance(answer.error, UpstreamFailed)
    assert answer.status == 0


async def test_short_file_with_other_bytes_is_an_error_and_no_broken_answer(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    upstream.paths[upstream.add_file(wheel)] = Served(b"?" * len(wheel.content))
    answer = await mirror.get(packages_path(wheel))
    assert isinstance(answer.error, UpstreamFailed)
    assert answer.status == 0, "nothing was sent before the error, which is answered instead"


async def test_file_whose_server_breaks_off_is_cut_off_too(upstream: RunningUpstream, mirror: Reader) -> None:
    wheel = make_wheel(extra={"demo/data.bin": bytes(100_000)}, compression=0)
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    path = upstream.add_file(wheel)
    length = {"Content-Length": str(len(wheel.content))}
    breaks_off, began = threading.Event(), asyncio.Event()
    upstream.paths[path] = Served(wheel.content[:50_000], headers=length, ends_after=breaks_off)
    asking = asyncio.create_task(mirror.get(packages_path(wheel), began=began))
    await began.wait()
    breaks_off.set()
    answer = await asking
    assert answer.status == 200
    assert isinstance(answer.error, UpstreamFailed)


async def test_head_of_a_file_that_is_not_here_fetches_nothing(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    path = upstream.add_file(wheel)
    await mirror.page("demo")
    whole = await mirror.get(packages_path(wheel), method="HEAD")
    part = await mirror.get(packages_path(wheel), method="HEAD", range="bytes=0-9")
    assert not mirror.store.blobs.has(wheel.sha256)
    assert upstream.asked(path) == 0
    assert (whole.status, whole.headers["content-length"]) == (200, str(len(wheel.content)))
    assert (part.status, part.body) == (200, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=100-299999", 100, 300_000), ("bytes=900000-", 900_000, None), ("bytes=-500", -500, None)],
)
async def test_one_range_of_a_file_that_is_not_here_is_sent_while_the_file_is_received(
    upstream: RunningUpstream, mirror: Reader, asked: str, start: int, end: int | None
) -> None:
    upstream.add_html("demo", [LARGE])
    await mirror.page("demo")
    part = await mirror.get(packages_path(LARGE), range=asked)
    stored = await mirror.get(packages_path(LARGE), range=asked)
    assert (part.status, part.is_whole, part.body) == (206, True, LARGE.content[start:end])
    assert part.headers == stored.headers
    assert part.body == stored.body


async def test_range_of_a_file_that_turns_out_wrong_is_cut_off_before_its_end(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    upstream.add_html("demo", [LARGE])
    path = upstream.add_file(LARGE)
    await mirror.page("demo")
    upstream.paths[path] = Served(LARGE.content[:-1] + b"?")
    part = await mirror.get(packages_path(LARGE), range="bytes=0-99999")
    assert isinstance(part.error, UpstreamFailed)
    assert len(part.body) < 100_000


@pytest.mark.parametrize("asked", ["bytes=0-9,20-29", "bytes=9999999-", "lines=1-2"])
async def test_other_ranges_are_answered_when_the_file_is_here(
    upstream: RunningUpstream, mirror: Reader, asked: str
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    first = await mirror.get(packages_path(wheel), range=asked)
    second = await mirror.get(packages_path(wheel), range=asked)
    assert first.status == second.status
    assert first.status in (200, 206, 416)


async def test_client_that_leaves_is_not_sent_the_rest(upstream: RunningUpstream, mirror: Reader) -> None:
    goes_on, began, gone = threading.Event(), asyncio.Event(), asyncio.Event()
    upstream.add_html("demo", [LARGE])
    upstream.add_file(LARGE, ends_after=goes_on)
    await mirror.page("demo")
    asking = asyncio.create_task(mirror.get(packages_path(LARGE), began=began, gone=gone))
    await began.wait()
    gone.set()
    answer = await asking
    assert not answer.is_whole
    assert answer.error is None


async def test_file_over_the_limit_of_the_store_is_not_fetched(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    upstream.add_html("demo", [LARGE])
    path = upstream.add_file(LARGE)
    async with mirroring(tmp_path, upstream, file_limit_bytes=1_000_000) as reader:
        await reader.page("demo")
        answer = await reader.get(packages_path(LARGE))
    assert upstream.asked(path) == 0
    assert isinstance(answer.error, UpstreamFailed)
    assert "at most 1,000,000" in answer.error.message
    assert answer.status == 0


@pytest.mark.parametrize("free_bytes", [0, 500_000])
async def test_full_disk_is_an_error_and_nothing_is_visible(
    upstream: RunningUpstream, tmp_path: Path, free_bytes: int
) -> None:
    """At once it is answered as one; in the middle the answer is broken off."""
    upstream.add_html("demo", [LARGE])
    async with mirroring(tmp_path, upstream, blobs=FullAfter(tmp_path / "blobs", free_bytes)) as reader:
        await reader.page("demo")
        answer = await reader.get(packages_path(LARGE))
        assert not reader.store.blobs.has(LARGE.sha256)
        head = await reader.get(packages_path(LARGE), method="HEAD")
    assert isinstance(answer.error, StorageFull)
    assert answer.status == (200 if free_bytes else 0)
    assert not answer.is_whole
    assert head.status == 200, "upstream still has it"
    assert list((tmp_path / "blobs" / "temporary").iterdir()) == []


SIGNED = "?X-Signature=a%2Fb%2Bc%3D&by=ada%40example.org&empty=&plain=a/b@c=~"


@pytest.mark.parametrize("is_redirected", [False, True], ids=["by the page", "by a redirect"])
async def test_signed_addresses_are_asked_for_to_the_letter(
    upstream: RunningUpstream, mirror: Reader, is_redirected: bool
) -> None:
    wheel = make_wheel()
    signed = f"/files/%7Esigned/a%2Fb/../{wheel.filename}{SIGNED}"
    upstream.paths[signed] = Served(wheel.content)
    link = upstream.root + signed
    if is_redirected:
        upstream.paths["/begin/" + wheel.filename] = Served(status=302, headers={"Location": link})
        link = f"{upstream.root}/begin/{wheel.filename}"
    upstream.add_json("demo", [{"filename": wheel.filename, "url": link, "hashes": {"sha256": wheel.sha256}}])
    await mirror.page("demo")
    assert upstream.asked(signed, "HEAD") == 1  # for its size, which the page does not say
    answer = await mirror.get(packages_path(wheel))
    assert (answer.status, answer.body) == (200, wheel.content)
    assert upstream.asked(signed) >= 1
