from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from conveyor.catalog.database.connection import open_catalog, writing
from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import write_fact
from conveyor.catalog.database.tables import users
from conveyor.domain.indexes.definitions import DEFAULT_INDEXES
from conveyor.domain.people.access import SCOPES
from conveyor.errors import Conflict, InvalidInput, StorageFailed
from conveyor.operations.care.backups import back_up
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import PASSWORD_FILE, close_store, open_store
from conveyor.operations.indexes.definitions import list_indexes
from conveyor.operations.store.facts import store_id, store_upstream
from conveyor.operations.store.store import read
from conveyor.settings import UpstreamSettings
from makers import ADMIN_PASSWORD, NO_UPSTREAM, make_settings, make_store
from postgres_server import running_postgres

if TYPE_CHECKING:
    from conveyor.settings import StoreSettings


def admin_hash(settings: StoreSettings) -> str:
    store = open_store(settings)
    try:
        with read(store) as connection:
            row = connection.execute(select(users)).one()
    finally:
        close_store(store)
    assert row.name == "admin"
    assert sorted(SCOPES) == sorted(json.loads(row.scopes))
    found: str = row.password_hash
    return found


def test_new_store_has_the_default_indexes_the_upstream_and_an_administrator(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "deep" / "store")
    state = initialise_store(settings)
    assert state.is_new
    assert state.password_file is None
    store = make_store(tmp_path / "deep" / "store")
    assert list_indexes(store) == {index.name: index for index in DEFAULT_INDEXES}
    assert store_upstream(store) == NO_UPSTREAM
    assert store_id(store) == state.store_id
    with read(store) as connection:
        (event,) = events_since(connection, 0)
    assert (event.action, event.actor) == ("initialise", "admin")
    assert PasswordHasher().verify(admin_hash(settings), ADMIN_PASSWORD)


def test_random_password_is_written_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = replace(make_settings(tmp_path), admin_password=None)
    state = initialise_store(settings)
    assert state.password_file == tmp_path / PASSWORD_FILE
    assert stat.S_IMODE(state.password_file.stat().st_mode) == 0o600
    written = state.password_file.read_text()
    assert len(written.strip()) >= 20
    assert PasswordHasher().verify(admin_hash(settings), written.strip())
    state.password_file.unlink()
    again = initialise_store(settings)
    assert (again.is_new, again.password_file) == (False, None)
    assert again.store_id == state.store_id
    assert not (tmp_path / PASSWORD_FILE).exists()


@pytest.mark.parametrize("password", ["x", "x" * 1025, "long enough\n", "a tab\there", "no text \udcff"])
def test_password_that_nobody_may_have_is_refused_before_anything_is_made(
    tmp_path: Path, password: str
) -> None:
    settings = replace(make_settings(tmp_path / "store"), admin_password=password)
    with pytest.raises(InvalidInput, match="CONVEYOR_ADMIN_PASSWORD cannot be used: a password ") as caught:
        initialise_store(settings)
    assert password.strip() not in str(caught.value).split()
    assert list(tmp_path.iterdir()) == []


def test_password_of_a_first_start_does_not_hinder_the_next_ones(tmp_path: Path) -> None:
    initialise_store(make_settings(tmp_path))
    assert not initialise_store(replace(make_settings(tmp_path), admin_password="x")).is_new


