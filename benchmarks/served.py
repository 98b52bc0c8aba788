"""Servers to measure: ours, and nginx as the yardstick for the same bytes on the same machine.

Both have ``WORKERS`` processes. nginx serves prepared files with ``sendfile``, without an access log, over
connections that stay open, and chooses between two forms of a page by ``Accept``, as an index has to.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from benchmarks.figures import machine
from benchmarks.load import CONNECTIONS, ROUNDS, program
from conveyor.domain.indexes.simple_api import JSON
from conveyor.domain.people.access import Identity, NewToken
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.people.tokens import create_token
from postgres_server import free_port
from running_stores import children_of, ready_url, serve_environment, start_serving, stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conveyor.settings import StoreSettings

WORKERS = 2
ADMINISTRATOR = Identity(name="admin", scopes=frozenset({"admin"}))
START_SECONDS = 60

_NGINX = """
user {user};
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  types {{
    text/html html;
    application/vnd.pypi.simple.v1+json json;
  }}
  default_type application/octet-stream;
  map $http_accept $page {{
    default page.html;
    "~application/vnd\\\\.pypi\\\\.simple\\\\.v1\\\\+json" page.json;
  }}
  server {{
    listen 127.0.0.1:{port};
    root {folder}/files;
    location /simple/ {{
      index $page;
      add_header Vary Accept;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    url: str
    """Its URL without a trailing slash."""
    process_ids: tuple[int, ...]
    """Its own process and those of its workers."""
    start_seconds: float
    """Seconds from its start to the line that says that it is ready."""

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        """One GET request that must succeed; header names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            answer = pool.request("GET", self.url + path, headers=named, decode_content=False)
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}: {answer.data[:200]!r}")
        return answer


def new_store(settings: StoreSettings) -> dict[str, str]:
    """Make an empty store; returns the header with a token of its administrator."""
    initialise_store(settings)
    store = open_store(settings)
    token = create_token(store, ADMINISTRATOR, NewToken(ADMINISTRATOR.name)).secret
    close_store(store)
    return urllib3.util.make_headers(basic_auth=f"__token__:{token}")


@contextmanager
def our_store(data: Path, *arguments: str, database_url: str | None = None) -> Iterator[Served]:
    """``conveyor store serve`` on a folder, with its defaults."""
    environment = serve_environment(PYTHONDONTWRITEBYTECODE="1")
    if database_url is not None:
        environment["CONVEYOR_DATABASE_URL"] = database_url
    began = time.perf_counter()
    process = start_serving(
        data, "--port", "0", "--workers", str(WORKERS), *arguments, environment=environment
    )
    try:
        url = ready_url(process)
        seconds = time.perf_counter() - began
        yield Served(url, (process.pid, *children_of(process)), seconds)
    finally:
        stop(process)


@contextmanager
def nginx(pages: Mapping[str, Mapping[str, bytes]], files: Mapping[str, bytes | Path]) -> Iterator[Served]:
    """Serve ``/simple/{project}/`` in several forms and ``/{name}`` for files, by nginx.

    Args:
        pages: project → ending (``html``, ``json``) → bytes.
        files: name → bytes, or a file to be linked.
    """
    folder = Path(tempfile.mkdtemp(prefix="conveyor-bench-nginx-"))
    folder.chmod(0o755)
    port = free_port()
    for project, forms in pages.items():
        (folder / "files/simple" / project).mkdir(parents=True)
        for ending, content in forms.items():
            (folder / "files/simple" / project / f"page.{ending}").write_bytes(content)
    (folder / "files").mkdir(exist_ok=True)
    for name, source in files.items():
        if isinstance(source, bytes):
            (folder / "files" / name).write_bytes(source)
        else:
            shutil.copyfile(source, folder / "files" / name)
    configuration = _NGINX.format(user=folder.owner(), workers=WORKERS, folder=folder, port=port)
    (folder / "nginx.conf").write_text(configuration)
    began = time.perf_counter()
    process = subprocess.Popen([program("nginx"), "-c", folder / "nginx.conf", "-p", folder])
    try:
        wait_for(port, process)
        yield Served(f"http://127.0.0.1:{port}", (process.pid,), time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the port accepts connections; raises OSError if the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def conditions() -> str:
    """The conditions of the measurement, for people who compare figures."""
    return (
        f"{WORKERS} workers each, wrk with {CONNECTIONS} connections, median of {ROUNDS} rounds in turn, "
        f"{machine()}"
    )


ACCEPT = {"html": "text/html", "json": JSON}
"""Ending → the header that asks for that form."""
