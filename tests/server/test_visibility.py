"""Rule 3 of the design: what was acknowledged is seen by whatever process is asked next, whatever befell it.

Two servers with two workers each serve one store. In each round something is promoted and yanked, by one of
them or by a process without a server, as the command line is; then every worker is asked, on a connection
that is known to be its own.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest

from conveyor.client.store import connect
from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.people.access import NewToken
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.people.tokens import create_token
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.releases.withdrawals import yank_release
from distributions_made import make_wheel
from makers import make_store
from postgres_server import running_postgres
from readers import ACCEPT_JSON, ADMINISTRATOR, upload
from running_stores import children_of, running_store, serve_environment
from server.test_disk_faults import faults_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conveyor.operations.store.store import Store
    from figures import Figures
    from running_stores import RunningStore

RELEASES = 20
"""Of a project: pages stay small."""
WORKERS = 2
PORTS_OF_KEEPERS = "select client_port from pg_stat_activity where application_name = 'conveyor-node'"
END = "select pid, pg_terminate_backend(pid)::int from pg_stat_activity where application_name = %s"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
        return
    with running_postgres() as postgres:
        yield postgres.new_database()


@dataclass
class Servers:
    """Servers of one store, and a connection to each of their workers."""

    running: list[RunningStore]
    connections: dict[int, http.client.HTTPConnection] = field(default_factory=dict)

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()

    def workers(self, number: int) -> list[int]:
        return children_of(self.running[number].process)

    def connect(self) -> None:
        """Have a connection to every worker that runs now."""
        workers = set(chain.from_iterable(map(self.workers, range(len(self.running)))))
        for pid in self.connections.keys() - workers:
            self.connections.pop(pid).close()
        for store in self.running:
            own = set(children_of(store.process))
            spare: list[http.client.HTTPConnection] = []
            while not own <= self.connections.keys():
                connection = http.client.HTTPConnection(store.url.removeprefix("http://"), timeout=60)
                ask(connection, "/healthz")
                connection.getresponse().read()
                pid = holder(connection, own)
                if self.connections.setdefault(pid, connection) is not connection:
                    spare.append(connection)
            for connection in spare:
                connection.close()


def ask(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path, headers={"Accept": ACCEPT_JSON})


def yanks(connection: http.client.HTTPConnection) -> dict[str, bool]:
    """The answer to a page: which files there are, and whether each is yanked."""
    answer = connection.getresponse()
    said = answer.read()
    if answer.status == 404:
        return {}
    assert answer.status == 200, said
    return {file["filename"]: bool(file["yanked"]) for file in json.loads(said)["files"]}


def holder(connection: http.client.HTTPConnection, pids: Iterable[int]) -> int:
    """Which of these processes accepted a connection."""
    assert isinstance(connection.sock, socket.socket)
    found = owner(connection.sock.getpeername()[1], connection.sock.getsockname()[1], pids)
    assert found is not None
    return found


def owner(here: int, there: int, pids: Iterable[int]) -> int | None:
    """Which of these processes has the socket of a connection between two ports; the kernel knows."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{here:04X}") and fields[2].endswith(f":{there:04X}"):
            return next((pid for pid in pids if has_open(pid, f"socket:[{fields[9]}]")), None)
    return None