def test_catalog_is_for_its_owner_only(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.newest.read() == 1
    for path in tmp_path.glob("catalog.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_password_and_secrets_stand_in_no_event_and_no_repr(tmp_path: Path) -> None:
    upstream = UpstreamSettings(
        "http://reader:hunter2@127.0.0.1:9/simple/", proxy="http://p:hunter3@127.0.0.1:8/"
    )
    store = make_store(tmp_path, upstream=upstream)
    assert store_upstream(store).url == upstream.url
    with read(store) as connection:
        told = repr(events_since(connection, 0)) + repr(store_upstream(store)) + repr(make_settings(tmp_path))
    assert "hunter" not in told
    assert ADMIN_PASSWORD not in told


def test_upstream_is_resolved_once_and_kept(tmp_path: Path) -> None:
    initialise_store(make_settings(tmp_path))
    other = make_settings(tmp_path, upstream=UpstreamSettings("http://127.0.0.1:10/other/"))
    assert initialise_store(other).upstream == NO_UPSTREAM


INITIALISER = """
import sys
from pathlib import Path
from dataclasses import replace
from conveyor.operations.care.initialisation import initialise_store
from conveyor.settings import UpstreamSettings, store_settings
environment = {"CONVEYOR_DATABASE_URL": sys.argv[2]} if len(sys.argv) > 2 else {}
settings = store_settings(Path(sys.argv[1]), environment=environment)
state = initialise_store(replace(settings, upstream=UpstreamSettings("http://127.0.0.1:9/simple/")))
print(state.store_id, state.is_new)
"""


def initialiser(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INITIALISER, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def password_holds(settings: StoreSettings) -> bool:
    password = (settings.data / PASSWORD_FILE).read_text().strip()
    return PasswordHasher().verify(admin_hash(settings), password)


def test_processes_that_initialise_the_same_folder_at_once_make_one_store(tmp_path: Path) -> None:
    children = [initialiser(tmp_path) for _ in range(4)]
    answers = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0]
    assert len({identity for identity, _ in answers}) == 1
    assert sorted(is_new for _, is_new in answers) == ["False", "False", "False", "True"]
    assert password_holds(make_settings(tmp_path))


def test_nodes_that_initialise_the_same_database_at_once_make_one_store(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.new_database()
        children = [initialiser(tmp_path / str(node), url) for node in range(3)]
        answers = [child.communicate()[0].split() for child in children]
        assert [child.returncode for child in children] == [0, 0, 0]
        assert len({identity for identity, _ in answers}) == 1
        assert sorted(is_new for _, is_new in answers) == ["False", "False", "True"]
        with_password = list(tmp_path.glob(f"*/{PASSWORD_FILE}"))
        assert len(with_password) == 1
        assert password_holds(make_settings(with_password[0].parent, database_url=url))


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.torture)])
def test_initialisation_killed_at_any_step_is_completed_by_the_next(tmp_path: Path, stride: int) -> None:
    program = Path(__file__).with_name("initialise_and_die.py")
    ended = subprocess.run(
        [sys.executable, program, tmp_path, str(stride)],
        env={**os.environ, "PYTHONPATH": str(program.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) * stride > 40  # steps that initialising takes


def test_fsync_that_fails_stops_the_initialisation_before_the_user_exists(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "sync, count = os.fsync, [0]\n"
        "def fsync(descriptor):\n"
        "    if 'initial-admin-password' in os.readlink(f'/proc/self/fd/{descriptor}'):\n"
        "        raise OSError(5, 'Input/output error')\n"
        "    sync(descriptor)\n"
        "os.fsync = fsync\n" + INITIALISER
    )
    failed = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False
    )
    assert "StorageFailed" in failed.stderr
    settings = make_settings(tmp_path)
    catalog = open_catalog(settings.database_url)
    with catalog.connect() as connection:
        assert connection.execute(select(users)).all() == []
    catalog.dispose()


def test_store_of_a_newer_conveyor_is_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    initialise_store(settings)
    catalog = open_catalog(settings.database_url)
    with writing(catalog) as connection:
        write_fact(connection, "schema", "99")
    catalog.dispose()
    with pytest.raises(Conflict, match="schema 99"):
        initialise_store(settings)


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be made"):
        initialise_store(make_settings(tmp_path / "file" / "store"))


def test_folder_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    back_up(make_store(tmp_path / "store"), tmp_path / "backup", threads=1)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "pyproject.toml").write_text("")
    for name, told in (("backup", "is a backup, not a store"), ("work", "something else: pyproject.toml")):
        before = sorted((tmp_path / name).iterdir())
        with pytest.raises(Conflict, match=told):
            initialise_store(make_settings(tmp_path / name))
        assert sorted((tmp_path / name).iterdir()) == before


def test_folder_of_a_fresh_disk_that_holds_the_access_log_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    log = tmp_path / "access.jsonl"
    log.write_text("")
    assert initialise_store(replace(make_settings(tmp_path), access_log=log)).is_new


def test_database_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path / "store", database_url="postgresql+psycopg://u:hunter2@127.0.0.1:9/none"
    )
    with pytest.raises(StorageFailed, match="cannot be opened") as raised:
        initialise_store(settings)
    assert "hunter2" not in str(raised.value)
    assert not settings.data.exists()


UNUSABLE_SETTINGS: dict[str, dict[str, Any]] = {
    "blobs cannot live at a": {"blobs_url": "s3://bucket/blobs"},
    "the catalogue cannot live in": {"database_url": "mysql://127.0.0.1:9/none"},
    "the catalogue needs a file": {"database_url": "sqlite://"},
    "the database URL cannot be read": {"database_url": "catalog.sqlite"},
    "there is no folder": {"database_url": "sqlite:////nowhere/catalog.sqlite"},
}


@pytest.mark.parametrize("told", UNUSABLE_SETTINGS)
def test_setting_that_no_store_can_have_is_refused_before_anything_is_made(tmp_path: Path, told: str) -> None:
    settings = make_settings(tmp_path / "store")
    with pytest.raises(InvalidInput, match=told) as raised:
        initialise_store(replace(settings, **UNUSABLE_SETTINGS[told]))
    assert raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_upstream_that_is_no_web_address_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(make_settings(tmp_path / "store"), upstream=None)
    monkeypatch.setenv("PIP_INDEX_URL", "ftp://127.0.0.1/simple")
    with pytest.raises(InvalidInput, match="cannot be mirrored"):
        initialise_store(settings)
    assert not settings.data.exists()
    assert initialise_store(make_settings(tmp_path / "store")).is_new
