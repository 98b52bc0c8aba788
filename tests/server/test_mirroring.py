"""The mirror, read through the server's handlers, against a real upstream on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.catalog.events import events_since
from conveyor.domain.mirror import ABSENT_FOR, FRESH_FOR
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.operations.changes import read
from conveyor.operations.claims import claim_name
from distributions_made import Made, core_metadata, make_sdist, make_wheel, zip_of
from makers import make_store
from readers import ADMINISTRATOR, Answer, Reader, reading, upload
from upstreams import RunningUpstream, Served, file_entry, running_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
FIRST_SEEN = "_upload-time-is-first-seen"


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
    folder: Path, upstream: RunningUpstream, *, clock: Callable[[], datetime] | None = None, **more: Any
) -> AsyncIterator[Reader]:
    store = replace(make_store(folder / "store"), clock=clock or Clock())
    async with reading(store, upstream_url=upstream.url, **more) as reader:
        yield reader


def only_file(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer
    (file,) = answer.json["files"]
    assert isinstance(file, dict)
    return file


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=60))


# --- what a page says ------------------------------------------------------------------------------------


def test_page_of_an_html_upstream_without_sizes_and_times_has_both(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                answer = await reader.page("demo")
        file = only_file(answer)
        assert file["size"] == len(wheel.content)
        assert file["upload-time"] == "2026-11-21T08:00:00.000000Z"
        assert file[FIRST_SEEN] is True
        assert file["hashes"] == {"sha256": wheel.sha256}
        assert file["url"] == f"../../../packages/{wheel.sha256}/{wheel.filename}"
        assert file["core-metadata"] is True
        assert answer.json["versions"] == ["1.0"]
        assert answer.state["supplied_by"] == "pypi"

    run(scenario())


def test_first_seen_time_stays_when_the_page_is_fetched_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()])
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                before = only_file(await reader.page("demo"))
                clock.pass_by(FRESH_FOR)
                upstream.add_html("demo", [make_wheel()], attributes=' data-requires-python="&gt;=3.11"')
                after = only_file(await reader.page("demo"))
        assert after["requires-python"] == ">=3.11"
        assert after["upload-time"] == before["upload-time"]
        assert after[FIRST_SEEN] is True

    run(scenario())


def test_last_modified_of_the_file_is_the_upload_time_when_the_page_names_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            upstream.add_file(wheel, headers={"Last-Modified": "Tue, 02 Jun 2020 10:00:00 GMT"})
            async with mirroring(tmp_path, upstream) as reader:
                file = only_file(await reader.page("demo"))
        assert file["upload-time"] == "2020-06-02T10:00:00.000000Z"
        assert FIRST_SEEN not in file

    run(scenario())


def test_upload_time_in_html_that_no_standard_names_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()], attributes=' data-upload-time="2019-06-03T13:48:34.9Z"')
            async with mirroring(tmp_path, upstream) as reader:
                file = only_file(await reader.page("demo"))
        assert file["upload-time"] == "2019-06-03T13:48:34.900000Z"

    run(scenario())


def test_everything_that_a_json_upstream_says_is_passed_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            entry = file_entry(
                upstream,
                wheel,
                **{
                    "size": len(wheel.content),
                    "upload-time": "2024-05-06T07:08:09.123456Z",
                    "requires-python": ">=3.9,<4",
                    "yanked": 'broken & "late" <b>',
                    "core-metadata": {"sha256": "ab" * 32},
                },
            )
            upstream.add_json("demo", [entry])
            async with mirroring(tmp_path, upstream) as reader:
                answer = await reader.page("demo")
                html = await reader.get("/unstable/simple/demo/", accept="text/html")
            assert not [method for method, _, _ in upstream.requests if method == "HEAD"]
        file = only_file(answer)
        assert file["size"] == len(wheel.content)
        assert file["upload-time"] == "2024-05-06T07:08:09.123456Z"
        assert file["requires-python"] == ">=3.9,<4"
        assert file["yanked"] == 'broken & "late" <b>'
        assert file["core-metadata"] == {"sha256": "ab" * 32}
        assert b'data-yanked="broken &amp; &quot;late&quot; &lt;b&gt;"' in html.body

    run(scenario())


def test_file_that_upstream_no_longer_has_leaves_the_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        old, new = make_wheel(version="1.0"), make_wheel(version="2.0")
        with running_upstream() as upstream:
            upstream.add_html("demo", [old, new])
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                before = await reader.page("demo")
                clock.pass_by(FRESH_FOR)
                upstream.add_html("demo", [new])
                after = await reader.page("demo")
                gone = await reader.get(f"/packages/{old.sha256}/{old.filename}")
        assert before.json["versions"] == ["1.0", "2.0"]
        assert after.json["versions"] == ["2.0"]
        assert isinstance(gone.error, NotFound)

    run(scenario())


def test_file_server_without_head_leaves_sizes_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            upstream.add_file(wheel, takes_head=False)
            async with mirroring(tmp_path, upstream) as reader:
                file = only_file(await reader.page("demo"))
        assert "size" not in file

    run(scenario())


# --- when upstream is asked ------------------------------------------------------------------------------


def test_upstream_is_asked_once_for_many_clients(tmp_path: Path) -> None:
    async def scenario() -> None:
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()], delay_seconds=0.2)
            async with mirroring(tmp_path, upstream) as reader:
                answers = await asyncio.gather(*(reader.page("demo") for _ in range(10)))
                again = await reader.page("demo")
            assert upstream.asked("/simple/demo/") == 1
        assert {answer.status for answer in [*answers, again]} == {200}

    run(scenario())


def test_unchanged_page_with_etag_is_not_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()], headers={"ETag": '"one"'})
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                before = await reader.page("demo")
                clock.pass_by(FRESH_FOR)
                after = await reader.page("demo", if_none_match=before.headers["etag"])
            asked = [headers for _, path, headers in upstream.requests if path == "/simple/demo/"]
        assert [headers.get("if-none-match") for headers in asked] == [None, '"one"']
        assert (before.status, after.status) == (200, 304)

    run(scenario())


def test_project_that_upstream_has_not_is_asked_for_again_after_a_while(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        with running_upstream() as upstream:
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                first = await reader.page("demo")
                second = await reader.page("demo")
                assert upstream.asked("/simple/demo/") == 1
                upstream.add_html("demo", [make_wheel()])
                clock.pass_by(ABSENT_FOR)
                third = await reader.page("demo")
        assert isinstance(first.error, NotFound)
        assert isinstance(second.error, NotFound)
        assert third.status == 200

    run(scenario())


def test_older_page_is_shown_while_upstream_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()])
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                await reader.page("demo")
                clock.pass_by(FRESH_FOR)
                upstream.add_html("demo", [make_wheel()], status=500)
                stale = await reader.page("demo")
                await reader.page("demo")
                assert upstream.asked("/simple/demo/") == 2, "a failing upstream is left alone for a while"
                upstream.add_html("demo", [make_wheel(), make_wheel(version="2.0")])
                clock.pass_by(timedelta(seconds=31))
                fresh = await reader.page("demo")
        assert stale.json["versions"] == ["1.0"]
        assert fresh.json["versions"] == ["1.0", "2.0"]

    run(scenario())


def test_older_page_is_shown_while_upstream_is_slow_and_the_fresh_one_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.server.mirroring.STALE_AFTER_SECONDS", 0.05)

    async def scenario() -> None:
        clock = Clock()
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel()])
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                await reader.page("demo")
                clock.pass_by(FRESH_FOR)
                upstream.add_html("demo", [make_wheel(version="2.0")], delay_seconds=0.5)
                stale = await reader.page("demo")
                await asyncio.sleep(1.0)
                fresh = await reader.page("demo")
            assert upstream.asked("/simple/demo/") == 2
        assert stale.json["versions"] == ["1.0"]
        assert fresh.json["versions"] == ["2.0"]

    run(scenario())


@pytest.mark.parametrize(
    "served",
    [
        {"status": 500},
        {"delay_seconds": 3.0},
        {"body": b"<html><a href='/login'>log in</a></html>", "headers": {"Content-Type": "text/html"}},
        {"body": b"{", "headers": {"Content-Type": "application/vnd.pypi.simple.v1+json"}},
        {"body": b"half", "headers": {"Content-Type": "text/html", "Content-Length": "100"}},
    ],
    ids=["error", "timeout", "login form", "broken JSON", "cut off"],
)
def test_upstream_that_never_answered_rightly_is_an_error(tmp_path: Path, served: dict[str, Any]) -> None:
    async def scenario() -> None:
        with running_upstream() as upstream:
            upstream.paths["/simple/demo/"] = Served(**served)
            async with mirroring(tmp_path, upstream, timeout_seconds=0.5) as reader:
                answer = await reader.page("demo")
        assert isinstance(answer.error, UpstreamFailed)
        assert answer.status == 0

    run(scenario())


def test_redirect_of_a_page_is_followed_and_its_links_are_relative_to_where_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("deep", [wheel])
            upstream.paths["/elsewhere/index/deep/"] = upstream.paths.pop("/simple/deep/")
            upstream.paths["/elsewhere/files/" + upstream.add_file(wheel).removeprefix("/files/")] = Served(
                wheel.content
            )
            upstream.paths["/simple/deep/"] = Served(
                status=302, headers={"Location": "/elsewhere/index/deep/"}
            )
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("deep")
                file = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
            assert upstream.asked(f"/elsewhere/files/{wheel.sha256[:8]}/{wheel.filename}") == 1
        assert file.body == wheel.content

    run(scenario())


# --- own names -------------------------------------------------------------------------------------------


def test_claimed_name_never_asks_upstream(tmp_path: Path) -> None:
    async def scenario() -> None:
        own = make_wheel("demo", "1.0")
        with running_upstream() as upstream:
            upstream.add_html("demo", [make_wheel("demo", "99.0")])
            upstream.add_html("risk-score", [make_wheel("risk-score", "99.0")])
            async with mirroring(tmp_path, upstream) as reader:
                upload(reader.store, own)
                claim_name(reader.store, ADMINISTRATOR, "risk", is_prefix=True)
                page = await reader.page("demo")
                prefixed = await reader.page("risk-score")
            assert upstream.requests == []
        assert page.json["versions"] == ["1.0"]
        assert page.state["supplied_by"] == "unstable"
        assert isinstance(prefixed.error, NotFound)

    run(scenario())


def test_name_claimed_later_hides_what_was_mirrored_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel("risk-score", "1.0")
        with running_upstream() as upstream:
            upstream.add_html("risk-score", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                before = await reader.page("risk-score")
                claim_name(reader.store, ADMINISTRATOR, "risk", is_prefix=True)
                after = await reader.page("risk-score")
                file = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
        assert before.status == 200
        assert isinstance(after.error, NotFound)
        assert isinstance(file.error, NotFound)

    run(scenario())


# --- files -----------------------------------------------------------------------------------------------


def test_mirrored_file_is_fetched_once_and_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel(extra={"demo/data.bin": bytes(range(256)) * 4000}, compression=0)
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            path = upstream.add_file(wheel, pause_seconds=0.3)
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                url = f"/packages/{wheel.sha256}/{wheel.filename}"
                first, second = await asyncio.gather(reader.get(url), reader.get(url))
                third = await reader.get(url)
                part = await reader.get(url, range="bytes=-100")
            assert upstream.asked(path) == 1
        for answer in (first, second, third):
            assert (answer.status, answer.is_whole) == (200, True)
            assert answer.body == wheel.content
            assert answer.headers["content-length"] == str(len(wheel.content))
            assert answer.headers["etag"] == f'"{wheel.sha256}"'
            assert answer.state["supplied_by"] == "pypi"
        assert part.status == 206
        assert part.body == wheel.content[-100:]

    run(scenario())


def test_part_of_a_file_that_is_not_here_is_answered_when_the_whole_was_verified(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                part = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}", range="bytes=0-9")
                assert reader.store.blobs.has(wheel.sha256)
        assert (part.status, part.body) == (206, wheel.content[:10])

    run(scenario())


def test_head_of_a_file_that_is_not_here_says_what_get_would(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                url = f"/packages/{wheel.sha256}/{wheel.filename}"
                head = await reader.get(url, method="HEAD")
                get = await reader.get(url)
                later = await reader.get(url, method="HEAD")
        assert head.headers == get.headers == later.headers
        assert head.body == later.body == b""

    run(scenario())


@pytest.mark.parametrize("size_is_known", [True, False])
def test_other_bytes_than_the_page_names_are_cut_off_and_not_stored(
    tmp_path: Path, size_is_known: bool
) -> None:
    async def scenario() -> None:
        wheel = make_wheel(extra={"demo/data.bin": bytes(100_000)}, compression=0)
        damaged = wheel.content[:-1] + b"?"
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            path = upstream.add_file(wheel, takes_head=size_is_known)
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                upstream.paths[path] = Served(damaged)
                url = f"/packages/{wheel.sha256}/{wheel.filename}"
                bad = await reader.get(url)
                assert not reader.store.blobs.has(wheel.sha256)
                upstream.paths[path] = Served(wheel.content)
                good = await reader.get(url)
        assert isinstance(bad.error, UpstreamFailed)
        assert not bad.is_whole
        assert len(bad.body) < len(wheel.content), "a client must not take it for the whole file"
        assert good.body == wheel.content

    run(scenario())


@pytest.mark.parametrize("more", [b"", b"and more"], ids=["shorter", "longer"])
def test_file_of_another_length_is_refused(tmp_path: Path, more: bytes) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                path = upstream.add_file(wheel)
                upstream.paths[path] = Served(wheel.content[: -1 if not more else None] + more)
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
                assert not reader.store.blobs.has(wheel.sha256)
        assert isinstance(answer.error, UpstreamFailed)
        assert answer.status == 0

    run(scenario())


def test_short_file_with_other_bytes_is_an_error_and_no_broken_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                upstream.paths[upstream.add_file(wheel)] = Served(b"?" * len(wheel.content))
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
        assert isinstance(answer.error, UpstreamFailed)
        assert answer.status == 0, "nothing was sent before the error, which is answered instead"

    run(scenario())


def test_file_whose_server_breaks_off_is_cut_off_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel(extra={"demo/data.bin": bytes(100_000)}, compression=0)
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                path = upstream.add_file(wheel)
                length = {"Content-Length": str(len(wheel.content))}
                upstream.paths[path] = Served(wheel.content[:50_000], headers=length, pause_seconds=0.3)
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
        assert answer.status == 200
        assert isinstance(answer.error, UpstreamFailed)

    run(scenario())


# --- metadata --------------------------------------------------------------------------------------------


def test_metadata_is_read_out_of_the_wheel_by_parts(tmp_path: Path) -> None:
    async def scenario() -> None:
        metadata = core_metadata(requires=["numpy>=1.20"])
        padding = {f"demo/{number}.bin": bytes([number]) * 60_000 for number in range(20)}
        wheel = make_wheel(metadata=metadata, extra=padding, compression=0)
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                before = only_file(await reader.page("demo"))
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}.metadata")
                after = only_file(await reader.page("demo"))
                assert not reader.store.blobs.has(wheel.sha256), "the whole wheel was not needed"
            parts = [headers.get("range") for method, _, headers in upstream.requests if method == "GET"]
        assert answer.body == metadata
        assert before["core-metadata"] is True
        assert after["core-metadata"] == {"sha256": answer.headers["etag"].strip('"')}
        assert [part for part in parts if part] == [f"bytes=-{64 * 1024}"]

    run(scenario())


def test_metadata_at_the_begin_of_a_large_wheel_is_found_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        members = {"demo-1.0.dist-info/METADATA": core_metadata(description="long " * 20_000)}
        members |= {f"demo/{number}.py": bytes([number]) * 10_000 for number in range(30)}
        wheel = Made("demo-1.0-py3-none-any.whl", zip_of(members, compression=0))
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}.metadata")
        assert answer.body == members["demo-1.0.dist-info/METADATA"]

    run(scenario())


def test_metadata_comes_from_the_whole_wheel_when_there_are_no_parts(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            path = upstream.add_file(wheel, takes_ranges=False)
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                answer = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}.metadata")
                file = await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
            assert upstream.asked(path) == 2, "once for a part, once for the whole"
        assert b"Name: demo" in answer.body
        assert file.body == wheel.content

    run(scenario())


def test_metadata_that_upstream_has_is_taken_and_checked(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        metadata = core_metadata()
        with running_upstream() as upstream:
            digest = {"sha256": sha256(metadata).hexdigest()}
            entry = file_entry(upstream, wheel, **{"core-metadata": digest, "size": len(wheel.content)})
            upstream.add_json("demo", [entry])
            path = upstream.add_file(wheel) + ".metadata"
            upstream.paths[path] = Served(b"Name: evil\n")
            async with mirroring(tmp_path, upstream) as reader:
                page = only_file(await reader.page("demo"))
                url = f"/packages/{wheel.sha256}/{wheel.filename}.metadata"
                bad = await reader.get(url)
                upstream.paths[path] = Served(metadata)
                good = await reader.get(url)
        assert page["core-metadata"] == digest
        assert isinstance(bad.error, UpstreamFailed)
        assert good.body == metadata

    run(scenario())


def test_sdist_without_metadata_beside_it_advertises_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        sdist = make_sdist()
        with running_upstream() as upstream:
            upstream.add_html("demo", [sdist])
            async with mirroring(tmp_path, upstream) as reader:
                file = only_file(await reader.page("demo"))
                answer = await reader.get(f"/packages/{sdist.sha256}/{sdist.filename}.metadata")
        assert file["core-metadata"] is False
        assert isinstance(answer.error, NotFound)

    run(scenario())


def test_json_api_of_a_mirrored_project_describes_its_newest_final_release(tmp_path: Path) -> None:
    async def scenario() -> None:
        metadata = core_metadata(version="1.0", requires=["numpy"], fields=[("Summary", "a demo")])
        files = [make_wheel(version="1.0", metadata=metadata), make_wheel(version="2.0rc1")]
        with running_upstream() as upstream:
            upstream.add_html("demo", files)
            async with mirroring(tmp_path, upstream) as reader:
                answer = await reader.get("/unstable/pypi/demo/json", host="store.example")
                release = await reader.get("/unstable/pypi/demo/2.0RC1/json", host="store.example")
                missing = await reader.get("/unstable/pypi/demo/3.0/json")
        document = answer.json
        assert document["info"]["version"] == "1.0"
        assert document["info"]["summary"] == "a demo"
        assert document["info"]["requires_dist"] == ["numpy"]
        assert list(document["releases"]) == ["1.0", "2.0rc1"]
        assert (
            document["urls"][0]["url"]
            == f"http://store.example/packages/{files[0].sha256}/{files[0].filename}"
        )
        assert release.json["info"]["version"] == "2.0rc1"
        assert "releases" not in release.json
        assert isinstance(missing.error, NotFound)

    run(scenario())


def test_what_a_mirror_brings_stands_in_the_audit_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}.metadata")
                await reader.get(f"/packages/{wheel.sha256}/{wheel.filename}")
                with read(reader.store) as connection:
                    events = events_since(connection, 0)
        mirrored = [(event.action, event.index, event.project) for event in events if event.actor == "mirror"]
        assert mirrored == [
            ("mirror-page", "pypi", "demo"),
            ("mirror-sizes", "pypi", "demo"),
            ("mirror-metadata", "pypi", "demo"),
            ("mirror-file", "pypi", "demo"),
        ]

    run(scenario())
