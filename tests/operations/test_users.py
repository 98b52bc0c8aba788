from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.domain.people.access import ANONYMOUS, Identity, NewToken
from conveyor.domain.people.passwords import PasswordChange
from conveyor.errors import Conflict, Forbidden, InvalidInput, InvalidName, Unauthorized
from conveyor.operations.people.tokens import create_token, digest_of, find_token, revoke_token
from conveyor.operations.people.users import (
    add_user,
    disable_user,
    find_account,
    is_right_password,
    set_password,
)
from conveyor.operations.store.store import read
from makers import ADMIN_PASSWORD, make_store
from releases_made import ADMIN

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "a long enough password"


def test_first_administrator_signs_in_with_the_initial_password(tmp_path: Path) -> None:
    account = find_account(make_store(tmp_path), "admin")
    assert account is not None
    assert account.identity.is_admin
    assert is_right_password(account, ADMIN_PASSWORD)


def test_new_user_signs_in_with_the_password_and_no_other(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read", "upload"])
    account = find_account(store, "ada")
    assert account is not None
    assert account.identity == Identity("ada", frozenset({"read", "upload"}))
    assert is_right_password(account, PASSWORD)
    assert not is_right_password(account, PASSWORD + "!")
    assert account.password_hash.startswith("$argon2id$")
    assert PASSWORD not in repr(account)


def test_nobody_has_no_right_password(tmp_path: Path) -> None:
    assert find_account(make_store(tmp_path), "nobody") is None
    assert not is_right_password(None, "nobody has this password")


def test_user_without_a_password_has_no_account(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "robot", password=None, scopes=["upload"])
    assert find_account(store, "robot") is None
    assert create_token(store, ADMIN, NewToken("robot")).secret.startswith("conveyor-")


def test_changed_password_replaces_the_old_one(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    set_password(store, ADMIN, "ada", "another long password")
    account = find_account(store, "ada")
    assert is_right_password(account, "another long password")
    assert not is_right_password(account, PASSWORD)


def test_new_password_says_how_many_tokens_go_on_working(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    soon = (now + timedelta(hours=1)).isoformat()
    ends = (None, None, soon)
    secrets = [create_token(store, ADMIN, NewToken("ada", expires_at=end)).secret for end in ends]
    create_token(store, ADMIN, NewToken("admin"))
    revoke_token(store, ADMIN, 1)
    assert set_password(store, ADMIN, "ada", PASSWORD) == PasswordChange(2, 0)
    later = replace(store, clock=lambda: now + timedelta(hours=2))
    assert set_password(later, ADMIN, "ada", PASSWORD) == PasswordChange(1, 0)
    assert set_password(later, ADMIN, "ada", PASSWORD, revoke_tokens=True) == PasswordChange(0, 1)
    assert [find_token(store, digest_of(secret)) for secret in secrets] == [None] * 3
    assert set_password(later, ADMIN, "admin", PASSWORD) == PasswordChange(1, 0)


def test_disabled_user_gets_no_new_password(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    disable_user(store, ADMIN, "ada")
    with pytest.raises(Conflict, match="disabled for good"):
        set_password(store, ADMIN, "ada", PASSWORD)


@pytest.mark.parametrize("password", ["short", "x" * 1025, "a long enough password\r", "no text \udcff"])
def test_password_that_nobody_may_have_changes_nothing(tmp_path: Path, password: str) -> None:
    store = make_store(tmp_path)
    with pytest.raises(InvalidInput, match="a password "):
        set_password(store, ADMIN, "admin", password)
    assert is_right_password(find_account(store, "admin"), ADMIN_PASSWORD)


def test_disabled_user_can_do_nothing_any_more(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    token = create_token(store, ADMIN, NewToken("ada")).secret
    disable_user(store, ADMIN, "ada")
    assert find_account(store, "ada") is None
    assert find_token(store, digest_of(token)) is None


def test_administrator_does_not_lock_the_door_from_outside(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        disable_user(make_store(tmp_path), ADMIN, "admin")


def test_names_are_given_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=None, scopes=[])
    with pytest.raises(Conflict):
        add_user(store, ADMIN, "ada", password=None, scopes=[])


def test_bad_names_passwords_and_scopes_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(InvalidName):
        add_user(store, ADMIN, "Ada", password=None, scopes=[])
    with pytest.raises(InvalidInput, match="a password has 8 to 1024 characters, not 0"):
        add_user(store, ADMIN, "ada", password="", scopes=[])
    with pytest.raises(InvalidInput) as caught:
        add_user(store, ADMIN, "ada", password=None, scopes=["read", "write", "own"])
    assert caught.value.faults == ('"write" is not a scope', '"own" is not a scope')


def test_only_administrators_change_users(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    somebody = Identity("ada", frozenset({"read", "upload", "claim", "promote"}))
    for identity, refusal in ((ANONYMOUS, Unauthorized), (somebody, Forbidden)):
        with pytest.raises(refusal):
            add_user(store, identity, "eve", password=None, scopes=["admin"])
        with pytest.raises(refusal):
            set_password(store, identity, "admin", PASSWORD)
        with pytest.raises(refusal):
            disable_user(store, identity, "admin")


def test_audit_log_names_the_user_and_never_the_password(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    set_password(store, ADMIN, "ada", PASSWORD)
    with read(store) as connection:
        events = events_since(connection, before)
    assert [event.action for event in events] == ["add-user", "set-user-password"]
    assert all(event.detail["user"] == "ada" for event in events)
    assert PASSWORD not in str(events)
    assert "argon2" not in str(events)
