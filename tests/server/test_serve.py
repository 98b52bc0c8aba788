from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import Conflict
from conveyor.server.serve import refuse_to_mirror_itself
from conveyor.settings import UpstreamSettings
from postgres_server import free_port, running_postgres
from running_stores import (
    RunningStore,
    ServerProcess,
    children_of,
    ready_url,
    running_store,
    serve_environment,
    start_serving,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_SECONDS = 30


def eventually(condition: object, what: str) -> None:
    """Wait until a callable gives something true."""
    assert callable(condition)
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - as in running_stores
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended between opening and reading
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("served") / "store") as store:
        yield store


def test_line_that_says_ready_is_true(served: RunningStore) -> None:
    answer = served.get("/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_server_that_says_more_than_a_pipe_holds_is_not_held_up() -> None:
    chatty = "import sys; sys.stderr.write('x' * 1_000_000); print('serving http://127.0.0.1:1/')"
    process = ServerProcess([sys.executable, "-c", chatty], environment=serve_environment())
    assert ready_url(process) == "http://127.0.0.1:1"
    assert process.communicate(timeout=WAIT_SECONDS) == ("", "x" * 1_000_000)


def test_ready_store_tells_its_serial(served: RunningStore) -> None:
    answer = served.get("/readyz")
    assert answer.status == 200
    assert answer.json() == {"status": "ready", "serial": 1}


def test_front_page_shows_each_index_with_its_pip_line(served: RunningStore) -> None:
    answer = served.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = answer.data.decode()
    for name in ("pypi", "stable", "testing", "unstable"):
        assert f"pip install --index-url {served.url}/{name}/simple/ NAME" in page


@pytest.mark.parametrize(
    "path", ["/nothing", "/unstable", "/unstable/other/", "/a/b/c/simple/", "//", "/api"]
)
def test_path_of_nothing_is_a_404_problem(served: RunningStore, path: str) -> None:
    answer = served.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("NotFound", 404)
    assert path in problem["detail"]
    assert problem["hint"].count("\n") == 0


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/simple/foo", "did you mean /INDEX/simple/PROJECT/;"),
        ("/unstable/simle/foo/", "did you mean /INDEX/simple/PROJECT/;"),
        ("/unstable/simple/foo/bar/", "a project's page is /unstable/simple/PROJECT/"),
        ("/unstable/pypi/foo", "ask for /unstable/pypi/PROJECT/json"),
        ("/api/v1/project/foo", "did you mean /api/v1/projects/{project};"),
        ("/api", "/api/v1/openapi.json lists all"),
    ],
)
def test_hint_of_a_mistyped_path_names_the_one_that_was_meant(
    served: RunningStore, path: str, hint: str
) -> None:
    answer = served.get(path)
    assert answer.status == 404
    assert answer.json()["hint"].startswith(hint)


def test_head_of_an_error_has_no_body(served: RunningStore) -> None:
    answer = served.request("HEAD", "/nothing")
    assert (answer.status, answer.data) == (404, b"")
    assert int(answer.headers["content-length"]) > 0


def test_access_log_has_one_line_per_request(served: RunningStore) -> None:
    served.request("GET", "/nothing?a=b%20c", headers={"User-Agent": 'pip/26 "ü"'.encode()})
    served.request("HEAD", "/nothing", headers={"User-Agent": "probe"})

    def mine() -> list[dict[str, Any]]:
        return [line for line in served.logged() if str(line["agent"]).startswith(("pip/26", "probe"))]

    eventually(lambda: len(mine()) == 2, "two lines in the log")
    first, second = sorted(mine(), key=lambda line: str(line["method"]))
    assert first.pop("time").endswith("Z")
    assert first.pop("bytes") > 50
    assert first.pop("agent").startswith('pip/26 "')
    assert first == {
        "method": "GET",
        "path": "/nothing?a=b%20c",
        "status": 404,
        "supplied_by": None,
        "user": None,
    }
    assert (second["method"], second["status"], second["bytes"]) == ("HEAD", 404, 0)


def test_lines_of_parallel_requests_to_several_workers_are_whole(tmp_path: Path) -> None:
    with running_store(tmp_path / "store", workers=2) as store:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: store.get(f"/nothing/{number}").status, range(200)))
        assert answers == [404] * 200
        paths = {line["path"] for line in store.logged() if line["path"] != "/healthz"}
    assert paths == {f"/nothing/{number}" for number in range(200)}


