"""A real PostgreSQL for one test session: Debian's binaries, a folder of its own, a free port on loopback.

The tests that need it fail, and do not skip, where the binaries are missing: a catalogue that was only ever
tested on SQLite is not tested. ``PostgresServer.new_database`` gives each test an empty database.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL = "apt-get install postgresql (Debian), or put PostgreSQL's bin folder on the PATH"


class PostgresServer:
    """A running server; its superuser is ``postgres`` and needs no password on loopback."""

    def __init__(self, port: int, process_id: int) -> None:
        self.process_id = process_id
        self._port = port
        self._numbers = count(1)

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"conveyor_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{name}"

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self._port} user=postgres dbname={database}"


@contextmanager
def running_postgres(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """Start a server; stop it and remove its folder on leaving. ``is_durable``: its commits are synced."""
    binaries = find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="conveyor-postgres-"))
    try:
        as_user: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            folder.chmod(0o755)
            as_user = ["runuser", "-u", "postgres", "--"]
        data, port = folder / "data", free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c max_connections=200"
        options += "" if is_durable else " -c fsync=off"
        run(
            *as_user,
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        start = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
        run(*as_user, *start)
        try:
            process_id = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
            yield PostgresServer(port, int(process_id))
        finally:
            run(*as_user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """The folder of ``initdb`` and ``pg_ctl``, of the newest version installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    on_path = shutil.which("initdb")
    candidates = [*found, *([Path(on_path)] if on_path else [])]
    if not candidates:
        raise AssertionError(f"no PostgreSQL on this machine: {INSTALL}")
    return candidates[0].parent


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(*arguments: object) -> None:
    """Run a command that must succeed; its output stands in the error otherwise."""
    # No pipes: the server would keep them open after pg_ctl has ended.
    with tempfile.TemporaryFile() as output:
        ended = subprocess.run(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
        )
        output.seek(0)
        assert ended.returncode == 0, output.read().decode()
