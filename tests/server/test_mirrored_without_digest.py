"""Files of which upstream names no SHA-256: another hash, or none. Read through the server's handlers."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import threading
import zipfile
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.indexes.mirror import FRESH_FOR
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.operations.store.store import newest_change
from distributions_made import core_metadata, make_sdist, make_wheel
from mirrors import mirroring, only_file, packages_path
from upstreams import Served, file_entry, running_upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from distributions_made import Made
    from mirrors import Clock
    from readers import Reader
    from upstreams import RunningUpstream

WHEEL = make_wheel(metadata=core_metadata(fields=[("Summary", "a demo")]))
LARGE = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 4000}, compression=0)
UNHASHED = f"/packages/unhashed/demo/{WHEEL.filename}"
IS_COMPUTED = "_sha256-is-computed-at-first-download"
HASHES: dict[str, Callable[[bytes], str]] = {
    "md5": lambda content: hashlib.md5(content).hexdigest(),  # noqa: S324 - what old indexes name
    "sha1": lambda content: hashlib.sha1(content).hexdigest(),  # noqa: S324 - what old indexes name
    "sha224": lambda content: hashlib.sha224(content).hexdigest(),
    "sha384": lambda content: hashlib.sha384(content).hexdigest(),
    "sha512": lambda content: hashlib.sha512(content).hexdigest(),
    "blake2b": lambda content: hashlib.blake2b(content).hexdigest(),
    "blake2b_256": lambda content: hashlib.blake2b(content, digest_size=32).hexdigest(),
}


def offer(upstream: RunningUpstream, made: Made, *others: dict[str, Any], **hashes: str) -> str:
    """A page with a file that has just these hashes; returns the path of the file."""
    upstream.add_json("demo", [{**file_entry(upstream, made), "hashes": hashes}, *others])
    return upstream.add_file(made)


@pytest.mark.parametrize("name", HASHES)
async def test_file_with_another_hash_is_listed_without_a_digest_until_its_first_download(
    upstream: RunningUpstream, mirror: Reader, name: str
) -> None:
    said = HASHES[name](WHEEL.content)
    offer(upstream, WHEEL, **{name: said.upper()})
    before = only_file(await mirror.page("demo"))
    html = await mirror.get("/unstable/simple/demo/", accept="text/html")
    address = f"/packages/{name}/{said}/{WHEEL.filename}"
    assert (before["url"], before["hashes"], before[IS_COMPUTED]) == (f"../../..{address}", {}, True)
    assert f'href="../../..{address}"'.encode() in html.body
    assert (await mirror.get(address)).body == WHEEL.content
    after = only_file(await mirror.page("demo"))
    assert (after["url"], after["hashes"]) == (
        f"../../..{packages_path(WHEEL)}",
        {"sha256": WHEEL.sha256},
    )
    assert IS_COMPUTED not in after
    for path in (address, packages_path(WHEEL)):
        again = await mirror.get(path)
        assert (again.body, again.headers["etag"]) == (WHEEL.content, f'"{WHEEL.sha256}"')
    assert upstream.asked(upstream.add_file(WHEEL)) == 1


@pytest.mark.parametrize("form", ["json", "html"])
async def test_file_without_any_hash_keeps_its_first_address(
    upstream: RunningUpstream, mirror: Reader, form: str
) -> None:
    path = offer(upstream, WHEEL)
    if form == "html":
        link = f'<a href="/?C=N">up</a><a href="../..{path}">{WHEEL.filename[:12]}..&gt;</a>'
        upstream.paths["/simple/demo/"] = Served(link.encode(), headers={"Content-Type": "text/html"})
    before = only_file(await mirror.page("demo"))
    first, second = await asyncio.gather(mirror.get(UNHASHED), mirror.get(UNHASHED))
    after = only_file(await mirror.page("demo"))
    assert (before["filename"], before["url"], before["hashes"]) == (
        WHEEL.filename,
        f"../../..{UNHASHED}",
        {},
    )
    assert first.body == second.body == (await mirror.get(UNHASHED)).body == WHEEL.content
    assert upstream.asked(path) == 1
    assert after["hashes"] == {"sha256": WHEEL.sha256}


async def test_bytes_that_are_not_those_of_the_named_hash_are_refused(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    said = HASHES["md5"](LARGE.content)
    path = offer(upstream, LARGE, md5=said)
    await mirror.page("demo")
    upstream.paths[path].body = LARGE.content[:-1] + b"?"
    address = f"/packages/md5/{said}/{LARGE.filename}"
    bad = await mirror.get(address)
    assert isinstance(bad.error, UpstreamFailed)
    assert f"its page says {said}" in bad.error.message
    assert not bad.is_whole
    assert len(bad.body) < len(LARGE.content)
    assert only_file(await mirror.page("demo"))["hashes"] == {}
    upstream.paths[path].body = LARGE.content
    assert (await mirror.get(address)).body == LARGE.content


@pytest.mark.parametrize(
    "made",
    [WHEEL, make_sdist(), replace(make_sdist(), filename="demo-1.0.tar.bz2")],
    ids=lambda made: made.filename.rpartition(".")[2],
)
@pytest.mark.parametrize("damage", ["cut", "error page", "empty"])
async def test_first_download_without_any_hash_must_be_a_whole_archive(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, made: Made, damage: str
) -> None:
    if made.filename.endswith("bz2"):
        made = replace(made, content=bz2.compress(gzip.decompress(made.content)))
    entry = {name: value for name, value in file_entry(upstream, made).items() if name != "size"}
    upstream.add_json("demo", [{**entry, "hashes": {}}])
    path = upstream.add_file(made)
    address = f"/packages/unhashed/demo/{made.filename}"
    bodies = {"cut": made.content[:-9], "error page": b"<title>Please sign in</title>", "empty": b""}
    upstream.paths[path].body = bodies[damage]
    await mirror.page("demo")
    bad = await mirror.get(address)
    assert isinstance(bad.error, UpstreamFailed)
    assert "which are not a whole archive" in bad.error.message
    assert not bad.is_whole
    upstream.paths[path].body = made.content
    clock.pass_by(FRESH_FOR)
    await mirror.page("demo")
    assert (await mirror.get(address)).body == made.content


def zipped() -> bytes:
    with BytesIO() as content:
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("demo-1.0/PKG-INFO", core_metadata())
        return content.getvalue()


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("demo-1.0.tar.gz", make_sdist().content + b"more than installers read"),
        ("demo-1.0.tar.gz", zipped()),
        ("demo-1.0.tar.gz", gzip.compress(bytes(80 * 1024 * 1024))),
        ("demo-1.0.win32.exe", b"MZ" + zipped()),
    ],
    ids=["more after its end", "a zip", "much of the same", "a program"],
)
async def test_first_download_without_any_hash_may_be_any_archive_that_installers_read(
    upstream: RunningUpstream, mirror: Reader, filename: str, content: bytes
) -> None:
    made = replace(make_sdist(), filename=filename, content=content)
    offer(upstream, made)
    await mirror.page("demo")
    assert (await mirror.get(f"/packages/unhashed/demo/{filename}")).body == content


async def test_error_page_is_not_a_program(upstream: RunningUpstream, mirror: Reader) -> None:
    made = replace(make_sdist(), filename="demo-1.0.win32.exe", content=b"<title>Please sign in</title>")
    offer(upstream, made)
    await mirror.page("demo")
    assert isinstance((await mirror.get(f"/packages/unhashed/demo/{made.filename}")).error, UpstreamFailed)


async def test_refused_first_download_changes_nothing_more_when_it_comes_again(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    path = offer(upstream, WHEEL)
    upstream.paths[path].body = b"<title>Please sign in</title>"
    await mirror.page("demo")
    await mirror.get(UNHASHED)  # forgets the size that the page said
    before = newest_change(mirror.store)
    for _ in range(3):
        assert isinstance((await mirror.get(UNHASHED)).error, UpstreamFailed)
    assert newest_change(mirror.store) == before


async def test_bytes_that_change_after_the_first_download_are_refused(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    path = offer(upstream, WHEEL)
    await mirror.page("demo")
    await mirror.get(UNHASHED)
    upstream.paths[path].body = make_wheel(extra={"demo/more.py": b""}).content
    clock.pass_by(FRESH_FOR)
    assert only_file(await mirror.page("demo"))["hashes"] == {"sha256": WHEEL.sha256}
    assert (await mirror.get(UNHASHED)).body == WHEEL.content
    # Forgotten by upstream, and named again: the address stands for what it stood for.
    upstream.add_json("demo", [])
    clock.pass_by(FRESH_FOR)
    await mirror.page("demo")
    assert isinstance((await mirror.get(UNHASHED)).error, NotFound)
    offer(upstream, WHEEL)
    upstream.paths[path].body = make_wheel(extra={"demo/more.py": b""}).content
    clock.pass_by(FRESH_FOR)
    assert only_file(await mirror.page("demo"))["hashes"] == {"sha256": WHEEL.sha256}
    refused = await mirror.get(UNHASHED)
    assert isinstance(refused.error, UpstreamFailed)
    assert "its first download had" in refused.error.message
    assert refused.error.hint


async def test_other_named_hash_is_another_file_at_another_address(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    new = make_wheel(extra={"demo/more.py": b""})
    md5 = HASHES["md5"]
    offer(upstream, WHEEL, md5=md5(WHEEL.content))
    await mirror.page("demo")
    old = f"/packages/md5/{md5(WHEEL.content)}/{WHEEL.filename}"
    assert (await mirror.get(old)).body == WHEEL.content
    offer(upstream, new, md5=md5(new.content))
    clock.pass_by(FRESH_FOR)
    file = only_file(await mirror.page("demo"))
    assert file["hashes"] == {}
    assert isinstance((await mirror.get(old)).error, NotFound)
    assert (await mirror.get(file["url"].removeprefix("../../.."))).body == new.content


@pytest.mark.parametrize("later", [None, "md5", "sha512"])
@pytest.mark.parametrize("first", ["sha256", "sha384"])
async def test_digest_that_is_known_stays_when_upstream_stops_naming_it(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, first: str, later: str | None
) -> None:
    new = make_wheel(extra={"demo/more.py": b""})
    said = WHEEL.sha256 if first == "sha256" else HASHES[first](WHEEL.content)
    path = offer(upstream, WHEEL, **{first: said})
    file = only_file(await mirror.page("demo"))
    assert (await mirror.get(file["url"].removeprefix("../../.."))).body == WHEEL.content
    offer(upstream, WHEEL, **({later: HASHES[later](new.content)} if later else {}))
    upstream.paths[path].body = new.content
    clock.pass_by(FRESH_FOR)
    assert only_file(await mirror.page("demo"))["hashes"] == {"sha256": WHEEL.sha256}
    assert (await mirror.get(packages_path(WHEEL))).body == WHEEL.content
    assert isinstance((await mirror.get(UNHASHED)).error, NotFound)


async def test_other_bytes_are_refused_when_upstream_stopped_naming_their_digest(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    path = offer(upstream, WHEEL, sha256=WHEEL.sha256)
    await mirror.page("demo")
    offer(upstream, WHEEL)
    upstream.paths[path].body = make_wheel(extra={"demo/more.py": b""}).content
    clock.pass_by(FRESH_FOR)
    await mirror.page("demo")
    refused = await mirror.get(packages_path(WHEEL))
    assert isinstance(refused.error, UpstreamFailed)
    assert WHEEL.sha256 in refused.error.message
    offer(upstream, WHEEL)
    assert (await mirror.get(packages_path(WHEEL))).body == WHEEL.content


async def test_first_address_works_on_when_upstream_begins_to_name_the_digest(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    path = offer(upstream, WHEEL)
    seen = only_file(await mirror.page("demo"))["upload-time"]
    await mirror.get(UNHASHED)
    offer(upstream, WHEEL, sha256=WHEEL.sha256)
    clock.pass_by(FRESH_FOR)
    file = only_file(await mirror.page("demo"))
    assert (file["hashes"], file["upload-time"]) == ({"sha256": WHEEL.sha256}, seen)
    assert (await mirror.get(UNHASHED)).body == WHEEL.content
    assert upstream.asked(path) == 1


async def test_page_may_be_mixed_and_hashes_that_cannot_be_right_cost_their_file(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    named, odd = make_wheel(version="2.0"), make_wheel(version="3.0")
    offer(
        upstream,
        WHEEL,
        file_entry(upstream, named),
        {**file_entry(upstream, odd), "hashes": {"sha256": "abc", "md5": "0" * 32}},
        {**file_entry(upstream, make_wheel(version="4.0")), "hashes": {"crc32": "00"}},
    )
    files = {file["filename"]: file["hashes"] for file in (await mirror.page("demo")).json["files"]}
    assert files == {
        WHEEL.filename: {},
        named.filename: {"sha256": named.sha256},
        "demo-4.0-py3-none-any.whl": {},
    }


async def test_head_and_ranges_before_and_after_the_first_download(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    path = offer(upstream, WHEEL)
    await mirror.page("demo")
    head = await mirror.get(UNHASHED, method="HEAD")
    assert upstream.asked(path) == 0
    part = await mirror.get(UNHASHED, range="bytes=0-9")
    resumed = await mirror.get(UNHASHED, range="bytes=10-", if_range=f'"{WHEEL.sha256}"')
    assert head.headers["content-length"] == str(len(WHEEL.content))
    assert "etag" not in head.headers
    assert "immutable" not in head.headers["cache-control"]
    assert (part.status, part.body) == (206, WHEEL.content[:10])
    assert (resumed.status, resumed.body) == (206, WHEEL.content[10:])


async def test_metadata_beside_it_is_read_out_of_the_bytes_that_count(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    path = offer(upstream, WHEEL)
    assert only_file(await mirror.page("demo"))["core-metadata"] is True
    metadata = await mirror.get(f"{UNHASHED}.metadata")
    file = only_file(await mirror.page("demo"))
    assert b"Summary: a demo" in metadata.body
    assert file["hashes"] == {"sha256": WHEEL.sha256}
    assert file["core-metadata"] == {"sha256": hashlib.sha256(metadata.body).hexdigest()}
    assert upstream.asked(path) == 1


async def test_json_api_describes_it(upstream: RunningUpstream, mirror: Reader) -> None:
    offer(upstream, WHEEL)
    first = await mirror.get("/unstable/pypi/demo/json", host="store.example")
    second = await mirror.get("/unstable/pypi/demo/json", host="store.example")
    assert first.json["info"]["summary"] == "a demo"
    assert first.json["urls"][0]["digests"] == {}
    assert first.json["urls"][0]["url"] == f"http://store.example{UNHASHED}"
    assert second.json["urls"][0]["digests"] == {"sha256": WHEEL.sha256}


async def test_sdist_without_a_hash_is_read_like_any_other(upstream: RunningUpstream, mirror: Reader) -> None:
    sdist = make_sdist()
    offer(upstream, sdist)
    await mirror.page("demo")
    assert (await mirror.get(f"/packages/unhashed/demo/{sdist.filename}")).body == sdist.content


@pytest.mark.parametrize(
    "path", ["/packages/unhashed/demo/other.whl", "/packages/md5/00/x.whl", "/packages/crc/0/x.whl"]
)
async def test_address_that_no_page_names_is_not_found(mirror: Reader, path: str) -> None:
    assert isinstance((await mirror.get(path)).error, NotFound)


async def test_of_two_processes_that_download_at_once_the_first_one_counts(tmp_path: Path) -> None:
    """Two servers of one store, and an upstream that hands each of them other bytes."""
    other = WHEEL.content[:-1] + b"?"
    with running_upstream() as upstream:
        path = offer(upstream, WHEEL)
        async with mirroring(tmp_path, upstream) as one:
            await one.page("demo")
            is_ready = threading.Event()
            upstream.paths[path] = Served(other, ends_after=is_ready)
            async with mirroring(tmp_path, upstream, store=one.store) as two:
                late = asyncio.create_task(two.get(UNHASHED))
                await asyncio.to_thread(upstream.wait_until_asked, path)
                upstream.paths[path] = Served(WHEEL.content)
                first = await one.get(UNHASHED)
                is_ready.set()
                refused = await late
    assert first.body == WHEEL.content
    assert isinstance(refused.error, UpstreamFailed)
    assert "its first download had" in refused.error.message
