"""Dumps of a PostgreSQL catalogue, by PostgreSQL's own ``pg_dump`` and ``pg_restore``.

A dump holds the whole database: it is the store's own, and what the tables depend on (schemas, extensions)
belongs to them. Owners and rights are not in it, so that it can be restored as another user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import make_url

from conveyor.catalog.database.connection import is_full_disk
from conveyor.errors import MissingTool, StorageFailed, StorageFull

if TYPE_CHECKING:
    from pathlib import Path


def dump_catalog(connection: sqlalchemy.Connection, target: Path) -> None:
    """Write what the read transaction of this connection sees into a new file; nobody has to wait.

    Raises:
        MissingTool: there is no pg_dump.
        StorageFailed: it failed; its own words are in the message (StorageFull: the disk has no room).
    """
    snapshot = connection.execute(text("select pg_export_snapshot()")).scalar_one()
    url = connection.engine.url
    target.unlink(missing_ok=True)
    target.touch(0o600)
    _run("pg_dump", url, "--format=custom", *_PLAIN, f"--snapshot={snapshot}", f"--file={target}")


def load_catalog(source: Path, url: str) -> None:
    """Make the catalogue of a dump in an empty database: all of it, or, when that is broken off, nothing.

    Raises:
        MissingTool: there is no pg_restore.
        StorageFailed: it failed, as when the database is not empty; its own words are in the message.
    """
    _run("pg_restore", make_url(url), "--single-transaction", "--exit-on-error", *_PLAIN, str(source))


def _run(program: str, url: sqlalchemy.URL, *arguments: str) -> None:
    found = shutil.which(program)
    if found is None:
        raise MissingTool(
            f"{program} is not on the PATH",
            hint="install PostgreSQL's client programs, as new as the server (Debian: postgresql-client)",
        )
    # As libpq knows it, and without the password: everybody may read the arguments of a process.
    address = sqlalchemy.URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, url.query
    )
    environment = {**os.environ, "PGPASSWORD": str(url.password)} if url.password else None
    ended = subprocess.run(
        [found, f"--dbname={address.render_as_string()}", "--no-password", *arguments],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if ended.returncode != 0:
        said = f"{program} failed: {ended.stderr.strip() or ended.returncode}"
        if is_full_disk(said):
            raise StorageFull(said, hint="free some space, then try again")
        raise StorageFailed(said, hint="look at the database and the disk, then try again")


_PLAIN = ("--no-owner", "--no-privileges")
