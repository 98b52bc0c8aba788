"""Files and functions of the real application that a request enters, counted while it is answered.

    python -m benchmarks.entered            the counts, and the files of each request with their functions

A request is sent once to warm every cache, then again (an upload with another version) while each call is
recorded. Nothing is timed, so that no figure depends on the machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import conveyor
from benchmarks.prepared_uploads import CONTENT_TYPE, make_uploads
from benchmarks.served import new_store
from conveyor.server.app import make_app
from makers import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from types import FrameType

    from starlette.types import Message

    from conveyor.server.logs import Application

PACKAGE = str(Path(conveyor.__file__).parent)
MOST_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """One request, as it reaches the application."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True)
class Entered:
    """The code that one request entered: file below the package → its functions."""

    what: str
    files: Mapping[str, frozenset[str]]

    @property
    def functions(self) -> int:
        """The number of functions that were called, in all files."""
        return sum(len(called) for called in self.files.values())


def entered_by_requests() -> list[Entered]:
    """An upload of 20 KB, a new token, and a page and a file read with a token, in that order."""
    with tempfile.TemporaryDirectory() as folder, _noting_calls() as notes:
        return asyncio.run(asyncio.wait_for(_play(Path(folder), notes), MOST_SECONDS))


class _Notes:
    """Notes the calls of all threads while ``current`` is a mapping."""

    def __init__(self) -> None:
        self.current: defaultdict[str, set[str]] | None = None

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        del argument
        noted = self.current
        if noted is not None and event == "call":
            code = frame.f_code
            if code.co_filename.startswith(PACKAGE) and code.co_name != "<module>":
                noted[code.co_filename[len(PACKAGE) + 1 :]].add(code.co_qualname)


@contextmanager
def _noting_calls() -> Iterator[_Notes]:
    notes = _Notes()
    threading.setprofile(notes)
    sys.setprofile(notes)
    try:
        yield notes
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def _play(folder: Path, notes: _Notes) -> list[Entered]:
    settings = make_settings(folder / "data")
    authorization = new_store(settings)["authorization"]
    first, second = make_uploads("demo", 2)
    upload = "/unstable/legacy/"
    token = json.dumps({"user": "admin", "scopes": ["read"]}).encode()
    pairs = {
        "an upload": (
            Request("POST", upload, first.body, CONTENT_TYPE),
            Request("POST", upload, second.body, CONTENT_TYPE),
        ),
        "a new token": (Request("POST", "/api/v1/tokens", token),) * 2,
        "a page": (Request("GET", "/unstable/simple/demo/"),) * 2,
        "a file": (Request("GET", f"/packages/{first.sha256}/{first.filename}"),) * 2,
    }
    found = []
    async with _living(make_app(settings)) as app:
        for what, (warming, noted) in pairs.items():
            await _send(app, warming, authorization)
            current: defaultdict[str, set[str]] = defaultdict(set)
            notes.current = current
            await _send(app, noted, authorization)
            notes.current = None
            files = {name: frozenset(called) for name, called in current.items()}
            found.append(Entered(what, files))
    return found


@asynccontextmanager
async def _living(app: Application) -> AsyncIterator[Application]:
    """Start the application, yield it, and stop it."""
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    if (await told.get())["type"] != "lifespan.startup.complete":
        raise RuntimeError("the application did not start")
    yield app
    await asked.put({"type": "lifespan.shutdown"})
    await life


async def _send(app: Application, request: Request, authorization: str) -> None:
    """Send one request, as a worker of the server does; raises RuntimeError if it does not succeed."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"authorization", authorization.encode()),
            (b"content-type", request.content_type.encode()),
            (b"content-length", str(len(request.body)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
        "state": {},
    }
    body: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]
    status = 0

    async def receive() -> Message:
        if not body:
            await asyncio.Event().wait()  # this client never leaves
        return body.pop()

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    if status not in (200, 201):
        raise RuntimeError(f"{request.method} {request.path} was answered {status}")


def main() -> None:
    """Show every file and function that was entered."""
    for entered in entered_by_requests():
        print(f"{entered.what}: {len(entered.files)} files, {entered.functions} functions")
        for name, called in sorted(entered.files.items()):
            print(f"  {name}: {', '.join(sorted(called))}")


if __name__ == "__main__":
    main()