def test_password_file_is_for_its_owner_and_not_written_when_one_is_given(tmp_path: Path) -> None:
    environment = serve_environment()
    with running_store(tmp_path / "given", environment=environment) as store:
        assert not (store.data / "initial-admin-password").exists()
    del environment["CONVEYOR_ADMIN_PASSWORD"]
    with running_store(tmp_path / "random", environment=environment) as store:
        written = store.data / "initial-admin-password"
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
        content = written.read_bytes()
    with running_store(tmp_path / "random", environment=environment):
        assert written.read_bytes() == content


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_it_with_success_and_without_a_word(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    process = start_serving(tmp_path / "store", "--port", "0", "--workers", "2")
    ready_url(process)
    workers = children_of(process)
    assert len(workers) == 2
    process.send_signal(signal_number)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output, errors) == (0, "", "")
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize("workers", [1, 4])
def test_server_that_is_stopped_while_its_workers_start_does_not_wait_for_them(
    tmp_path: Path, workers: int
) -> None:
    """A worker that starts would not hear the signal, so it waits until it does."""
    for round_number in range(3):
        process = start_serving(tmp_path / "store", "--port", "0", "--workers", str(workers))
        ready_url(process)  # one of them answers; the others are at any line
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, round_number


def test_access_log_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    process = start_serving(tmp_path / "store", "--port", "0", "--access-log", str(tmp_path / "no" / "log"))
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (7, "")
    assert errors.startswith(f"StorageFailed: the access log {tmp_path}/no/log cannot be written")
    assert len(errors.splitlines()) == 2


