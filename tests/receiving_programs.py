"""Programs that are told of changes: real servers on loopback that note what they are posted."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 60


@dataclass
class Program:
    """A server and what it was posted."""

    url: str = ""
    posted: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """(path, headers with names in lower case, body) of each request."""
    answers: dict[str, int] = field(default_factory=dict)
    """Path → status; others are answered with 204."""
    silent: set[str] = field(default_factory=set)
    """Paths that are not answered before ``released``."""
    released: threading.Event = field(default_factory=threading.Event)
    handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler
    """What answers, for a server of another kind."""

    def told(self, path: str = "/") -> list[dict[str, Any]]:
        """The messages that were posted to a path."""
        return [json.loads(body) for place, _, body in self.posted if place == path]

    def types(self, path: str = "/") -> list[str]:
        return [one["type"] for one in self.told(path)]

    def wait_for(self, count: int, path: str = "/") -> list[dict[str, Any]]:
        """The messages once there are so many."""
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self.told(path)) < count:
            assert time.monotonic() < end, f"{len(self.told(path))} of {count} messages came"
            time.sleep(0.02)
        return self.told(path)


@contextmanager
def running_program() -> Iterator[Program]:
    """Such a server on a free port, by plain http."""
    program = Program()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            program.posted.append((self.path, headers, body))
            if self.path in program.silent:
                program.released.wait(PATIENCE_SECONDS)
            self.send_response(program.answers.get(self.path, 204))
            if 300 <= program.answers.get(self.path, 204) < 400:
                self.send_header("Location", f"{program.url}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The test looks at ``posted``."""

    program.handler = Handler
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    program.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield program
    finally:
        program.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
