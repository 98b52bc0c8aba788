"""The door to the store: the way out of a jail, held by the keeper.

Builds may have a second one, to the hosts that the policy names (``hosts``).

A Unix socket that speaks HTTP. It passes on reads of the simple pages of indexes and of files; it adds the
token, if there is one, which never enters the jail, and refuses all else. What a page lists decides the
store.

The jail's agent carries connections of its loopback here, so that pip and uv find an ordinary index at
``http://127.0.0.1:47301/INDEX/simple/``: neither speaks HTTP over a Unix socket.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError
from urllib3.util import Timeout

if TYPE_CHECKING:
    from types import TracebackType

CHUNK_BYTES = 256 * 1024
SILENCE_SECONDS = 60.0
MOST_CONNECTIONS = 64
"""At a time, of all jails of a run: each takes descriptors and a thread of the worker. Others wait."""
PATIENCE_SECONDS = 15.0
"""How long a store is waited for that takes no connections; it may be restarting."""
PAUSE_SECONDS = 0.25
_ASKED = (
    "Accept", "Accept-Encoding", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Range",
    "User-Agent",
)  # fmt: skip
_ANSWERED = (
    "Accept-Ranges", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type",
    "ETag", "Last-Modified", "Vary",
)  # fmt: skip
_SIMPLE = re.compile(r"/[^/]+(/[^/]+)?/simple/")
"""Of an index, or of a team's."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*\Z")


def is_open_to(target: str) -> bool:
    """Whether the door passes on a read of this path: simple pages, and files.

    A path that could mean another one to the store (dot segments, encoded slashes) is none of them.
    """
    path, _, query = target.partition("?")
    segments = path.split("/")[1:]
    if query or not _PLAIN_PATH.fullmatch(path) or any(one in {".", ".."} for one in segments):
        return False
    if re.search(r"%(2e|2f|5c|00)", path, re.IGNORECASE):
        return False
    if segments[0] == "packages":
        return len(segments) > 1
    return _SIMPLE.match(path) is not None


class Door:
    """An open door. Use ``with``; ``path`` is its socket."""

    def __init__(self, folder: Path, store_url: str, *, token: str | None = None) -> None:
        self.path = folder / "store.sock"
        self._store = store_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._pool = urllib3.PoolManager(
            timeout=Timeout(connect=10.0, read=SILENCE_SECONDS), maxsize=64, retries=False
        )

    def __enter__(self) -> Self:
        self._server = _Server(str(self.path), _Handler)
        self._server.door = self
        self._server.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()
        self._pool.clear()

    def ask(self, method: str, target: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse | None:
        """The store's answer; ``None`` if the door is not open to that path.

        A store that cannot be reached, because it is being restarted, is waited for.

        Raises:
            HTTPError: it has not answered in time.
        """
        if not is_open_to(target):
            return None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._pool.request(
                    method, self._store + target, headers=headers | self._headers, preload_content=False,
                    decode_content=False, redirect=False,
                )  # fmt: skip
            except (NewConnectionError, ProtocolError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)


class BoundedServer(ThreadingMixIn, UnixStreamServer):
    """A thread for each connection, and no more than so many."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, path: str, handler: type[BaseRequestHandler]) -> None:
        self._is_closing = False
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(path, handler)

    def begin(self) -> None:
        """Serve, on a thread of its own, until ``end``."""
        # Whoever sees the socket may use it: only the jails do that it is shown to.
        Path(str(self.server_address)).chmod(0o666)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def end(self) -> None:
        """Serve no more, and remove the socket."""
        self._is_closing = True
        self.shutdown()
        self.server_close()
        Path(str(self.server_address)).unlink(missing_ok=True)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the base class
        """Wait for a place; the next connections stay in the kernel's queue meanwhile."""
        while not self._places.acquire(timeout=0.05):
            if self._is_closing:
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Serve it, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """A jail that hangs up is no fault of the keeper's."""


class _Server(BoundedServer):
    door: Door


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS  # a place is not kept for who says nothing
    server_version = "conveyor-door"
    sys_version = ""
    wbufsize = CHUNK_BYTES

    def do_GET(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._say(400, "a read has no content")
            return
        asked = {name: self.headers[name] for name in _ASKED if name in self.headers}
        try:
            answer = cast("_Server", self.server).door.ask(self.command, self.path, asked)
        except HTTPError:
            self._say(502, "the store cannot be reached")
            return
        if answer is None:
            self._say(403, "a job reaches the simple pages of indexes and their files, and nothing else")
            return
        with suppress(HTTPError):
            self._answer(answer)
            return
        self.close_connection = True  # the content breaks off: the reader must see that

    def _answer(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.send_response(answer.status)
        for name in _ANSWERED:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        if "Location" in answer.headers:  # within the store: its host has another name in here
            where = urlsplit(answer.headers["Location"])
            self.send_header("Location", where.path + (f"?{where.query}" if where.query else ""))
        has_content = self.command != "HEAD" and answer.status not in {204, 304}
        is_chunked = has_content and "Content-Length" not in answer.headers
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if has_content:
            for piece in answer.stream(CHUNK_BYTES, decode_content=False):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                self.wfile.write(b"0\r\n\r\n")
        answer.release_conn()

    def _say(self, status: int, line: str) -> None:
        content = f"{line}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "the jail"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Nothing: the store keeps its own log."""