def test_workers_that_cannot_start_any_more_end_the_server_with_an_error(tmp_path: Path) -> None:
    process = start_serving(tmp_path / "store", "--port", "0")
    ready_url(process)
    (worker,) = children_of(process)
    for leftover in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (tmp_path / "store" / leftover).unlink()
    (tmp_path / "store" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    os.kill(worker, signal.SIGKILL)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (7, "")
    assert "Traceback" not in errors
    assert "a worker cannot start" in errors
    assert "StorageFailed: the server's workers ended" in errors


def test_bug_in_the_catalog_is_logged_on_standard_error_and_never_told_to_clients(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as store:
        with contextlib.closing(sqlite3.connect(store.data / "catalog.sqlite")) as connection:
            connection.execute("update indexes set gates = 'no JSON'")
            connection.commit()
        answer = store.get("/")
        assert answer.status == 500
        assert b"JSON" not in answer.data
        store.process.send_signal(signal.SIGTERM)
        output, errors = store.process.communicate(timeout=WAIT_SECONDS)
    assert output == ""
    (line,) = errors.splitlines()
    assert json.loads(line)["path"] == "/"
    assert "JSONDecodeError" in line
    assert answer.json()["hint"].split()[-1] == json.loads(line)["id"]


def test_idle_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as store:
        host, _, port = store.url.removeprefix("http://").rpartition(":")
        with (
            socket.create_connection((host, int(port))) as idle,
            socket.create_connection((host, int(port))) as used,
        ):
            used.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert used.recv(1000).startswith(b"HTTP/1.1 200")
            store.process.send_signal(signal.SIGTERM)
            assert store.process.wait(timeout=20) == 0
            idle.close()


def test_port_that_is_taken_is_one_clear_error(tmp_path: Path, served: RunningStore) -> None:
    port = served.url.rpartition(":")[2]
    process = start_serving(tmp_path / "store", "--port", port)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (Conflict.exit_code, "")
    assert errors.splitlines() == [
        f"Conflict: port {port} on 127.0.0.1 is taken",
        "hint: end the other server, or choose another --port",
    ]
    assert not (tmp_path / "store").exists()


def test_host_of_another_machine_is_one_clear_error(tmp_path: Path) -> None:
    process = start_serving(tmp_path / "store", "--host", "192.0.2.1", "--port", "0")
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (2, "")
    assert errors.startswith("InvalidInput: cannot listen on 192.0.2.1")
    assert len(errors.splitlines()) == 2
    assert not (tmp_path / "store").exists()


def test_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start_serving(tmp_path / "file" / "store", "--port", "0")
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (7, "")
    assert errors.startswith("StorageFailed: the store's folder")
    assert len(errors.splitlines()) == 2


def test_folder_of_a_newer_conveyor_is_one_clear_error(tmp_path: Path) -> None:
    with running_store(tmp_path / "store"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "catalog.sqlite")) as connection:
        connection.execute("update facts set value = '99' where key = 'schema'")
        connection.commit()
    process = start_serving(tmp_path / "store", "--port", "0")
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (6, "")
    assert "schema 99" in errors
    assert len(errors.splitlines()) == 2


def test_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as store:
        (worker,) = children_of(store.process)
        os.kill(worker, signal.SIGKILL)
        assert store.get("/healthz").status == 200  # waited in the queue of the socket meanwhile
        assert children_of(store.process) != [worker]


def test_hangup_replaces_the_workers_and_opens_a_rotated_log_anew(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as store:
        (worker,) = children_of(store.process)
        store.access_log.rename(tmp_path / "rotated")
        store.process.send_signal(signal.SIGHUP)
        eventually(store.access_log.exists, "the log is opened anew")
        eventually(lambda: children_of(store.process) not in ([worker], []), "the worker is replaced")
        eventually(lambda: not is_alive(worker), "the old worker has ended")
        assert store.get("/nothing").status == 404
        eventually(lambda: [line["path"] for line in store.logged()] == ["/nothing"], "a line in the log")


def test_workers_end_with_a_parent_that_is_killed_and_free_the_port(tmp_path: Path) -> None:
    process = start_serving(tmp_path / "store", "--port", "0", "--workers", "2")
    url = ready_url(process)
    workers = children_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    eventually(lambda: not any(map(is_alive, workers)), "the workers ended")
    with running_store(tmp_path / "store", port=int(url.rpartition(":")[2])) as again:
        assert again.get("/readyz").status == 200


def test_two_servers_on_one_folder_both_serve_it(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as one, running_store(tmp_path / "store") as other:
        assert one.url != other.url
        assert one.get("/readyz").json() == other.get("/readyz").json()


def test_servers_that_start_on_an_empty_folder_at_once_make_one_store(tmp_path: Path) -> None:
    processes = [start_serving(tmp_path / "store", "--port", "0") for _ in range(3)]
    try:
        urls = [ready_url(process) for process in processes]
        assert len(set(urls)) == 3
    finally:
        for process in processes:
            stop(process)


@pytest.mark.parametrize("step", [3, 15, 30])
def test_server_killed_while_it_initialises_starts_the_next_time(tmp_path: Path, step: int) -> None:
    """The steps are those of ``tests/operations/initialise_and_die.py``, which tries every one."""
    program = (
        "from operations.initialise_and_die import die_before_step\n"
        "from conveyor.cli import run\n"
        f"die_before_step({step})\n"
        f"run(['store', 'serve', '--port', '0', '--data', {str(tmp_path / 'store')!r}])\n"
    )
    tests = str(Path(__file__).parents[1])
    process = ServerProcess([sys.executable, "-c", program], environment=serve_environment(PYTHONPATH=tests))
    said, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, said) == (-signal.SIGKILL, ""), errors
    with running_store(tmp_path / "store", environment=serve_environment()) as store:
        assert store.get("/readyz").json()["serial"] == 1


def test_store_on_postgresql_serves(tmp_path: Path) -> None:
    with running_postgres() as server:
        environment = serve_environment(CONVEYOR_DATABASE_URL=server.new_database())
        with (
            running_store(tmp_path / "one", environment=environment) as one,
            running_store(tmp_path / "two", environment=environment) as two,
        ):
            assert one.get("/readyz").json() == two.get("/readyz").json() == {"status": "ready", "serial": 1}
        assert not (tmp_path / "one" / "catalog.sqlite").exists()


def test_store_that_would_mirror_itself_is_refused_and_the_next_start_is_free(tmp_path: Path) -> None:
    port = free_port()
    environment = serve_environment(PIP_INDEX_URL=f"http://user:hunter2@localhost:{port}/unstable/simple/")
    process = start_serving(tmp_path / "store", "--port", str(port), environment=environment)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (6, "")
    assert errors.startswith("Conflict: this store would mirror itself")
    assert "hunter2" not in errors
    assert not (tmp_path / "store").exists()
    with running_store(tmp_path / "store", port=port) as store:
        assert store.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("url", "host", "port", "is_refused"),
    [
        ("http://127.0.0.1:8080/simple/", "127.0.0.1", 8080, True),
        ("http://localhost:8080/simple/", "0.0.0.0", 8080, True),  # noqa: S104 - compared, not bound
        ("http://[::1]:8080/simple/", "::1", 8080, True),
        ("http://localhost/simple/", "127.0.0.1", 80, True),
        ("http://127.0.0.1:8081/simple/", "127.0.0.1", 8080, False),
        ("http://index.example:8080/simple/", "127.0.0.1", 8080, False),
    ],
)
def test_upstream_is_compared_with_the_address_it_serves(
    url: str, host: str, port: int, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(Conflict):
            refuse_to_mirror_itself(UpstreamSettings(url), host, port)
    else:
        refuse_to_mirror_itself(UpstreamSettings(url), host, port)


def test_help_of_serve_imports_no_server() -> None:
    program = (
        "import sys; from conveyor.cli import run; run(['store', 'serve', '--help']);"
        "sys.exit(any(name in sys.modules for name in ('granian', 'sqlalchemy', 'starlette')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
