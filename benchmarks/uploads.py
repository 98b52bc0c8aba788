"""Checked, durable uploads of wheels of 20 KB by 8 clients, against devpi.

Targets: with a token at least three times devpi's rate on SQLite and 2.2 times on PostgreSQL, into a project
of 2,000 releases as fast as into a new one, with a password at least half of that. All clients are
administrators: for a new name from anybody else, the upstream index would be asked first.
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
from benchmarks.uploading import CLIENTS, Index, check_listed, costs_in_turn, upload_all
from conveyor.operations.care.opening import close_store, open_store
from conveyor.operations.people.users import add_user
from makers import ADMIN_PASSWORD, make_settings
from postgres_server import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.prepared_uploads import Upload
    from conveyor.settings import StoreSettings

ROUNDS = 7
"""Rounds per participant, after one that does not count; the median counts."""
PROJECTS, RELEASES = 60, 5
"""New projects in each round, and the releases of each."""
LARGE_RELEASES = 2_000
MORE_RELEASES = 200
"""Releases of one project in each round."""
FILLING_SECONDS, FILLED_SECONDS = 20, 8
"""Seconds for which one project of devpi, which is slower with each release, is filled and then measured."""

UNIT, CPU_UNIT = "uploads/s", "ms of the servers' CPU each"


def measure() -> Iterator[Figure]:
    """Many projects, on SQLite and on PostgreSQL; one large project; passwords."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder, ExitStack() as ending:
        postgres = ending.enter_context(running_postgres(is_durable=True))
        on_sqlite = make_settings(Path(folder) / "sqlite")
        on_postgres = make_settings(Path(folder) / "postgres", database_url=postgres.new_database())
        ours = ending.enter_context(_our_index(on_sqlite))
        ours_on_postgres = ending.enter_context(_our_index(on_postgres, postgres.process_id))
        theirs = ending.enter_context(devpi())
        yield from _many_projects(ours, ours_on_postgres, theirs)
        yield from _one_project(ours, theirs)
        yield _passwords(ours, _by_passwords(ours, on_sqlite))


@contextmanager
def _our_index(settings: StoreSettings, *databases: int) -> Iterator[Index]:
    """The index "unstable" of a new store, with a token; ``databases``: process ids of its database."""
    authorization = new_store(settings)
    with our_store(settings.data, database_url=settings.database_url) as served:
        url = f"{served.url}/unstable"
        yield Index(f"{url}/legacy/", f"{url}/simple/", authorization, (served.process_ids[0], *databases))


def _by_passwords(index: Index, settings: StoreSettings) -> list[Index]:
    """The index with the password of a new user for each round, which the server has not seen yet."""
    names = [f"uploader-{number}" for number in range(1 + ROUNDS)]
    store = open_store(settings)
    for name in names:
        add_user(store, ADMINISTRATOR, name, password=ADMIN_PASSWORD, scopes=["admin"])
    close_store(store)
    headers = [urllib3.util.make_headers(basic_auth=f"{name}:{ADMIN_PASSWORD}") for name in names]
    return [replace(index, authorization=authorization) for authorization in headers]


def _many_projects(sqlite: Index, postgres: Index, theirs: Index) -> Iterator[Figure]:
    rounds = [_of_many_projects(f"round-{number}") for number in range(1 + ROUNDS)]
    indexes = (sqlite, postgres, theirs)
    on_sqlite, on_postgres, baseline = costs_in_turn(
        *([(index, uploads) for uploads in rounds] for index in indexes)
    )
    for index in indexes:
        check_listed(index, rounds[-1])
    on = f"{PROJECTS} new projects with {RELEASES} releases per round, {_conditions()}"
    for name, ours in (("SQLite", on_sqlite), ("PostgreSQL", on_postgres)):
        what = f"upload with a token, {name}"
        yield Figure(what, UNIT, ours.per_second, "devpi", baseline.per_second, on)
        yield Figure(what, CPU_UNIT, ours.cpu_milliseconds, "devpi", baseline.cpu_milliseconds, on)


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
    into_a_new_one, into_a_large_one = costs_in_turn(into_new, into_large)
    large_rate = into_a_large_one.per_second
    check_listed(ours, large)
    on = f"{MORE_RELEASES} releases per round, SQLite, {_conditions()}"
    what = f"upload into a project of {LARGE_RELEASES:,} releases"
    yield Figure(what, UNIT, large_rate, "into a new project", into_a_new_one.per_second, on)

    filled = upload_all(theirs, large, most_seconds=FILLING_SECONDS).uploads
    baseline = upload_all(theirs, large[filled:], most_seconds=FILLED_SECONDS).per_second
    on = f"devpi has {filled} releases after {FILLING_SECONDS} s; {on}"
    yield Figure(what, UNIT, large_rate, "devpi into a smaller one", baseline, on)


def _passwords(with_token: Index, with_passwords: list[Index]) -> Figure:
    by_password = [
        (index, _of_many_projects(f"password-{number}")) for number, index in enumerate(with_passwords)
    ]
    by_token = [(with_token, _of_many_projects(f"token-{number}")) for number in range(1 + ROUNDS)]
    passwords, tokens = costs_in_turn(by_password, by_token)
    check_listed(with_token, by_password[-1][1])
    on = f"a user per round whose password was not seen before, SQLite, {_conditions()}"
    what = "upload with a password"
    return Figure(what, UNIT, passwords.per_second, "with a token", tokens.per_second, on)


def _conditions() -> str:
    return f"{CLIENTS} clients, {WORKERS} workers, median of {ROUNDS} rounds in turn, {machine()}"
