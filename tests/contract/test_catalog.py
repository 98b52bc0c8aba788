from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError

from conveyor.catalog.database.connection import open_catalog, reading, writing
from conveyor.catalog.database.events import events_since, insert_event
from conveyor.catalog.database.schema import prepare_schema, read_fact, write_fact
from conveyor.catalog.database.serials import newest_serial, next_serial
from conveyor.catalog.database.tables import SCHEMA_VERSION, index_bases, indexes, metadata
from conveyor.catalog.indexes.definitions import all_indexes, insert_index, update_settings
from conveyor.catalog.indexes.mirrored import (
    first_digest,
    first_digests_of,
    mirrored_projects_of,
    put_first_digest,
)
from conveyor.catalog.migrations import migrate, versions
from conveyor.catalog.releases.distributions import metadata_of, placements_of_release
from conveyor.catalog.releases.evidence import evidence_of_release
from conveyor.catalog.releases.judging import (
    advisories_about,
    decisions_of_release,
    find_policy,
    has_advisories,
    insert_decision,
    insert_policy,
    newest_policy,
    policy_versions,
    put_advisory,
    states_of_advisories,
)
from conveyor.catalog.runs.queue import newest_runs
from conveyor.domain.indexes.definitions import DEFAULT_INDEXES, Index
from conveyor.domain.indexes.mirror import is_due
from conveyor.domain.releases.advisories import OsvAdvisory, OsvAffected, OsvPackage, about_projects
from conveyor.domain.releases.decisions import PersonalDecision
from conveyor.domain.releases.policy import PolicyVersion
from conveyor.domain.words.notation import Event, from_utc_text
from conveyor.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from postgres_server import PostgresServer

AT = "2026-11-21T08:00:00.000000Z"


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = open_catalog(url)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    with opened(database_url) as found:
        prepare_schema(found)
        yield found


def test_schema_made_at_once_holds_every_table_and_its_number(engine: Engine) -> None:
    with reading(engine) as connection:
        assert set(inspect(connection).get_table_names()) == set(metadata.tables)
        assert read_fact(connection, "schema") == str(SCHEMA_VERSION)
        assert newest_serial(connection) == 0


def test_migrations_from_nothing_give_exactly_the_tables_of_the_program(database_url: str) -> None:
    with opened(database_url) as engine:
        with writing(engine) as connection:
            assert migrate(connection, since=0) == SCHEMA_VERSION
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            assert compare_metadata(context, metadata) == []
            assert newest_serial(connection) == 0


def test_migrated_and_made_at_once_are_the_same_to_sqlite(tmp_path: Path) -> None:
    """Column by column, with order, type, default and keys: what a comparison might overlook too."""
    asked = ("table_xinfo", "foreign_key_list", "index_list")

    def described(engine: Engine) -> dict[str, set[tuple[object, ...]]]:
        with reading(engine) as connection:
            return {
                f"{pragma} {table}": {
                    tuple(row)[1:]
                    if pragma != "table_xinfo"
                    else tuple(row)  # the others count from anywhere
                    for row in connection.exec_driver_sql(f"pragma {pragma}({table})")
                }
                for table in metadata.tables
                for pragma in asked
            }

    with opened(f"sqlite:///{tmp_path}/made") as made, opened(f"sqlite:///{tmp_path}/migrated") as migrated:
        prepare_schema(made)
        with writing(migrated) as connection:
            migrate(connection, since=0)
        assert described(migrated) == described(made)


def upgrade_to(connection: Connection, *migrations: str) -> None:
    """Make an old schema."""
    for name in migrations:
        module = importlib.import_module(f"{versions.__name__}.{name}")
        with Operations.context(MigrationContext.configure(connection)):
            module.upgrade()


