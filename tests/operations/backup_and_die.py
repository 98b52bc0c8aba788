"""Writes and restores backups in children that die at their first, second, third … step; completes each.

A step is an fsync, a rename, a link, a new folder, the removal or the opening of a file; each child is killed
by SIGKILL just before its step. Run as a program (it forks, which a process with threads must not do):
``backup_and_die.py FOLDER STRIDE`` tries every STRIDE-th step and prints how many it tried of a backup and of
a restore; anything wrong is a traceback.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.blobs.filesystem import FilesystemBlobs
from conveyor.blobs.inventory import listed_blobs, local_blobs
from conveyor.errors import Conflict, NotFound
from conveyor.operations.care.backups import back_up, read_backup
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.inspection import inspect_store
from conveyor.operations.care.opening import open_store, opened_store
from conveyor.operations.care.restores import restore_store
from distributions_made import make_wheel
from makers import make_settings
from operations.stores_damaged import execute
from releases_made import publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.settings import StoreSettings

STEPS = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "open"})


def main(folder: Path, stride: int) -> tuple[int, int]:
    """How many steps of a backup and of a restore were tried."""
    settings = make_settings(folder / "store")
    initialise_store(settings)
    with opened_store(settings) as store:
        publish(store, make_wheel(version="1"))
        back_up(store, folder / "first", threads=1)
        publish(store, make_wheel(version="2"))
        execute(store, "delete from placements where filename like 'demo-1-%'")
        execute(store, "delete from distributions where version = '1'")
        execute(store, "update projects set stored_bytes = (select sum(size_bytes) from distributions)")
    return die_backing_up(folder, settings, stride), die_restoring(folder, stride)


def die_backing_up(folder: Path, settings: StoreSettings, stride: int) -> int:
    """The backup before is whole whenever the next one dies, and the one after that is right."""
    backup, first = folder / "backup", read_backup(folder / "first")
    for tried in count():
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(folder / "first", backup)
        has_died = die_in_child(1 + tried * stride, lambda: update(settings, backup))
        assert read_backup(backup).serial >= first.serial
        check_restored(backup, folder / "restored")
        update(settings, backup)
        assert read_backup(backup).serial > first.serial
        check_restored(backup, folder / "restored")
        assert len(list(listed_blobs(FilesystemBlobs(backup / "blobs")))) == read_backup(backup).blobs
        if not has_died:
            return tried
    raise AssertionError("unreachable")


def die_restoring(folder: Path, stride: int) -> int:
    """A restore that died leaves no store, or the whole one, when only its last sync was missing."""
    backup = folder / "backup"
    for tried in count():
        settings = make_settings(folder / f"restoring-{tried}")
        has_died = die_in_child(1 + tried * stride, partial(restore_store, backup, settings, threads=1))
        if has_died and not has_store(settings):
            restore_store(backup, settings, threads=1)
        check_store(settings, backup)
        shutil.rmtree(settings.data)
        if not has_died:
            return tried
    raise AssertionError("unreachable")


def has_store(settings: StoreSettings) -> bool:
    """Whether a store can be opened there; its folder says so when a restore was not finished."""
    try:
        with opened_store(settings):
            return True
    except (Conflict, NotFound):
        return False


def update(settings: StoreSettings, backup: Path) -> None:
    """Bring a backup up to date."""
    with opened_store(settings) as store:
        back_up(store, backup, threads=1)


def check_restored(backup: Path, folder: Path) -> None:
    """The backup makes a whole store."""
    settings = make_settings(folder)
    restore_store(backup, settings, threads=1)
    check_store(settings, backup)
    shutil.rmtree(folder)


def check_store(settings: StoreSettings, backup: Path) -> None:
    """The store is the one of the backup, and nothing is wrong with it."""
    store = open_store(settings)
    try:
        assert store.newest.read() == read_backup(backup).serial
        for listed in listed_blobs(local_blobs(store.blobs)):
            assert hashlib.sha256(listed.path.read_bytes()).hexdigest() == listed.name
        assert (faults := inspect_store(store, grace_seconds=3600, threads=1).faults) == [], faults
    finally:
        store.newest.close()
        store.catalog.dispose()


def die_in_child(number: int, work: Callable[[], object]) -> bool:
    """Whether a child died before its step of that number; else it has done the work."""
    child = os.fork()
    if child == 0:
        die_before_step(number)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"step {number}: status {status}"
    return status != 0


def die_before_step(number: int) -> None:
    """Kill this process when it begins its step of that number."""
    steps, lock = count(1), threading.Lock()
    really_sync = os.fsync

    def step() -> None:
        with lock:
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def fsync(descriptor: int) -> None:
        step()
        really_sync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]  # its own accepts objects with a fileno too
    sys.addaudithook(lambda event, _: step() if event in STEPS else None)


if __name__ == "__main__":
    sys.stdout.write("{} {}\n".format(*main(Path(sys.argv[1]), int(sys.argv[2]))))
