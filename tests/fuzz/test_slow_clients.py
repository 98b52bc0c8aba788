"""Clients that stop in the middle, trickle, go away, or read nothing: they cost little and stop nobody."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributions_made import make_wheel
from fuzz.sockets import (
    ADMIN,
    FORM,
    Reply,
    connected,
    exchange,
    form_part,
    received,
    request_head,
    upload_head,
)
from running_stores import RunningStore, children_of, running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAUSE_SECONDS = 1
LONG_ENOUGH_SECONDS = 30
"""For anything that must happen soon."""
SLOW_READERS = 200
IDLE_CONNECTIONS = 1_100
"""More than the server would accept by itself, with a backlog of 1024."""
BYTES_OF_A_SLOW_READER = 2 * 1024 * 1024
LARGE_BYTES = 24 * 1024 * 1024
"""More than the sockets of both sides keep."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    environment = serve_environment(CONVEYOR_CLIENT_PAUSE_SECONDS=str(PAUSE_SECONDS))
    with running_store(tmp_path_factory.mktemp("slow") / "store", environment=environment) as running:
        yield running


def temporaries(store: RunningStore) -> list[Path]:
    return list((store.data / "blobs" / "temporary").iterdir())


def eventually(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def trickled(connection: socket.socket, head: bytes, piece: bytes) -> Reply:
    """Send a piece now and then, well within the pause, until the server has had enough."""
    connection.sendall(head)
    connection.settimeout(PAUSE_SECONDS / 4)
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection.sendall(piece)
        try:
            raw = connection.recv(65_536)
        except TimeoutError:
            continue
        connection.settimeout(LONG_ENOUGH_SECONDS)
        return Reply.of(raw + received(connection))
    raise AssertionError("the server waits forever")


LARGE_FILE = form_part("content", bytes(3 * 1024 * 1024), filename="demo-1.0.tar.gz")[:-2]


@pytest.mark.parametrize("begin", [b"", b"--bd", LARGE_FILE], ids=["nothing", "little", "much"])
def test_upload_that_stops_is_408_and_leaves_nothing(store: RunningStore, begin: bytes) -> None:
    reply = exchange(store.url, upload_head(10_000_000), begin)
    assert (reply.status, reply.headers["content-type"]) == (408, "text/plain; charset=utf-8")
    assert b"stopped" in reply.body
    assert temporaries(store) == []


def test_upload_that_trickles_is_408(store: RunningStore) -> None:
    begin = form_part("content", b"", filename="demo-1.0.tar.gz")[:-2]
    with connected(store.url) as connection:
        reply = trickled(connection, upload_head(10_000_000) + begin, b"-")
    assert reply.status == 408


def test_body_of_the_api_that_stops_is_408(store: RunningStore) -> None:
    head = request_head("POST", "/api/v1/users", ADMIN, "Content-Length: 100")
    reply = exchange(store.url, head, b'{"name":')
    assert (reply.status, reply.headers["content-type"]) == (408, "application/problem+json")


def test_refused_upload_that_trickles_is_let_go(store: RunningStore) -> None:
    """The body of a stranger is read to its end, so that its client hears why; but not forever."""
    head = request_head("POST", "/unstable/legacy/", FORM, "Content-Length: 10000000")
    with connected(store.url) as connection:
        assert trickled(connection, head, b"-").status == 401


def test_slow_but_steady_upload_is_accepted(store: RunningStore) -> None:
    made = make_wheel("steady")
    fields = [form_part(name, values[0].encode()) for name, values in made.form.items()]
    body = b"".join(fields) + form_part("content", made.content, filename=made.filename) + b"--bdry--\r\n"
    step = len(body) // 6 + 1
    with connected(store.url) as connection:
        connection.sendall(upload_head(len(body)))
        for at in range(0, len(body), step):
            connection.sendall(body[at : at + step])
            time.sleep(PAUSE_SECONDS / 3)  # in all longer than the pause that is allowed
        assert Reply.of(received(connection)).status == 200


@pytest.mark.parametrize("is_abrupt", [True, False])
def test_client_that_goes_away_in_the_middle_leaves_nothing(store: RunningStore, is_abrupt: bool) -> None:
    with connected(store.url) as connection:
        connection.sendall(upload_head(10_000_000) + LARGE_FILE)
        eventually(lambda: temporaries(store) != [], "the upload has begun")
        if is_abrupt:  # a reset instead of a quiet end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    eventually(lambda: temporaries(store) == [], "the temporary is removed")
    assert store.get("/healthz").status == 200


def test_many_idle_connections_keep_nobody_out(store: RunningStore) -> None:
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with contextlib.ExitStack() as idle:
        for _ in range(IDLE_CONNECTIONS):
            idle.enter_context(connected(store.url))
        assert store.get("/healthz").status == 200


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="utf-8") as file:  # noqa: PTH123 - as in running_stores
        return int(file.read().split()[1]) * 4096


def open_files(pid: int, name: str) -> int:
    """How many descriptors of a process are open on a file of that name."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += descriptor.readlink().name == name
    return found


@pytest.mark.parametrize("header", [(), ("Range: bytes=1-",)], ids=["whole", "part"])
def test_readers_who_read_nothing_stop_nobody_and_cost_little(
    store: RunningStore, header: tuple[str, ...]
) -> None:
    made = make_wheel("large", extra={"large/data.bin": bytes(LARGE_BYTES)}, compression=0)
    fields = [form_part(name, values[0].encode()) for name, values in made.form.items()]
    body = b"".join(fields) + form_part("content", made.content, filename=made.filename) + b"--bdry--\r\n"
    assert exchange(store.url, upload_head(len(body)), body).status == 200
    path = f"/packages/{made.sha256}/{made.filename}"
    (worker,) = children_of(store.process)
    assert store.get(path, **dict(one.split(": ") for one in header)).status in (200, 206)
    before = resident_bytes(worker)
    with contextlib.ExitStack() as readers:
        waiting = [readers.enter_context(connected(store.url)) for _ in range(SLOW_READERS)]
        for connection in waiting:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request_head("GET", path, *header))
        for connection in waiting:
            assert connection.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 206")
        assert open_files(worker, made.sha256) > 0
        for _ in range(20):
            assert store.get("/unstable/simple/large/").status == 200
        assert store.get(path, Range="bytes=0-9").status == 206
        assert resident_bytes(worker) - before < BYTES_OF_A_SLOW_READER * SLOW_READERS
        # Who takes nothing for longer than a pause is let go, in the middle of the answer.
        eventually(lambda: open_files(worker, made.sha256) == 0, "every reader is let go")
    assert store.get(path).data == made.content