def test_migration_tells_the_new_columns_from_the_old_rows(database_url: str) -> None:
    old_sdist = {"metadata_version": "2.1", "name": "demo"}
    with opened(database_url) as engine, writing(engine) as connection:
        upgrade_to(connection, "0001_initial")
        project = {"name": "demo", "display_name": "demo", "created_at": "2026-01-01T00:00:00.000000Z"}
        connection.execute(text("insert into projects values (:name, :display_name, :created_at)"), project)
        for number, (packagetype, fields) in enumerate(
            [
                ("bdist_wheel", {"metadata_version": "2.1"}),
                ("sdist", old_sdist),
                ("sdist", old_sdist | {"metadata_version": "2.4"}),
                ("sdist", old_sdist | {"metadata_version": "2.4", "dynamic": ["Requires-Dist"]}),
                ("sdist", old_sdist | {"metadata_version": "2.4", "dynamic": ["License-File"]}),
            ],
            start=1,
        ):
            connection.execute(
                text(
                    "insert into distributions (id, filename, project, version, packagetype, sha256,"
                    " blake2b_256, size_bytes, metadata_sha256, core_metadata, uploaded_at, uploaded_by)"
                    " values (:id, :name, 'demo', '1.0', :type, :id, '', 10, '', :fields, '', '')"
                ),
                {"id": number, "name": str(number), "type": packagetype, "fields": json.dumps(fields)},
            )
        assert migrate(connection, since=1) == SCHEMA_VERSION
        static = connection.execute(text("select id from distributions where is_metadata_static order by id"))
        assert [row.id for row in static] == [1, 3, 5]
        assert connection.scalar(text("select stored_bytes from projects")) == 50


def test_workers_that_are_known_may_only_read_and_start_runs_after_the_migration(
    database_url: str,
) -> None:
    with opened(database_url) as engine, writing(engine) as connection:
        upgrade_to(connection, "0001_initial", "0002_standards")
        for user in ("worker-1", "ann"):
            connection.execute(
                text("insert into users (name, scopes, created_at) values (:name, :scopes, '')"),
                {"name": user, "scopes": '["read", "upload"]'},
            )
            connection.execute(
                text(
                    "insert into tokens (user_name, secret_sha256, scopes, description, created_at)"
                    " values (:name, :name, :scopes, '', '')"
                ),
                {"name": user, "scopes": '["read", "upload"]'},
            )
        connection.execute(text("insert into workers values ('worker-1', 'worker-1', 'k', 'p', '', null)"))
        assert migrate(connection, since=2) == SCHEMA_VERSION
        for asked in ("select name as who, scopes from users", "select user_name as who, scopes from tokens"):
            found = connection.execute(text(asked))
            assert {row.who: json.loads(row.scopes) for row in found} == {
                "worker-1": ["read", "run"],
                "ann": ["read", "upload"],
            }


def test_what_gates_judge_by_is_kept_in_a_store_of_before(database_url: str) -> None:
    names = sorted(one.name for one in pkgutil.iter_modules(versions.__path__))
    with opened(database_url) as engine, writing(engine) as connection:
        upgrade_to(connection, *(name for name in names if name < "0013"))
        assert migrate(connection, since=12) == SCHEMA_VERSION
        for index in DEFAULT_INDEXES[:2]:
            insert_index(connection, index, created_at=AT)
        # the policy
        assert newest_policy(connection) is None
        kept = [PolicyVersion(number, AT, "ada", "why", f"schema = {number}\n") for number in (1, 2)]
        for one in kept:
            insert_policy(connection, one)
        assert newest_policy(connection) == find_policy(connection, 2) == kept[1]
        assert policy_versions(connection) == kept[::-1]
        # what people decide
        until = "2026-12-01T00:00:00.000000Z"
        decided = [
            PersonalDecision("approval", "demo", "1.0", "stable", "approval", "ada", None, AT, None),
            PersonalDecision("override", "demo", "1.0", "stable", "docs", "bea", "late", AT, until),
        ]
        for decision in decided:
            insert_decision(connection, decision)
        assert decisions_of_release(connection, "demo", "1.0") == decided
        # advisories, each in its newest state
        affected = OsvAffected(OsvPackage("PyPI", "Demo"), versions=("1.0",))
        advisory = OsvAdvisory("PYSEC-1", "2026-01-01T00:00:00Z", affected=(affected,))
        assert not has_advisories(connection)
        put_advisory(connection, advisory, about_projects(advisory).values(), is_new=True)
        assert has_advisories(connection)
        assert [one.versions for one in advisories_about(connection, ["demo", "other"])] == [("1.0",)]
        gone = replace(advisory, modified="2026-01-02T00:00:00Z", withdrawn="2026-01-02T00:00:00Z")
        put_advisory(connection, gone, about_projects(gone).values(), is_new=False)
        assert states_of_advisories(connection, ["PYSEC-1", "x"]) == {
            "PYSEC-1": "2026-01-02T00:00:00.000000Z"
        }
        assert advisories_about(connection, ["demo"]) == []


