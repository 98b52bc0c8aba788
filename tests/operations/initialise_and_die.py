"""Initialises stores in children that die at their first, second, third … step; completes each afterwards.

A step is an fsync, an SQL statement or a commit; each child is killed by SIGKILL just before its step. Run as
a program (it forks, which a process with threads must not do): ``initialise_and_die.py FOLDER STRIDE`` tries
every STRIDE-th step and prints how many it tried; anything wrong is a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from conveyor.catalog.database.tables import users
from conveyor.domain.indexes.definitions import DEFAULT_INDEXES
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import PASSWORD_FILE, close_store, open_store
from conveyor.operations.indexes.definitions import list_indexes
from conveyor.operations.store.store import read
from makers import make_settings

if TYPE_CHECKING:
    from conveyor.settings import StoreSettings


def main(folder: Path, stride: int) -> int:
    """How many steps were tried."""
    for tried in count():
        settings = replace(make_settings(folder / str(tried)), admin_password=None)
        child = os.fork()
        if child == 0:
            die_before_step(1 + tried * stride)
            initialise_store(settings)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        initialise_store(settings)
        check(settings)
        if status == 0:
            return tried
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {tried}: status {status}"
    raise AssertionError("unreachable")


def die_before_step(number: int) -> None:
    """Kill this process when it begins its step of that number."""
    steps = count(1)
    really_sync = os.fsync

    def step(*_arguments: object, **_named: object) -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(descriptor: int) -> None:
        step()
        really_sync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]  # its own accepts objects with a fileno too
    event.listen(Engine, "before_cursor_execute", step)
    event.listen(Engine, "commit", step)


def check(settings: StoreSettings) -> None:
    """The store is whole, and the password in its file opens it."""
    store = open_store(settings)
    try:
        assert list_indexes(store) == {index.name: index for index in DEFAULT_INDEXES}
        with read(store) as connection:
            (user,) = connection.execute(select(users)).all()
    finally:
        close_store(store)
    password = (settings.data / PASSWORD_FILE).read_text().strip()
    assert PasswordHasher().verify(user.password_hash, password)
    assert not list(settings.data.glob(f"{PASSWORD_FILE}.*"))


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), int(sys.argv[2]))}\n")
