"""Files by digest, asked for through the server's handler over a real store."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import MethodNotAllowed, NotFound, StorageFailed
from distributions_made import Made, core_metadata, make_sdist, make_wheel
from makers import make_store
from readers import Reader, reading, upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SMALL = make_wheel(metadata=core_metadata(requires=["numpy"]))
LARGE = make_wheel("large", extra={"large/data.bin": bytes(range(256)) * 10_000}, compression=0)


def url_of(made: Made) -> str:
    return f"/packages/{made.sha256}/{made.filename}"


@asynccontextmanager
async def with_files(folder: Path) -> AsyncIterator[Reader]:
    store = make_store(folder)
    upload(store, SMALL)
    upload(store, LARGE)
    async with reading(store) as reader:
        yield reader


@pytest.mark.parametrize("made", [SMALL, LARGE], ids=["from memory", "from disk"])
async def test_file_is_sent_whole_with_its_digest_as_etag(tmp_path: Path, made: Made) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(made), accept_encoding="gzip, zstd")
        head = await reader.get(url_of(made), method="HEAD")
        known = await reader.get(url_of(made), if_none_match=f'"{made.sha256}"')
    assert answer.body == made.content
    assert answer.headers == {
        "content-type": "application/zip",
        "content-length": str(len(made.content)),
        "etag": f'"{made.sha256}"',
        "cache-control": "public, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    assert answer.state["supplied_by"] == "unstable"
    assert (head.headers, head.body) == (answer.headers, b"")
    assert (known.status, known.body) == (304, b"")
    assert known.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("made", [SMALL, LARGE], ids=["from memory", "from disk"])
async def test_listed_file_whose_bytes_are_lost_is_a_failure_of_the_store(tmp_path: Path, made: Made) -> None:
    async with with_files(tmp_path) as reader:
        path = reader.store.blobs.path(made.sha256)
        assert path is not None
        path.unlink()
        answer = await reader.get(url_of(made))
    assert isinstance(answer.error, StorageFailed)
    assert f"the bytes of {made.filename} are lost" in answer.error.message
    assert "fsck --repair" in str(answer.error)


@pytest.mark.parametrize("made", [SMALL, LARGE], ids=["from memory", "from disk"])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 100), (7, 300), (None, 50), (100, None)])
async def test_part_of_a_file(tmp_path: Path, made: Made, start: int | None, end: int | None) -> None:
    size = len(made.content)
    if start is None:
        assert end is not None
        header, first, last = f"bytes=-{end}", size - end, size
    elif end is None:
        header, first, last = f"bytes={start}-", start, size
    else:
        header, first, last = f"bytes={start}-{end - 1}", start, end
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(made), range=header)
        head = await reader.get(url_of(made), range=header, method="HEAD")
    assert answer.status == 206
    assert answer.body == made.content[first:last]
    assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{size}"
    assert answer.headers["content-length"] == str(last - first)
    assert (head.status, head.headers, head.body) == (206, answer.headers, b"")


@pytest.mark.parametrize("made", [SMALL, LARGE], ids=["from memory", "from disk"])
async def test_several_parts_at_once(tmp_path: Path, made: Made) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(made), range="bytes=0-9,100-149,-20")
    assert answer.status == 206
    assert answer.headers["content-length"] == str(len(answer.body))
    found = re.fullmatch("multipart/byteranges; boundary=(.+)", answer.headers["content-type"])
    assert found is not None
    *parts, end = answer.body.split(f"\r\n--{found[1]}".encode())[1:]
    size = len(made.content)
    assert end == b"--\r\n"
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [
        made.content[:10],
        made.content[100:150],
        made.content[-20:],
    ]
    assert f"content-range: bytes 100-149/{size}".encode() in parts[1]
    assert b"content-type: application/zip" in parts[0]


async def test_rest_of_a_part_is_not_read_for_a_client_that_left(tmp_path: Path) -> None:
    gone = asyncio.Event()
    gone.set()
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(LARGE), gone=gone, range="bytes=1-")
    assert (answer.status, answer.is_whole) == (206, False)
    assert len(answer.body) < len(LARGE.content) / 2


async def test_part_beyond_the_end_is_416_with_the_size(tmp_path: Path) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(SMALL), range="bytes=100000000-")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(SMALL.content)}"


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        (f'"{SMALL.sha256}"', 206),
        ('"another"', 200),
        (f'W/"{SMALL.sha256}"', 200),
        ("Sat, 21 Nov 2026 08:00:00 GMT", 200),
    ],
)
async def test_part_is_sent_only_of_the_file_that_the_client_has(
    tmp_path: Path, if_range: str, status: int
) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(SMALL), range="bytes=0-9", if_range=if_range)
    assert answer.status == status


@pytest.mark.parametrize("header", ["lines=0-1", "bytes=5-2", "nonsense"])
async def test_range_that_makes_no_sense_is_ignored(tmp_path: Path, header: str) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(SMALL), range=header)
    assert (answer.status, answer.body) == (200, SMALL.content)


async def test_metadata_of_a_wheel_and_of_an_sdist_lies_beside_them(tmp_path: Path) -> None:
    sdist = make_sdist("large")
    async with with_files(tmp_path) as reader:
        upload(reader.store, sdist)
        page = await reader.page("demo")
        answer = await reader.get(url_of(SMALL) + ".metadata")
        part = await reader.get(url_of(SMALL) + ".metadata", range="bytes=0-3")
        of_sdist = await reader.get(url_of(sdist) + ".metadata")
    assert answer.body == core_metadata(requires=["numpy"])
    assert answer.headers["content-type"].startswith("text/plain")
    assert page.json["files"][0]["core-metadata"]["sha256"] == answer.headers["etag"].strip('"')
    assert part.body == answer.body[:4]
    assert b"Name: large" in of_sdist.body


@pytest.mark.parametrize(
    "path",
    [
        f"/packages/{'0' * 64}/{SMALL.filename}",
        f"/packages/{SMALL.sha256}/other-1.0-py3-none-any.whl",
        f"/packages/{SMALL.sha256}/",
        f"/packages/{SMALL.sha256}",
        f"/packages/{SMALL.sha256}/{SMALL.filename}/more",
        f"/packages/{SMALL.sha256}/{SMALL.filename}.provenance",
        f"/packages/{SMALL.sha256.upper()}/{SMALL.filename}",
        "/packages/../catalog.sqlite",
        "/packages/%2e%2e/%2e%2e",
    ],
)
async def test_what_no_index_holds_is_404(tmp_path: Path, path: str) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(path)
    assert isinstance(answer.error, NotFound)


async def test_file_can_only_be_read(tmp_path: Path) -> None:
    async with with_files(tmp_path) as reader:
        answer = await reader.get(url_of(SMALL), method="PUT")
    assert isinstance(answer.error, MethodNotAllowed)
    assert answer.error.allowed == ("GET", "HEAD")