def test_metadata_that_is_a_blob_stays_one_after_the_migration(database_url: str) -> None:
    with opened(database_url) as engine, writing(engine) as connection:
        first = importlib.import_module(f"{versions.__name__}.0001_initial")
        with Operations.context(MigrationContext.configure(connection)):
            first.upgrade()
        connection.execute(text("insert into projects values ('demo', 'demo', '')"))
        connection.execute(
            text(
                "insert into distributions (id, filename, project, version, packagetype, sha256,"
                " blake2b_256, size_bytes, metadata_sha256, core_metadata, uploaded_at, uploaded_by)"
                " values (1, 'demo.whl', 'demo', '1.0', 'bdist_wheel', 'a', '', 10, 'digest', '{}', '', '')"
            )
        )
        assert migrate(connection, since=1) == SCHEMA_VERSION
        (row,) = connection.execute(text("select metadata_sha256, metadata from distributions"))
        assert (row.metadata_sha256, row.metadata) == ("digest", None)
        assert metadata_of(connection, "demo.whl", "a") is None


def test_runs_of_before_the_choice_entered_unstable(database_url: str) -> None:
    with opened(database_url) as engine, writing(engine) as connection:
        upgrade_to(connection, "0001_initial", "0002_standards", "0003_repositories")
        connection.execute(
            text(
                "insert into runs (repository, ref, state, requested_by, requested_at)"
                " values ('/srv/demo.git', 'main', 'requested', 'ann', '')"
            )
        )
        assert migrate(connection, since=3) == SCHEMA_VERSION
        (run,) = newest_runs(connection, limit=5)
        assert (run.index, run.priority, run.retry_of, run.reason) == ("unstable", 0, None, None)


def test_index_of_before_adds_no_python_and_can_be_set(database_url: str) -> None:
    with opened(database_url) as engine, writing(engine) as connection:
        names = sorted(one.name for one in pkgutil.iter_modules(versions.__path__))
        upgrade_to(connection, *names[:10])
        connection.execute(
            text("insert into indexes values ('mine', 'local', 'uploads', false, '[]', :at)"), {"at": AT}
        )
        assert migrate(connection, since=10) == SCHEMA_VERSION
        (index,) = all_indexes(connection).values()
        assert index.pythons == ()
        update_settings(connection, replace(index, pythons=("3.12", "pypy3.9")))
        assert all_indexes(connection)["mine"].pythons == ("3.12", "pypy3.9")


def test_evidence_of_before_was_made_when_it_came_and_stable_asks_for_isolation(database_url: str) -> None:
    """What is in "stable" stays there, though its evidence would no longer open it."""
    with opened(database_url) as engine, writing(engine) as connection:
        names = sorted(one.name for one in pkgutil.iter_modules(versions.__path__))
        upgrade_to(connection, *names[:11])
        for statement in (
            """insert into indexes (name, kind, mode, is_private, gates, created_at) values
            ('stable', 'local', 'promotion-only', false, '["tests"]', :at),
            ('team/stable', 'local', 'promotion-only', false, '["tests"]', :at)""",
            "insert into projects (name, display_name, created_at) values ('demo', 'demo', :at)",
            """insert into distributions (id, filename, project, version, packagetype, sha256, blake2b_256,
            size_bytes, metadata_sha256, uploaded_at, uploaded_by) values
            (1, 'demo-1.0.tar.gz', 'demo', '1.0', 'sdist', 'abc', '', 1, '', :at, '')""",
            """insert into placements (index_name, project, filename, distribution_id, added_serial,
            is_yanked) values ('stable', 'demo', 'demo-1.0.tar.gz', 1, 1, false)""",
            """insert into evidence (kind, project, version, sha256, predicate, envelope, envelope_sha256,
            signed_by, key_id, received_at, received_from) values
            ('tests', 'demo', '1.0', 'abc', '{}', '{}', 'def', 'worker-1', 'key', :at, 'admin')""",
        ):
            connection.execute(text(statement), {"at": AT})
        assert migrate(connection, since=11) == SCHEMA_VERSION
        (found,) = evidence_of_release(connection, "demo", "1.0")
        assert found.made_at == found.received_at == AT
        kept = all_indexes(connection)
        assert (kept["stable"].isolation, kept["team/stable"].isolation) == ("required", "any")
        assert [file.index for file in placements_of_release(connection, "demo", "1.0")] == ["stable"]