def has_open(pid: int, wanted: str) -> bool:
    """Whether a process that runs has this open; it may open and close other things meanwhile."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(descriptor.readlink()) == wanted:
                return True
    return False


def keeper(workers: list[int], database_url: str | None) -> int:
    """Which worker keeps the lease of its server; with SQLite, where there is none, any."""
    if database_url is None:
        return workers[0]
    port = int(database_url.rpartition(":")[2].partition("/")[0])
    while True:  # one may be about to take over
        for (client_port,) in asked(database_url, PORTS_OF_KEEPERS):
            found = owner(client_port, port, workers)
            if found is not None:
                return found
        time.sleep(0.01)


def asked(database_url: str, question: LiteralString, *values: str) -> list[tuple[int, ...]]:
    with psycopg.connect(database_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        return connection.execute(question, values).fetchall()


def end_connections(database_url: str, name: str) -> int:
    """End the connections of that name, wait until they have ended, and return how many there were.

    The question only tells the processes to end. A statement that reaches one of them just before fails.
    """
    ended = {row[0] for row in asked(database_url, END, name)}
    while ended & {row[0] for row in asked(database_url, "select pid from pg_stat_activity")}:
        time.sleep(0.01)
    return len(ended)


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that do not run meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def kill(pid: int, servers: Servers) -> None:
    """Kill a worker and wait until another has taken its place."""
    os.kill(pid, signal.SIGKILL)
    server = next(number for number in range(2) if pid not in servers.workers(1 - number))
    while len(servers.workers(server)) < WORKERS or pid in servers.workers(server):
        time.sleep(0.01)
    servers.connect()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("rounds", "period"), [(62, 62), pytest.param(10_000, 500, marks=pytest.mark.torture)]
)
def test_promotion_and_yank_are_seen_by_every_process_at_the_next_request(
    tmp_path: Path, database_url: str | None, rounds: int, period: int, figures: Figures
) -> None:
    """Meanwhile workers are killed and stopped, and connections to the database are lost."""
    environment = serve_environment(**({"CONVEYOR_DATABASE_URL": database_url} if database_url else {}))
    store = make_store(tmp_path / "store", database_url=database_url)
    create_index(store, ADMINISTRATOR, NewIndex("last", mode="promotion-only"))
    create_index(store, ADMINISTRATOR, NewIndex("first", mode="uploads", bases=("last",)))
    token = create_token(store, ADMINISTRATOR, NewToken("admin")).secret
    reads, stale = 0, list[str]()
    with ExitStack() as ending:
        running = [
            ending.enter_context(running_store(store.data, workers=WORKERS, environment=environment))
            for _ in range(2)
        ]
        clients = [ending.enter_context(connect(one.url, token=token)) for one in running]
        servers = Servers(running)
        ending.callback(servers.close)
        servers.connect()
        writers: list[tuple[Callable[..., object], Callable[..., object]]] = [
            (one.releases.promote, one.releases.yank) for one in clients
        ]
        writers.append((directly(store, promote_release), directly(store, yank_release)))
        turns = cycle(range(len(writers)))
        if database_url:
            assert asked(database_url, "select count(*) from nodes") == [(2,)]
        for number in range(rounds):
            project, version = f"demo-{number // RELEASES}", str(number % RELEASES)
            made = make_wheel(name=project, version=version)
            upload(store, made, index="first")
            path = f"/last/simple/{project}/"
            befall(number % period, servers, database_url)
            paused, writer = pauses(number % period, servers, database_url)
            for is_yanked in (False, True):
                promote, yank = writers[next(turns) if writer is None else writer]
                with stopped(paused):
                    if is_yanked:
                        yank(project, version, reason="a mistake")
                    else:
                        promote(project, version, to="last")
                    for connection in servers.connections.values():
                        ask(connection, path)
                for pid, connection in servers.connections.items():
                    reads += 1
                    if yanks(connection).get(made.filename) is not is_yanked:
                        stale.append(f"round {number}, process {pid}")
    figures("promoted and yanked, then read", rounds=rounds, reads=reads, stale=len(stale))
    assert stale == []
    assert faults_of(store.data, environment) == []


def befall(what: int, servers: Servers, database_url: str | None) -> None:
    """What happens to a server before something is written."""
    match what:
        case 10:
            kill(keeper(servers.workers(0), database_url), servers)
        case 20 if database_url:
            assert end_connections(database_url, "conveyor-node") == 2
        case 30 if database_url:
            assert end_connections(database_url, "conveyor")


def pauses(what: int, servers: Servers, database_url: str | None) -> tuple[list[int], int | None]:
    """The processes that stand still while something is written, and who writes it."""
    match what:
        case 40:  # all of a server; the other one writes
            return servers.workers(0), 1
        case 50:  # one worker, its sibling goes on; a process without a server writes
            return [keeper(servers.workers(1), database_url)], 2
        case 60:
            kept = keeper(servers.workers(1), database_url)
            return [pid for pid in servers.workers(1) if pid != kept], 2
        case _:
            return [], None


def directly(store: Store, operation: Callable[..., object]) -> Callable[..., object]:
    """An operation done here, beside the servers."""
    return lambda *arguments, **named: operation(store, ADMINISTRATOR, *arguments, **named)
