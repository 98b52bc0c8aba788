"""What is asked of another index, and what is made of its answers."""

from __future__ import annotations

import gzip
import threading
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from conveyor.domain.indexes.mirror import Unchanged, UpstreamFile, UpstreamPage
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.upstream import Upstream
from distributions_made import make_wheel
from mirrors import mirrored_file
from upstreams import Served, file_entry, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conveyor.domain.indexes.mirror import MirroredFile
    from upstreams import RunningUpstream

DEMO = canonicalize_name("demo")
WHEEL = make_wheel()


def mirrored(url: str) -> MirroredFile:
    return mirrored_file(WHEEL, url)


async def page_of(upstream: Upstream) -> tuple[UpstreamFile, ...]:
    try:
        page = await upstream.fetch_page(DEMO)
    finally:
        await upstream.close()
    assert isinstance(page, UpstreamPage)
    return page.files


async def test_credentials_go_to_the_index_and_not_to_the_host_of_its_files() -> None:
    with running_upstream() as index, running_upstream() as files:
        elsewhere = files.url.removesuffix("/simple/") + files.add_file(WHEEL)
        link = f'<a href="{elsewhere}#sha256={WHEEL.sha256}">{WHEEL.filename}</a>'
        index.paths["/simple/demo/"] = Served(link.encode(), headers={"Content-Type": "text/html"})
        upstream = Upstream(index.url.replace("http://", "http://user:s3cret%40@"))
        page = await upstream.fetch_page(DEMO)
        assert isinstance(page, UpstreamPage)
        (file,) = page.files
        await upstream.file_facts(mirrored(file.url))
        await upstream.close()
    sent = index.requests[0][2]["authorization"]
    assert sent == "Basic " + b64encode(b"user:s3cret@").decode()
    assert "authorization" not in files.requests[0][2]
    assert "s3cret" not in file.url


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    with running_upstream() as index, running_upstream() as other:
        other.add_html("demo", [WHEEL])
        index.paths["/simple/demo/"] = Served(status=302, headers={"Location": other.url + "demo/"})
        files = await page_of(Upstream(index.url.replace("http://", "http://user:s3cret@")))
    assert files[0].url.startswith(other.url.removesuffix("/simple/"))
    assert "authorization" not in other.requests[0][2]


async def test_relative_links_keep_no_credentials_but_are_asked_for_with_them(index: RunningUpstream) -> None:
    index.add_html("demo", [WHEEL])
    upstream = Upstream(index.url.replace("http://", "http://user:s3cret@"))
    page = await upstream.fetch_page(DEMO)
    assert isinstance(page, UpstreamPage)
    assert "s3cret" not in page.files[0].url
    await upstream.file_facts(mirrored(page.files[0].url))
    await upstream.close()
    assert all("authorization" in headers for _, _, headers in index.requests)


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_failures_name_no_credentials(index: RunningUpstream, status: int) -> None:
    index.paths["/simple/demo/"] = Served(status=status)
    upstream = Upstream(index.url.replace("http://", "http://user:s3cret@"))
    with pytest.raises(UpstreamFailed) as failed:
        await page_of(upstream)
    assert str(status) in str(failed.value)
    assert "s3cret" not in str(failed.value)


async def test_everything_is_asked_for_through_the_proxy() -> None:
    with running_upstream() as proxy:
        link = f'<a href="/files/{WHEEL.filename}#sha256={WHEEL.sha256}">{WHEEL.filename}</a>'
        served = Served(link.encode(), headers={"Content-Type": "text/html"})
        proxy.paths["http://index.invalid/simple/demo/"] = served
        proxy.paths[f"http://index.invalid/files/{WHEEL.filename}"] = Served(WHEEL.content)
        upstream = Upstream("http://index.invalid/simple/", proxy=proxy.url.removesuffix("/simple/"))
        page = await upstream.fetch_page(DEMO)
        assert isinstance(page, UpstreamPage)
        facts = await upstream.file_facts(mirrored(page.files[0].url))
        await upstream.close()
    assert facts.size_bytes == len(WHEEL.content)