def test_pages_that_lack_files_without_a_digest_are_asked_for_anew_after_the_migration(
    database_url: str,
) -> None:
    """Without the validators, whose answer would be that the page is the same."""
    with opened(database_url) as engine, writing(engine) as connection:
        upgrade_to(
            connection,
            "0001_initial",
            "0002_standards",
            "0003_repositories",
            "0004_entry_of_runs",
            "0005_metadata_in_rows",
        )
        connection.execute(
            text("insert into indexes values ('pypi', 'mirror', 'uploads', false, '[]', :at)"), {"at": AT}
        )
        for project, etag in (("told", '"abc"'), ("untold", "body:abc"), ("absent", None)):
            connection.execute(
                text(
                    "insert into mirrored_projects (index_name, project, is_present, etag, fetched_at)"
                    " values ('pypi', :project, :is_there, :etag, :at)"
                ),
                {"project": project, "is_there": project != "absent", "etag": etag, "at": AT},
            )
        assert migrate(connection, since=5) == SCHEMA_VERSION
        for project in ("told", "untold", "absent"):
            known = mirrored_projects_of(connection, project, ["pypi"])["pypi"]
            assert known.etag is None
            assert is_due(known, from_utc_text(AT))


def test_catalog_of_a_newer_program_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        write_fact(connection, "schema", str(SCHEMA_VERSION + 1))
    with pytest.raises(Conflict, match=f"schema {SCHEMA_VERSION + 1}") as raised:
        prepare_schema(engine)
    assert raised.value.hint is not None
    assert "upgrade" in raised.value.hint


def test_catalog_that_is_up_to_date_runs_no_migration(engine: Engine) -> None:
    with writing(engine) as connection:
        assert migrate(connection, since=SCHEMA_VERSION) == SCHEMA_VERSION


def test_ordinary_start_does_not_import_alembic(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from conveyor.catalog.database.connection import open_catalog\n"
        "from conveyor.catalog.database.schema import prepare_schema\n"
        "engine = open_catalog(sys.argv[1])\n"
        "prepare_schema(engine); prepare_schema(engine)\n"
        "engine.dispose()\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{tmp_path / 'catalog'}"], check=True)


def test_several_openers_of_an_empty_database_make_one_schema(database_url: str) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def open_it() -> None:
        try:
            with opened(database_url) as engine:
                together.wait()
                prepare_schema(engine)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with opened(database_url) as engine, reading(engine) as connection:
        assert newest_serial(connection) == 0


def test_reader_sees_one_snapshot_while_others_write(engine: Engine) -> None:
    with writing(engine) as connection:
        write_fact(connection, "first", "1")
    with reading(engine) as reader:
        assert read_fact(reader, "first") == "1"
        with writing(engine) as connection:
            write_fact(connection, "first", "2")
            write_fact(connection, "second", "2")
        assert read_fact(reader, "first") == "1"
        assert read_fact(reader, "second") is None


def test_exception_inside_a_write_rolls_all_of_it_back(engine: Engine) -> None:
    def stop_in_the_middle() -> None:
        with writing(engine) as connection:
            write_fact(connection, "half", "done")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_in_the_middle()
    with reading(engine) as connection:
        assert read_fact(connection, "half") is None


def test_reader_may_not_write_on_postgresql(postgres: PostgresServer) -> None:
    """On SQLite a reader that writes becomes a writer; the next test shows how writers queue."""
    with opened(postgres.new_database()) as engine:
        prepare_schema(engine)
        with pytest.raises(InternalError, match="read-only"), reading(engine) as connection:
            write_fact(connection, "x", "y")


def test_writers_of_two_processes_queue_at_the_door_of_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog'}"
    impatient = create_engine(url, connect_args={"timeout": 0, "isolation_level": None})
    with opened(url) as engine:
        prepare_schema(engine)
        refused = pytest.raises(OperationalError, match="locked")
        with writing(engine), impatient.connect() as other, refused:
            other.exec_driver_sql("BEGIN IMMEDIATE")
    impatient.dispose()


def test_foreign_keys_are_enforced(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(index_bases).values(index_name="a", position=0, base_name="nowhere"))


def test_acknowledged_commits_are_synchronous_on_sqlite(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'catalog'}") as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_serials_of_parallel_writers_have_no_gap_and_are_in_commit_order(engine: Engine) -> None:
    taken: list[int] = []
    taking = threading.Lock()

    def write() -> None:
        for _ in range(10):
            with writing(engine) as connection:
                serial = next_serial(connection)
                assert newest_serial(connection) == serial
                with taking:
                    taken.append(serial)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == list(range(1, 41))


