from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import ConveyorError, NotFound
from conveyor.operations.care.initialisation import initialise_store
from conveyor.server.app import App, _route
from conveyor.server.http.messages import NO_BODY, Reply
from conveyor.server.logs import AccessLog
from makers import make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def request(path: str, method: str = "GET") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
        "scheme": "http",
    }


async def answers(app: ASGIApp, scope: Scope) -> list[Message]:
    """The messages that an application sends for a request without a body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "kind", "index", "rest"),
    [
        ("/unstable/simple/", "simple", "unstable", ""),
        ("/unstable/simple", "simple", "unstable", None),
        ("/unstable/simple/demo/", "simple", "unstable", "demo/"),
        ("/risk/stable/simple/demo/", "simple", "risk/stable", "demo/"),
        ("/unstable/simple/simple/", "simple", "unstable", "simple/"),
        ("/unstable/legacy/", "legacy", "unstable", ""),
        ("/pypi/simple/demo/", "simple", "pypi", "demo/"),
        ("/pypi/pypi/demo/json", "pypi", "pypi", "demo/json"),
        ("/stable/pypi/demo/1.0/json", "pypi", "stable", "demo/1.0/json"),
        ("/risk/stable/pypi/demo/1.0/json", "pypi", "risk/stable", "demo/1.0/json"),
        ("/packages/00/demo.whl", "packages", None, None),
        ("/packages/simple/simple", "packages", None, None),
        ("/packages/00/\0", "nothing", None, None),
        ("/api/v1/workers/\0", "nothing", None, None),
        ("/api/v1/simple/x", "api", None, None),
        ("/", "front", None, None),
        ("/healthz", "healthz", None, None),
        ("/healthz/", "nothing", None, None),
        ("/a/b/c/simple/", "nothing", None, None),
        ("/simple/", "nothing", None, None),
        ("//simple/demo/", "simple", "", "demo/"),
        ("", "nothing", None, None),
    ],
)
def test_path_is_answered_by(path: str, kind: str, index: str | None, rest: str | None) -> None:
    scope = request(path)
    assert _route(scope) == kind
    assert (scope.get("index"), scope.get("rest")) == (index, rest)


class Room:
    """A handler that does what a test says."""

    def __init__(self, error: Exception, *, after: int = 0) -> None:
        self._error = error
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in (
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"ab", "more_body": True},
        )[: self._after]:
            await send(message)
        raise self._error


def app_with(tmp_path: Path, **rooms: ASGIApp) -> App:
    app = App(make_settings(tmp_path))
    app._handlers = dict(rooms)
    return app


def test_error_of_a_handler_is_a_problem(tmp_path: Path) -> None:
    app = app_with(tmp_path, simple=Room(NotFound("no demo here")))
    start, body = asyncio.run(answers(app, request("/unstable/simple/demo/")))
    assert start["status"] == 404
    assert json.loads(body["body"])["detail"] == "no demo here"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE"])
def test_pages_of_the_store_itself_answer_reading_only(tmp_path: Path, path: str, method: str) -> None:
    start, _ = asyncio.run(answers(app_with(tmp_path), request(path, method)))
    assert (start["status"], dict(start["headers"])[b"allow"]) == (405, b"GET, HEAD")


def test_upload_clients_get_plain_text(tmp_path: Path) -> None:
    app = app_with(tmp_path, legacy=Room(NotFound("no such index")))
    start, body = asyncio.run(answers(app, request("/nowhere/legacy/", "POST")))
    assert (start["status"], body["body"]) == (404, b"no such index\n")


@pytest.mark.parametrize("path", ["/", "/unstable/", "/legacy/", "/unstable/demo"])
def test_upload_to_another_path_is_told_in_plain_text_where_uploads_go(tmp_path: Path, path: str) -> None:
    start, body = asyncio.run(answers(app_with(tmp_path), request(path, "POST")))
    assert start["status"] in (404, 405)
    assert body["body"].endswith(b"\nhint: uploads go to /INDEX/legacy/, such as /unstable/legacy/\n")


def test_error_after_the_answer_began_breaks_it_off(tmp_path: Path) -> None:
    """A client must not take half a file for a whole one."""
    app = app_with(tmp_path, packages=Room(ConveyorError("gone"), after=2))
    with pytest.raises(ConveyorError, match="gone"):
        asyncio.run(answers(app, request("/packages/x/y")))


def test_access_log_has_its_line_when_the_client_or_the_store_broke_off(tmp_path: Path) -> None:
    app = app_with(tmp_path, packages=Room(ConveyorError("gone"), after=2))
    logging = AccessLog(app, tmp_path / "access.log")
    scope = request("/packages/x/y\n{}")
    scope["state"] = {"supplied_by": "stable", "user": "ann"}
    with pytest.raises(ConveyorError):
        asyncio.run(answers(logging, scope))
    logging.close()
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    logged = json.loads(line)
    assert (logged["status"], logged["bytes"]) == (200, 2)
    assert (logged["supplied_by"], logged["user"]) == ("stable", "ann")
    assert logged["path"] == "/packages/x/y\n{}"


def test_file_that_the_server_sends_itself_is_counted_by_its_length(tmp_path: Path) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"12345")]}
    body = {"type": "http.response.pathsend", "path": "/somewhere"}

    class SendsPath:
        def at_once(self, scope: Scope) -> Reply:
            return Reply(start, NO_BODY if scope["method"] == "HEAD" else body, "stable")

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send(start)
            await send(body)

    logging = AccessLog(SendsPath(), tmp_path / "access.log")
    asyncio.run(answers(logging, request("/packages/x/y")))
    asyncio.run(answers(logging, request("/packages/x/y", "HEAD")))
    logging.at_once(request("/packages/x/y"))
    logging.at_once(request("/packages/x/y", "HEAD"))
    logging.close()
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["bytes"] for line in lines] == [12345, 0, 12345, 0]
    assert [line["supplied_by"] for line in lines] == [None, None, "stable", "stable"]


def test_process_whose_store_cannot_be_opened_says_so_and_does_not_serve(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    initialise_store(settings)
    (tmp_path / "catalog.sqlite").write_bytes(b"no database" * 100)
    app = App(settings)
    (failed,) = asyncio.run(answers(app, {"type": "lifespan"}))
    assert failed["type"] == "lifespan.startup.failed"
    assert "catalogue" in failed["message"]
