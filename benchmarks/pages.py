"""Pages of the simple API: against nginx, which serves the same bytes as files; PostgreSQL against SQLite."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import big_stores
from benchmarks.figures import Figure
from benchmarks.load import Target, rates_in_turn
from benchmarks.served import ACCEPT, conditions, nginx, our_store
from conveyor.operations.care.initialisation import initialise_store
from makers import make_settings
from postgres_server import running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.served import Served

PAGES = {
    f"page of {big_stores.SMALL_RELEASES} releases": big_stores.small_name(0),
    f"page of {big_stores.LARGE_RELEASES:,} releases": big_stores.large_name(0),
}
SMALL_PROJECTS = 10


def measure() -> Iterator[Figure]:
    """Each page in both forms, and the answer to a client that has it already; on SQLite, then PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder, ExitStack() as ending:
        postgres = ending.enter_context(running_postgres())
        servers: dict[str, Served] = {}
        for name, database_url in (("SQLite", None), ("PostgreSQL", postgres.new_database())):
            data = Path(folder) / name
            settings = make_settings(data, database_url=database_url)
            initialise_store(settings)
            big_stores.fill(settings, small_projects=SMALL_PROJECTS)
            servers[name] = ending.enter_context(our_store(data, database_url=database_url))
            yield from _against_nginx(servers[name], name)
        yield from _against_each_other(servers["PostgreSQL"], servers["SQLite"])


def _against_each_other(ours: Served, baseline: Served) -> Iterator[Figure]:
    """The same pages in memory: the cost of keeping memory up to date by messages."""
    on = f"PostgreSQL against SQLite, {conditions()}"
    for title, project in PAGES.items():
        headers = {"accept": ACCEPT["html"]}
        on_postgresql, on_sqlite = rates_in_turn(
            *(
                Target(f"{server.url}/unstable/simple/{project}/", headers, server.process_ids)
                for server in (ours, baseline)
            )
        )
        rates = on_postgresql.requests_per_second, on_sqlite.requests_per_second
        yield Figure(f"{title}, HTML, PostgreSQL", "requests/s", rates[0], "SQLite", rates[1], on)
        taken = on_postgresql.cpu_microseconds, on_sqlite.cpu_microseconds
        yield Figure(f"{title}, HTML, PostgreSQL", "µs of CPU each", taken[0], "SQLite", taken[1], on)


def _against_nginx(ours: Served, database: str) -> Iterator[Figure]:
    on = f"{database}, {conditions()}"
    pages = {
        project: {
            ending: ours.get(f"/unstable/simple/{project}/", accept=accept).data
            for ending, accept in ACCEPT.items()
        }
        for project in PAGES.values()
    }
    with nginx(pages, {}) as yardstick:
        for title, project in PAGES.items():
            places = ((ours, f"/unstable/simple/{project}/"), (yardstick, f"/simple/{project}/"))
            for ending, accept in ACCEPT.items():
                asked: list[dict[str, str]] = [{"accept": accept} for _ in places]
                yield _figure(f"{title}, {ending.upper()}", places, asked, on)
            known: list[dict[str, str]] = [
                {"accept": accept, "if-none-match": server.get(path, accept=accept).headers["etag"]}
                for server, path in places
            ]
            yield _figure(f"{title}, 304", places, known, on)


def _figure(
    what: str, places: Iterable[tuple[Served, str]], headers: list[dict[str, str]], on: str
) -> Figure:
    targets = [
        Target(server.url + path, asked) for (server, path), asked in zip(places, headers, strict=True)
    ]
    ours, baseline = rates_in_turn(*targets)
    return Figure(what, "requests/s", ours.requests_per_second, "nginx", baseline.requests_per_second, on)