def test_serial_of_a_change_that_was_rolled_back_is_given_again(engine: Engine) -> None:
    def stop_in_the_middle() -> None:
        with writing(engine) as connection:
            assert next_serial(connection) == 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_in_the_middle()
    with writing(engine) as connection:
        assert next_serial(connection) == 1


def test_events_come_back_as_written_in_serial_order(engine: Engine) -> None:
    written = [
        Event(1, AT, "ann", "upload", "unstable", "demo", "1.0", {"files": ["a", "b"], "näme": "ü"}),
        Event(2, AT, "bob", "add-user", None, None, None, {}),
        Event(3, AT, "ann", "promote", "testing", "demo", "1.0", {"from": "unstable"}),
    ]
    with writing(engine) as connection:
        for event in reversed(written):
            insert_event(connection, event)
    with reading(engine) as connection:
        assert events_since(connection, 0) == written
        assert events_since(connection, 1, limit=1) == [written[1]]


def test_indexes_come_back_with_their_bases_in_order(engine: Engine) -> None:
    private = Index(
        "risk/stable",
        "local",
        "promotion-only",
        bases=("unstable", "pypi"),
        gates=("tests",),
        is_private=True,
    )
    with writing(engine) as connection:
        for index in (*DEFAULT_INDEXES, private):
            insert_index(connection, index, created_at=AT)
    with reading(engine) as connection:
        found = all_indexes(connection)
        assert connection.scalar(select(indexes.c.created_at).where(indexes.c.name == "pypi")) == AT
    assert found == {index.name: index for index in (*DEFAULT_INDEXES, private)}


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_database_url_that_cannot_hold_a_catalog_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        open_catalog(url)
    assert "sqlite:///PATH" in str(raised.value)


def test_password_in_a_database_url_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(InvalidInput) as raised:
        open_catalog("oracle://scott:tiger@host/x")
    assert "tiger" not in str(raised.value)


def test_moment_is_written_as_utc_with_microseconds() -> None:
    from conveyor.domain.words.notation import from_utc_text, utc_text

    moment = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
    assert utc_text(moment) == AT
    assert from_utc_text(AT) == moment


def test_first_download_fixes_the_digest_of_an_address_permanently(engine: Engine) -> None:
    for sha256, at in (("ab" * 32, "1"), ("cd" * 32, "2")):
        with writing(engine) as connection:
            counts = put_first_digest(connection, "unhashed/demo", "demo.whl", sha256, computed_at=at)
        assert counts == "ab" * 32
    with reading(engine) as connection:
        keys = [("unhashed/demo", "demo.whl"), ("unhashed/demo", "other.whl"), ("md5/00", "demo.whl")]
        assert first_digests_of(connection, keys) == {keys[0]: "ab" * 32}
        assert [first_digest(connection, *key) for key in keys] == ["ab" * 32, None, None]


def test_workers_of_before_lose_the_right_to_promote_and_nobody_else(database_url: str) -> None:
    with opened(database_url) as engine, writing(engine) as connection:
        names = sorted(one.name for one in pkgutil.iter_modules(versions.__path__))
        upgrade_to(connection, *names[:13])
        scopes = '["read", "upload", "promote", "run"]'
        for user in ("worker-1", "ada"):
            connection.execute(
                text("insert into users (name, scopes, created_at) values (:user, :scopes, :at)"),
                {"user": user, "scopes": scopes, "at": AT},
            )
            connection.execute(
                text(
                    "insert into tokens (id, user_name, secret_sha256, scopes, description, created_at)"
                    " values (:id, :user, :user, :scopes, '', :at)"
                ),
                {"id": len(user), "user": user, "scopes": scopes, "at": AT},
            )
        connection.execute(
            text(
                "insert into workers (name, user_name, key_id, public_key, registered_at)"
                " values ('worker-1', 'worker-1', 'key', 'key', :at)"
            ),
            {"at": AT},
        )
        assert migrate(connection, since=13) == SCHEMA_VERSION
        for table, name in (("users", "name"), ("tokens", "user_name")):
            rows = connection.execute(text(f"select {name}, scopes from {table}"))  # noqa: S608 - names of ours
            assert {user: json.loads(kept) for user, kept in rows} == {
                "worker-1": ["read", "run"],
                "ada": ["read", "upload", "promote", "run"],
            }