async def test_nobody_listening_is_a_failure_of_upstream() -> None:
    with pytest.raises(UpstreamFailed, match="cannot be fetched"):
        await page_of(Upstream("http://127.0.0.1:9/simple/"))


async def test_missing_file_of_certificates_is_a_failure_of_upstream(tmp_path: Path) -> None:
    with pytest.raises(UpstreamFailed):
        await page_of(Upstream("https://127.0.0.1:9/simple/", cert=str(tmp_path / "none.pem")))


async def test_page_that_is_sent_compressed_is_read(index: RunningUpstream) -> None:
    index.add_html("demo", [WHEEL])
    served = index.paths["/simple/demo/"]
    served.body = gzip.compress(served.body)
    served.headers["Content-Encoding"] = "gzip"
    files = await page_of(Upstream(index.url))
    assert [file.filename for file in files] == [WHEEL.filename]


GZIPPED = gzip.compress(b"<html>", mtime=0) + gzip.compress(b"", mtime=0)
"""Two members: some servers pack what they send piece by piece."""


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", GZIPPED[:-1], "not packed as it says, or was cut off"),
        ("gzip", b"<html>", "not packed as it says"),
        ("gzip", GZIPPED + b"more", "not packed as it says"),
        ("gzip", gzip.compress(bytes(2000), mtime=0), "more than 1,000 bytes"),
        ("gzip", gzip.compress(b"", mtime=0) * 100, "more than 1,000 bytes"),
        ("identity", bytes(1001), "more than 1,000 bytes"),
        ("br", b"", 'packed as "br"'),
    ],
    ids=["cut-off", "not-packed", "goes-on", "large", "empty-members", "large-as-sent", "another-coding"],
)
async def test_page_that_is_not_packed_as_it_says_or_too_large_is_refused(
    index: RunningUpstream, coding: str, body: bytes, message: str
) -> None:
    headers = {"Content-Type": "text/html", "Content-Encoding": coding}
    index.paths["/simple/demo/"] = Served(body, headers=headers)
    with pytest.raises(UpstreamFailed, match=message) as failed:
        await page_of(Upstream(index.url, page_limit_bytes=1000))
    assert failed.value.hint


async def test_page_that_is_packed_in_several_members_is_read(index: RunningUpstream) -> None:
    index.paths["/simple/demo/"] = Served(
        GZIPPED, headers={"Content-Type": "text/html", "Content-Encoding": "x-gzip"}
    )
    assert await page_of(Upstream(index.url)) == ()


async def test_page_that_trickles_is_given_up_after_the_time_that_is_named(index: RunningUpstream) -> None:
    is_over = threading.Event()

    def drops() -> Iterator[bytes]:
        while not is_over.wait(0.01):
            yield b" "

    index.paths["/simple/demo/"] = Served(headers={"Content-Type": "text/html"}, endless=drops)
    with pytest.raises(UpstreamFailed, match=r"did not come whole within 0\.8 seconds"):
        await page_of(Upstream(index.url, timeout_seconds=0.2))
    is_over.set()


async def test_silent_upstream_is_given_up_after_the_time_that_is_named(index: RunningUpstream) -> None:
    index.paths["/simple/demo/"] = Served(begins_after=threading.Event())
    with pytest.raises(UpstreamFailed, match=r"silent for 0\.2 seconds"):
        await page_of(Upstream(index.url, timeout_seconds=0.2))
    index.let_go()


async def test_file_that_is_labelled_as_compressed_is_taken_as_it_is(index: RunningUpstream) -> None:
    """Some servers send sdists with Content-Encoding; the digest is that of the bytes that were uploaded."""
    path = index.add_file(WHEEL, headers={"Content-Encoding": "gzip"})
    upstream = Upstream(index.url)
    file = mirrored(index.url.removesuffix("/simple/") + path)
    async with upstream.open_file(file) as body:
        received = b"".join([chunk async for chunk in body.chunks])
    await upstream.close()
    assert received == WHEEL.content
    assert body.size_bytes is None


