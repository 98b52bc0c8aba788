"""Checked, durable uploads of wheels of 20 KB by 8 clients, against devpi.

Targets: with a token at least twice devpi's rate, into a project of 2,000 releases as fast as into a new one,
with a password at least half of that. All clients are administrators: for a new name from anybody else, the
upstream index would be asked first.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from benchmarks.devpi import devpi
from benchmarks.figures import Figure, machine
from benchmarks.prepared_uploads import make_uploads
from benchmarks.served import ADMINISTRATOR, WORKERS, new_store, our_store
from benchmarks.uploading import CLIENTS, Index, check_listed, rates_in_turn, upload_all
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.people.users import add_user
from makers import ADMIN_PASSWORD, make_settings
from postgres_server import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.prepared_uploads import Upload
    from conveyor.settings import StoreSettings

ROUNDS = 5
"""Rounds per participant, after one that does not count; the median counts."""
PROJECTS, RELEASES = 60, 5
"""New projects in each round, and the releases of each."""
LARGE_RELEASES = 2_000
MORE_RELEASES = 200
"""Releases of one project in each round."""
FILLING_SECONDS, FILLED_SECONDS = 20, 8
"""Seconds for which one project of devpi, which is slower with each release, is filled and then measured."""

UNIT = "uploads/s"


def measure() -> Iterator[Figure]:
    """Many projects, on SQLite and on PostgreSQL; one large project; passwords."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder, ExitStack() as ending:
        postgres = ending.enter_context(running_postgres(is_durable=True))
        on_sqlite = make_settings(Path(folder) / "sqlite")
        on_postgres = make_settings(Path(folder) / "postgres", database_url=postgres.new_database())
        ours, ours_on_postgres = (
            ending.enter_context(_our_index(settings)) for settings in (on_sqlite, on_postgres)
        )
        theirs = ending.enter_context(devpi())
        yield from _many_projects(ours, ours_on_postgres, theirs)
        yield from _one_project(ours, theirs)
        yield _passwords(ours, _by_passwords(ours, on_sqlite))


@contextmanager
def _our_index(settings: StoreSettings) -> Iterator[Index]:
    """The index "unstable" of a new store, with a token."""
    authorization = new_store(settings)
    with our_store(settings.data, database_url=settings.database_url) as served:
        yield Index(f"{served.url}/unstable/legacy/", f"{served.url}/unstable/simple/", authorization)


def _by_passwords(index: Index, settings: StoreSettings) -> list[Index]:
    """The index with the password of a new user for each round, which the server has not seen yet."""
    names = [f"uploader-{number}" for number in range(1 + ROUNDS)]
    store = open_store(settings)
    for name in names:
        add_user(store, ADMINISTRATOR, name, password=ADMIN_PASSWORD, scopes=["admin"])
    close_store(store)
    headers = [urllib3.util.make_headers(basic_auth=f"{name}:{ADMIN_PASSWORD}") for name in names]
    return [replace(index, authorization=authorization) for authorization in headers]


def _many_projects(ours: Index, ours_on_postgres: Index, theirs: Index) -> Iterator[Figure]:
    rounds = [_of_many_projects(f"round-{number}") for number in range(1 + ROUNDS)]
    indexes = (ours, ours_on_postgres, theirs)
    on_sqlite, on_postgres, baseline = rates_in_turn(
        *([(index, uploads) for uploads in rounds] for index in indexes)
    )
    for index in indexes:
        check_listed(index, rounds[-1])
    on = f"{PROJECTS} new projects with {RELEASES} releases per round, {_conditions()}"
    yield Figure("upload with a token, SQLite", UNIT, on_sqlite, "devpi", baseline, on)
    yield Figure("upload with a token, PostgreSQL", UNIT, on_postgres, "devpi", baseline, on)


def _of_many_projects(name: str) -> list[Upload]:
    """Uploads release by release, so that clients seldom upload to the same project at the same time."""
    projects = [make_uploads(f"{name}-{number:03d}", RELEASES) for number in range(PROJECTS)]
    return [upload for release in zip(*projects, strict=True) for upload in release]


def _one_project(ours: Index, theirs: Index) -> Iterator[Figure]:
    large = make_uploads("large", LARGE_RELEASES + (1 + ROUNDS) * MORE_RELEASES)
    upload_all(ours, large[:LARGE_RELEASES])
    into_large = [
        (ours, large[first : first + MORE_RELEASES])
        for first in range(LARGE_RELEASES, len(large), MORE_RELEASES)
    ]
    into_new = [(ours, make_uploads(f"new-{number}", MORE_RELEASES)) for number in range(1 + ROUNDS)]
    new_rate, large_rate = rates_in_turn(into_new, into_large)
    check_listed(ours, large)
    on = f"{MORE_RELEASES} releases per round, SQLite, {_conditions()}"
    what = f"upload into a project of {LARGE_RELEASES:,} releases"
    yield Figure(what, UNIT, large_rate, "into a new project", new_rate, on)

    filled = upload_all(theirs, large, most_seconds=FILLING_SECONDS).uploads
    baseline = upload_all(theirs, large[filled:], most_seconds=FILLED_SECONDS).per_second
    on = f"devpi has {filled} releases after {FILLING_SECONDS} s; {on}"
    yield Figure(what, UNIT, large_rate, "devpi into a smaller one", baseline, on)


def _passwords(with_token: Index, with_passwords: list[Index]) -> Figure:
    by_password = [
        (index, _of_many_projects(f"password-{number}")) for number, index in enumerate(with_passwords)
    ]
    by_token = [(with_token, _of_many_projects(f"token-{number}")) for number in range(1 + ROUNDS)]
    password_rate, token_rate = rates_in_turn(by_password, by_token)
    check_listed(with_token, by_password[-1][1])
    on = f"a user per round whose password was not seen before, SQLite, {_conditions()}"
    return Figure("upload with a password", UNIT, password_rate, "with a token", token_rate, on)


def _conditions() -> str:
    return f"{CLIENTS} clients, {WORKERS} workers, median of {ROUNDS} rounds in turn, {machine()}"
