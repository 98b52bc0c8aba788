"""The two logs of a server, one JSON line each: its errors, and every request.

The server's own log goes to standard error; standard output is reserved for the one line that says where the
store is served. A line of the access log is appended in one write, so that lines of processes never mix. Its
fields: ``time`` (when the answer ended), ``method``, ``path`` (with its query), ``status``, ``bytes`` (of the
body sent), ``agent`` (the client's User-Agent), ``supplied_by`` (the index that the page or file came from)
and ``user``; the last three can be ``null``. Handlers note the last two in ``scope["state"]``.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from conveyor.blobs.folders import storage_errors
from conveyor.domain.words.notation import utc_text
from conveyor.server.http.messages import NO_BODY
from conveyor.server.receiving import AnswersAtOnce

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

    from conveyor.server.http.messages import Reply


def configure_logs() -> None:
    """Make every structlog logger of this process write JSON lines to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class Application(AnswersAtOnce, Protocol):
    """The application whose requests are logged."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the lifespan of the process."""


class AccessLog:
    """An ASGI application around another one, which writes a line when the inner one has answered."""

    def __init__(self, application: Application, path: Path) -> None:
        self._application = application
        self._file = _open(path)

    @staticmethod
    def check(path: Path) -> None:
        """Make the file if it does not exist; raises StorageFailed if it cannot be written."""
        os.close(_open(path))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def at_once(self, scope: Scope) -> Reply | None:
        """The inner application's reply, after writing its line."""
        reply = self._application.at_once(scope)
        if reply is not None:
            size_bytes = _announced_length(reply.start) if reply.body is not NO_BODY else 0
            self._write(scope, reply.start["status"], size_bytes, supplied_by=reply.supplied_by, user=None)
        return reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then write the line, even if the client went away in the middle."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        seen = _Seen(send)
        try:
            await self._application(scope, receive, seen.send)
        finally:
            state = scope.get("state") or {}
            self._write(
                scope,
                seen.status,
                0 if scope["method"] == "HEAD" else seen.size_bytes,
                supplied_by=state.get("supplied_by"),
                user=state.get("user"),
            )

    def _write(
        self, scope: Scope, status: int | None, size_bytes: int, *, supplied_by: str | None, user: str | None
    ) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), None)
        fields = {
            "time": utc_text(datetime.now(UTC)),
            "method": scope["method"],
            "path": f"{scope['path']}?{query}" if query else scope["path"],
            "status": status,
            "bytes": size_bytes,
            "agent": agent.decode("latin-1") if agent else None,
            "supplied_by": supplied_by,
            "user": user,
        }
        line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with suppress(OSError):  # a full disk must not turn an answer that was given into a failure
            os.write(self._file, line)


def _open(path: Path) -> int:
    with storage_errors(f"the access log {path} cannot be written"):
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


class _Seen:
    """The part of an answer that has been sent: its status and the size of its body."""

    __slots__ = ("_send", "length", "size_bytes", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.length = 0
        self.size_bytes = 0

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            self.size_bytes += len(message.get("body", b""))
        elif kind == "http.response.start":
            self.status = message["status"]
            self.length = _announced_length(message)
        elif kind == "http.response.pathsend":  # the server sends the file itself; its size was announced
            self.size_bytes += self.length
        await self._send(message)


def _announced_length(start: Message) -> int:
    """The value of ``Content-Length``; 0 if it is missing."""
    return next((int(value) for name, value in start.get("headers", ()) if name == b"content-length"), 0)
