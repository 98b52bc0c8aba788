"""A real upstream for tests: an HTTP server on loopback that serves pages and files as a test says.

Nothing here sleeps: an answer that is to be late waits for an event that the test sets, and a test that wants
to know that something was asked for waits for just that.
"""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from distributions_made import Made


@dataclass
class Served:
    """What is answered at one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    begins_after: threading.Event | None = None
    """Waited for before the answer begins."""
    ends_after: threading.Event | None = None
    """Waited for in the middle of the body."""
    takes_ranges: bool = True
    takes_head: bool = True
    endless: Callable[[], Iterator[bytes]] | None = None
    """Pieces that follow the body until the client has had enough; there is no length then."""


@dataclass
class RunningUpstream:
    """An upstream that answers."""

    url: str
    """Of its simple index, with a slash at the end."""
    cert: str | None = None
    """File of the certificate that its clients have to trust, when it speaks TLS."""
    paths: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path, headers with lower case names) of every request, in order."""
    _news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def root(self) -> str:
        """Of the whole server, without a slash at the end."""
        return self.url.removesuffix("/simple/")

    def add_file(self, made: Made, **served: Any) -> str:
        """Serve a file; returns its path."""
        path = f"/files/{made.sha256[:8]}/{made.filename}"
        self.paths[path] = Served(made.content, **served)
        return path

    def add_html(
        self, project: str, made: Sequence[Made], *, attributes: str = "", head: str = "", **served: Any
    ) -> None:
        """A page in HTML without sizes, times and metadata, as old indexes have it; its files too."""
        links = [
            f'<a href="../..{self.add_file(each)}#sha256={each.sha256}"{attributes}>{each.filename}</a><br/>'
            for each in made
        ]
        body = f"<!DOCTYPE html><html><head>{head}</head><body>\n" + "\n".join(links) + "\n</body></html>\n"
        headers = {"Content-Type": "text/html", **served.pop("headers", {})}
        self.paths[f"/simple/{project}/"] = Served(body.encode(), headers=headers, **served)

    def add_json(
        self,
        project: str,
        files: Sequence[Mapping[str, Any]],
        *,
        version: str = "1.1",
        more: Mapping[str, Any] | None = None,
        **served: Any,
    ) -> None:
        """A page in JSON with what the test gives; ``more`` stands beside the files."""
        meta = {"api-version": version}
        body = {"meta": meta, "name": project, "versions": [], "files": list(files), **(more or {})}
        headers = {"Content-Type": "application/vnd.pypi.simple.v1+json", **served.pop("headers", {})}
        self.paths[f"/simple/{project}/"] = Served(json.dumps(body).encode(), headers=headers, **served)

    def asked(self, path: str, method: str = "GET") -> int:
        """How often a path was asked for."""
        return sum(1 for seen_method, seen, _ in self.requests if (seen_method, seen) == (method, path))

    def note(self, method: str, path: str, headers: dict[str, str]) -> None:
        """Remember a request."""
        with self._news:
            self.requests.append((method, path, headers))
            self._news.notify_all()

    def wait_until_asked(self, path: str, method: str = "GET", *, times: int = 1) -> None:
        """Return when a path was asked for so often; blocks its thread."""
        with self._news:
            assert self._news.wait_for(lambda: self.asked(path, method) >= times, timeout=30), path

    def let_go(self) -> None:
        """Let every answer end that waits for something."""
        for served in list(self.paths.values()):
            for event in (served.begins_after, served.ends_after):
                if event is not None:
                    event.set()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection as the upstream's ``paths`` say."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        served, headers = self._served()
        if served.endless is not None:
            self._send_without_end(served, served.endless())
            return
        body, status, more = served.body, served.status, dict(served.headers)
        if more.get("ETag") and headers.get("if-none-match") == more["ETag"]:
            body, status = b"", 304
        elif (
            "range" in headers
            and served.takes_ranges
            and status == 200
            and headers.get("if-range", more.get("ETag")) == more.get("ETag")
        ):
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(body) - int(last))
            end = min(len(body), int(last) + 1) if first and last else len(body)
            more["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
            body, status = body[start:end], 206
        self._send_head(status, more, len(body))
        half = len(body) // 2
        self.wfile.write(body[:half])
        if served.ends_after is not None:
            self.wfile.flush()
            served.ends_after.wait(timeout=30)
        self.wfile.write(body[half:])
        if int(more.get("Content-Length", len(body))) != len(body):
            self.close_connection = True

    def _send_without_end(self, served: Served, pieces: Iterator[bytes]) -> None:
        self.close_connection = True
        self.send_response(served.status)
        for name, value in {"Connection": "close", **served.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(served.body)
        for piece in pieces:
            self.wfile.write(piece)

    def do_HEAD(self) -> None:
        served, _ = self._served()
        status = served.status if served.takes_head else 405
        self._send_head(status, served.headers, len(served.body))

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):  # the store broke off, as some tests want
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def _served(self) -> tuple[Served, dict[str, str]]:
        assert isinstance(self.server, _Server)
        upstream = self.server.upstream
        headers = {name.lower(): value for name, value in self.headers.items()}
        upstream.note(self.command, self.path, headers)
        served = upstream.paths.get(self.path, Served(status=404))
        if served.begins_after is not None:
            served.begins_after.wait(timeout=30)
        return served, headers

    def _send_head(self, status: int, headers: Mapping[str, str], size_bytes: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(size_bytes), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    upstream: RunningUpstream


@contextmanager
def running_upstream(*, tls_folder: Path | None = None) -> Iterator[RunningUpstream]:
    """An upstream on a free port of loopback; with TLS when there is a folder for its certificate."""
    server = _Server(("127.0.0.1", 0), _Handler)
    scheme, cert = "http", None
    if tls_folder is not None:
        cert, key = make_certificate(tls_folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    upstream = RunningUpstream(f"{scheme}://127.0.0.1:{server.server_address[1]}/simple/", cert=cert)
    server.upstream = upstream
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield upstream
    finally:
        upstream.let_go()
        server.shutdown()
        thread.join()
        server.server_close()


def file_entry(upstream: RunningUpstream, made: Made, **more: Any) -> dict[str, Any]:
    """An entry of a JSON page for a file, which is served too."""
    url = f"../..{upstream.add_file(made)}"
    return {"filename": made.filename, "url": url, "hashes": {"sha256": made.sha256}, **more}
