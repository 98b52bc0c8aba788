"""When a mirror asks its upstream, how often, and what it answers meanwhile."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name
from sqlalchemy import func, select

from conveyor.catalog.database.tables import mirrored_projects
from conveyor.domain.indexes.mirror import ABSENT_FOR, FRESH_FOR
from conveyor.errors import NotFound, UpstreamBusy, UpstreamFailed
from conveyor.operations.indexes.pages import DueMirror
from conveyor.operations.store.store import read
from conveyor.server.http.problems import problem
from conveyor.server.mirror.mirroring import MOST_PAUSES
from distributions_made import make_wheel
from mirrors import mirroring
from upstreams import Served

if TYPE_CHECKING:
    from pathlib import Path

    from mirrors import Clock
    from readers import Reader
    from upstreams import RunningUpstream


def projects_remembered(reader: Reader) -> int:
    """Rows that a store has written about projects of mirrors."""
    with read(reader.store) as connection:
        return connection.scalar(select(func.count()).select_from(mirrored_projects)) or 0


async def test_upstream_is_asked_once_for_many_clients(upstream: RunningUpstream, mirror: Reader) -> None:
    is_ready = threading.Event()
    upstream.add_html("demo", [make_wheel()], begins_after=is_ready)
    asking = [asyncio.create_task(mirror.page("demo")) for _ in range(10)]
    await asyncio.to_thread(upstream.wait_until_asked, "/simple/demo/")
    is_ready.set()
    answers = await asyncio.gather(*asking)
    again = await mirror.page("demo")
    assert upstream.asked("/simple/demo/") == 1
    assert {answer.status for answer in [*answers, again]} == {200}


async def test_unchanged_page_with_etag_is_not_sent_again(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    upstream.add_html("demo", [make_wheel()], headers={"ETag": '"one"'})
    before = await mirror.page("demo")
    clock.pass_by(FRESH_FOR)
    after = await mirror.page("demo", if_none_match=before.headers["etag"])
    asked = [headers for _, path, headers in upstream.requests if path == "/simple/demo/"]
    assert [headers.get("if-none-match") for headers in asked] == [None, '"one"']
    assert (before.status, after.status) == (200, 304)


async def test_project_that_upstream_has_not_is_asked_for_again_after_a_while(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    first = await mirror.page("demo")
    second = await mirror.page("demo")
    assert upstream.asked("/simple/demo/") == 1
    upstream.add_html("demo", [make_wheel()])
    clock.pass_by(ABSENT_FOR)
    third = await mirror.page("demo")
    assert isinstance(first.error, NotFound)
    assert isinstance(second.error, NotFound)
    assert third.status == 200


async def test_older_page_is_shown_while_upstream_fails(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    upstream.add_html("demo", [make_wheel()])
    await mirror.page("demo")
    clock.pass_by(FRESH_FOR)
    upstream.add_html("demo", [make_wheel()], status=500)
    stale = await mirror.page("demo")
    await mirror.page("demo")
    assert upstream.asked("/simple/demo/") == 2, "a failing upstream is left alone for a while"
    upstream.add_html("demo", [make_wheel(), make_wheel(version="2.0")])
    clock.pass_by(timedelta(seconds=31))
    fresh = await mirror.page("demo")
    assert stale.json["versions"] == ["1.0"]
    assert fresh.json["versions"] == ["1.0", "2.0"]


async def test_older_page_is_shown_while_upstream_is_slow_and_the_fresh_one_follows(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conveyor.server.mirror.mirroring.STALE_AFTER_SECONDS", 0.05)
    upstream.add_html("demo", [make_wheel()])
    await mirror.page("demo")
    clock.pass_by(FRESH_FOR)
    is_ready = threading.Event()
    upstream.add_html("demo", [make_wheel(version="2.0")], begins_after=is_ready)
    stale = await mirror.page("demo")
    is_ready.set()
    monkeypatch.setattr("conveyor.server.mirror.mirroring.STALE_AFTER_SECONDS", 30)
    fresh = await mirror.page("demo")
    assert upstream.asked("/simple/demo/") == 2
    assert stale.json["versions"] == ["1.0"]
    assert fresh.json["versions"] == ["2.0"]


@pytest.mark.parametrize(
    "served",
    [
        {"status": 500},
        {"begins_after": threading.Event()},
        {"begins_after": None, "body": b"half", "ends_after": threading.Event()},
        {"body": b"<html><a href='/login'>log in</a></html>", "headers": {"Content-Type": "text/html"}},
        {"body": b"{", "headers": {"Content-Type": "application/vnd.pypi.simple.v1+json"}},
        {"body": b"half", "headers": {"Content-Type": "text/html", "Content-Length": "100"}},
    ],
    ids=["error", "silence", "silence in the middle", "login form", "broken JSON", "cut off"],
)
async def test_upstream_that_never_answered_rightly_is_an_error(
    upstream: RunningUpstream, tmp_path: Path, served: dict[str, Any]
) -> None:
    upstream.paths["/simple/demo/"] = Served(**served)
    async with mirroring(tmp_path, upstream, timeout_seconds=0.5) as reader:
        answer = await reader.page("demo")
    assert isinstance(answer.error, UpstreamFailed)
    assert answer.status == 0


async def test_client_that_leaves_does_not_stop_what_others_wait_for(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    is_ready = threading.Event()
    upstream.add_html("demo", [make_wheel()], begins_after=is_ready)
    leaving = asyncio.create_task(mirror.page("demo"))
    staying = asyncio.create_task(mirror.page("demo"))
    await asyncio.to_thread(upstream.wait_until_asked, "/simple/demo/")
    leaving.cancel()
    is_ready.set()
    answer = await staying
    assert upstream.asked("/simple/demo/") == 1
    assert answer.status == 200


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (410, NotFound), (401, UpstreamFailed), (403, UpstreamFailed)]
)
async def test_only_what_upstream_has_not_is_answered_as_not_here(
    upstream: RunningUpstream, mirror: Reader, status: int, error: type[Exception]
) -> None:
    """Uv goes on to its next index after 404 and stops at 403: neither may be made of the other."""
    upstream.paths["/simple/demo/"] = Served(status=status)
    answer = await mirror.page("demo")
    assert type(answer.error) is error


async def test_project_that_upstream_dropped_is_not_here_and_may_come_back(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    upstream.add_html("demo", [make_wheel()])
    first = await mirror.page("demo")
    page = upstream.paths.pop("/simple/demo/")
    clock.pass_by(FRESH_FOR)
    second = await mirror.page("demo")
    upstream.paths["/simple/demo/"] = page
    third = await mirror.page("demo")
    clock.pass_by(ABSENT_FOR)
    fourth = await mirror.page("demo")
    assert [answer.status for answer in (first, second, third, fourth)] == [200, 0, 0, 200]
    assert isinstance(second.error, NotFound)
    assert isinstance(third.error, NotFound)


@pytest.mark.parametrize("status", [429, 503])
async def test_upstream_that_wants_to_be_left_alone_is_left_alone_by_all_projects(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, status: int
) -> None:
    upstream.add_html("known", [make_wheel("known")])
    upstream.add_html("other", [make_wheel("other")])
    upstream.paths["/simple/demo/"] = Served(status=status, headers={"Retry-After": "120"})
    await mirror.page("known")
    clock.pass_by(FRESH_FOR)
    refused = await mirror.page("demo")
    other = await mirror.page("other")
    stale = await mirror.page("known")
    assert upstream.asked("/simple/other/") == 0
    assert upstream.asked("/simple/known/") == 1
    clock.pass_by(timedelta(seconds=121))
    later = await mirror.page("other")
    assert isinstance(refused.error, UpstreamBusy)
    assert isinstance(other.error, UpstreamBusy)
    assert (stale.status, later.status) == (200, 200)
    answered, headers, _ = problem(other.error, store_url="http://127.0.0.1/")
    assert answered == 503
    assert (b"retry-after", b"120") in headers


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({}, 30),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "86400"}, 600),
        ({"Retry-After": "soon"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1),
    ],
)
async def test_time_to_leave_upstream_alone_is_bounded(
    upstream: RunningUpstream, mirror: Reader, header: dict[str, str], seconds: int
) -> None:
    upstream.paths["/simple/demo/"] = Served(status=429, headers=header)
    answer = await mirror.page("demo")
    assert isinstance(answer.error, UpstreamBusy)
    assert answer.error.retry_after_seconds == seconds


async def test_ten_thousand_names_that_upstream_has_not_leave_no_row_and_bounded_memory(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    """Anybody may ask for any name; each is asked of upstream once while it is remembered."""
    names = [canonicalize_name(f"no-such-{number}") for number in range(MOST_PAUSES + 1)]
    for start in range(0, len(names), 50):
        some = names[start : start + 50]
        await asyncio.gather(*(mirror.mirroring.freshen(name, DueMirror("pypi", None)) for name in some))
    again = await mirror.page(names[-1])
    assert isinstance(again.error, NotFound)
    assert projects_remembered(mirror) == 0
    forgotten = [
        number for number, name in enumerate(names) if mirror.mirroring.paused_until("pypi", name) is None
    ]
    assert len(upstream.requests) == len(names)
    assert len(forgotten) == 1
    assert forgotten[0] < 50, "the oldest are forgotten first"


@pytest.mark.parametrize("body", [b"<a>" * 400_001, b"<!--" + b" " * 2_000_000], ids=["tags", "comment"])
async def test_page_in_the_store_stays_as_it_was_when_the_next_one_has_no_end(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, body: bytes
) -> None:
    upstream.add_html("demo", [make_wheel()])
    before = await mirror.page("demo")
    upstream.paths["/simple/demo/"] = Served(body, headers={"Content-Type": "text/html"})
    clock.pass_by(FRESH_FOR)
    after = await mirror.page("demo")
    assert upstream.asked("/simple/demo/") == 2
    assert after.json == before.json