async def test_entries_that_cannot_be_served_by_digest_are_left_out(index: RunningUpstream) -> None:
    good = file_entry(index, WHEEL)
    index.add_json(
        "demo",
        [
            good,
            {**good, "filename": "md5-1.0.tar.gz", "hashes": {"md5": "00"}},
            {**good, "filename": "../evil-1.0.tar.gz"},
            {**good, "filename": "ftp-1.0.tar.gz", "url": "ftp://127.0.0.1/x"},
            {**good, "filename": "short-1.0.tar.gz", "hashes": {"sha256": "abc"}},
        ],
    )
    files = await page_of(Upstream(index.url))
    assert [file.filename for file in files] == [WHEEL.filename]


@pytest.mark.parametrize("size", [-5, 2**63, 10**30])
async def test_size_that_no_file_has_counts_as_none(index: RunningUpstream, size: int) -> None:
    index.add_json("demo", [file_entry(index, WHEEL, size=size)])
    (file,) = await page_of(Upstream(index.url))
    assert file.size_bytes is None


async def test_text_that_a_database_cannot_hold_is_replaced_and_such_a_url_left_out(
    index: RunningUpstream,
) -> None:
    told = file_entry(index, WHEEL, yanked="bro\0ken \ud800")
    other = file_entry(index, make_wheel("demo", "2.0")) | {"url": "http://127.0.0.1/\0"}
    index.add_json("demo", [told, other], headers={"ETag": '"\xff"'})
    upstream = Upstream(index.url)
    page = await upstream.fetch_page(DEMO)
    assert isinstance(page, UpstreamPage)
    assert [file.yank_reason for file in page.files] == ["bro?ken ?"]
    assert isinstance(await upstream.fetch_page(DEMO, etag=page.etag), Unchanged)
    await upstream.close()
    assert page.etag.encode().startswith(b"body:")


async def test_time_that_no_calendar_has_leaves_the_size_known(index: RunningUpstream) -> None:
    path = index.add_file(WHEEL, headers={"Last-Modified": "Fri, 31 Dec 9999 23:59:59 -1400"})
    upstream = Upstream(index.url)
    facts = await upstream.file_facts(mirrored(index.url.removesuffix("/simple/") + path))
    await upstream.close()
    assert (facts.size_bytes, facts.last_modified) == (len(WHEEL.content), None)


async def test_host_whose_name_is_none_is_a_failure_of_upstream() -> None:
    reader = Upstream("http://127.0.0.1:9/simple/")
    with pytest.raises(UpstreamFailed, match="cannot be fetched"):
        await reader.file_facts(mirrored(f"http://{'a' * 70}.x/{WHEEL.filename}"))
    await reader.close()


async def test_empty_project_is_a_project(index: RunningUpstream) -> None:
    index.add_html("demo", [])
    assert await page_of(Upstream(index.url)) == ()


async def test_page_without_an_etag_is_recognised_by_its_bytes(index: RunningUpstream) -> None:
    index.add_html("demo", [WHEEL])
    upstream = Upstream(index.url)
    page = await upstream.fetch_page(DEMO)
    assert isinstance(page, UpstreamPage)
    assert isinstance(await upstream.fetch_page(DEMO, etag=page.etag), Unchanged)
    await upstream.close()
    assert all("if-none-match" not in headers for _, _, headers in index.requests)


@pytest.mark.parametrize("status", [404, 410])
async def test_what_upstream_has_not_is_none_or_not_found(index: RunningUpstream, status: int) -> None:
    for path in ("/simple/demo/", "/gone", "/gone.metadata"):
        index.paths[path] = Served(status=status)
    upstream = Upstream(index.url)
    file = mirrored(index.url.removesuffix("/simple/") + "/gone")
    assert await upstream.fetch_page(DEMO) is None
    assert not await upstream.has_project(DEMO)
    with pytest.raises(NotFound):
        await upstream.fetch_metadata(file)
    with pytest.raises(NotFound):
        async with upstream.open_file(file):
            raise AssertionError("there is no file")
    await upstream.close()
