from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.tables import tokens
from conveyor.domain.people.access import Identity, NewToken, may_promote, may_upload
from conveyor.errors import Conflict, Forbidden, InvalidInput, NotFound
from conveyor.operations.people.tokens import (
    create_token,
    digest_of,
    find_token,
    list_tokens,
    note_last_uses,
    revoke_token,
)
from conveyor.operations.people.users import add_user, disable_user, set_password
from conveyor.operations.store.store import read
from makers import make_store
from releases_made import ADMIN, make_worker

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store


def owner_of(store: Store, token: str) -> Identity:
    found = find_token(store, digest_of(token))
    assert found is not None
    return found.identity


def test_token_stands_for_its_user_with_all_their_scopes(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=None, scopes=["read", "upload"])
    assert owner_of(store, create_token(store, ADMIN, NewToken("ada")).secret) == Identity(
        "ada", frozenset({"read", "upload"})
    )


def test_tokens_are_long_random_and_recognisable(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    made = {create_token(store, ADMIN, NewToken("admin")).secret for _ in range(3)}
    assert len(made) == 3
    assert all(token.startswith("conveyor-") and len(token) >= 9 + 43 for token in made)


def test_store_keeps_no_secret(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = create_token(store, ADMIN, NewToken("admin")).secret
    with read(store) as connection:
        row = connection.execute(select(tokens)).one()
        events = events_since(connection, 0)
    secret = token.removeprefix("conveyor-")
    assert row.secret_sha256 == digest_of(token)
    assert secret not in str(row)
    assert secret not in str(events)


def test_token_is_narrowed_to_scopes_indexes_and_projects(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = create_token(
        store, ADMIN, NewToken("admin", scopes=("upload",), indexes=("unstable",), projects=("My.Project",))
    ).secret
    assert owner_of(store, token) == Identity(
        "admin", frozenset({"upload"}), frozenset({"unstable"}), frozenset({"my-project"})
    )


def test_token_with_more_than_its_user_may_do_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=None, scopes=["read"])
    with pytest.raises(Forbidden, match="lacks the scope upload"):
        create_token(store, ADMIN, NewToken("ada", scopes=("read", "upload")))


def test_revoked_token_is_not_found_and_not_revoked_twice(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = create_token(store, ADMIN, NewToken("admin")).secret
    (row,) = list_tokens(store, ADMIN)
    revoke_token(store, ADMIN, row.id)
    assert find_token(store, digest_of(token)) is None
    with pytest.raises(NotFound):
        revoke_token(store, ADMIN, row.id)


def test_unknown_tokens_and_users_are_not_found(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert find_token(store, digest_of("conveyor-nonsense")) is None
    with pytest.raises(NotFound):
        create_token(store, ADMIN, NewToken("nobody"))


def test_token_for_an_index_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(NotFound, match='there is no index "nope", "none"') as caught:
        create_token(store, ADMIN, NewToken("admin", indexes=("nope", "stable", "none")))
    assert caught.value.hint == "the indexes are pypi, stable, testing, unstable"
    assert list_tokens(store, ADMIN) == []


def test_disabled_user_is_called_disabled_and_not_missing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ann", password=None, scopes=["read"])
    disable_user(store, ADMIN, "ann")
    with pytest.raises(Conflict, match='the user "ann" is disabled'):
        create_token(store, ADMIN, NewToken("ann"))


def test_token_that_lacks_a_scope_of_its_user_leads_to_another_token(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ci", password=None, scopes=["read", "upload", "promote"])
    identity = owner_of(store, create_token(store, ADMIN, NewToken("ci", scopes=("read",))).secret)
    with pytest.raises(Forbidden, match="the token of ci lacks the scope promote") as caught:
        may_promote(identity, "stable", "demo")
    assert str(caught.value.hint).endswith(
        ": conveyor store token create --user ci --scope read --scope promote"
    )
    made = create_token(store, ADMIN, NewToken("ci", scopes=("read", "promote")))
    may_promote(owner_of(store, made.secret), "stable", "demo")


def test_token_that_does_not_reach_an_index_or_project_leads_to_one_that_does(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    narrow = create_token(
        store,
        ADMIN,
        NewToken("admin", scopes=("upload",), indexes=("unstable",), projects=("demo", "other")),
    )
    identity = owner_of(store, narrow.secret)
    with pytest.raises(Forbidden) as caught:
        may_upload(identity, "testing", "demo")
    assert str(caught.value.hint).endswith(
        ": conveyor store token create --user admin --scope upload --index testing --index unstable"
        " --project demo --project other"
    )
    with pytest.raises(Forbidden) as caught:
        may_upload(identity, "unstable", "tumor")
    assert str(caught.value.hint).endswith("--index unstable --project demo --project other --project tumor")


def test_nobody_is_made_an_administrator_in_order_to_read(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ci", password=None, scopes=["read"])
    identity = owner_of(store, create_token(store, ADMIN, NewToken("ci")).secret)
    with pytest.raises(Forbidden, match="ci does not administer this store") as caught:
        list_tokens(store, identity)
    assert caught.value.hint == "ask an administrator to do it"


def test_user_that_lacks_a_scope_is_not_led_to_another_token(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ci", password=None, scopes=["read"])
    with pytest.raises(
        Forbidden, match=r"^ci lacks the scope promote, and so does any token of ci"
    ) as caught:
        may_promote(owner_of(store, create_token(store, ADMIN, NewToken("ci")).secret), "stable", "demo")
    assert str(caught.value.hint).endswith(": conveyor store user add NAME --scope read --scope promote")


def test_expiry_is_kept_in_the_stores_own_form(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = create_token(store, ADMIN, NewToken("admin", expires_at="2999-01-01T02:00:00+02:00")).secret
    found = find_token(store, digest_of(token))
    assert found is not None
    assert found.expires_at == "2999-01-01T00:00:00.000000Z"


def test_all_faults_of_a_token_are_named_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(InvalidInput) as caught:
        create_token(
            store,
            ADMIN,
            NewToken("admin", scopes=("write",), projects=("-bad-",), expires_at="2001-01-01T00:00:00Z"),
        )
    assert len(caught.value.faults) == 3
    for moment in ("tomorrow", "2999-01-01T00:00:00", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(InvalidInput, match="not a future time"):
            create_token(store, ADMIN, NewToken("admin", expires_at=moment))


def test_last_use_is_written_without_an_event_and_never_goes_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_token(store, ADMIN, NewToken("admin"))
    (row,) = list_tokens(store, ADMIN)
    before = store.newest.read()
    late, early = "2026-11-21T09:00:00.000000Z", "2026-11-21T08:00:00.000000Z"
    note_last_uses(store, {row.id: late, 999: late})
    note_last_uses(store, {row.id: early})
    assert list_tokens(store, ADMIN)[0].last_used_at == late
    assert store.newest.read() == before


def test_workers_token_speaks_for_the_worker(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    identity = owner_of(store, make_worker(store).token)
    assert (identity.name, identity.worker) == ("worker-1", "worker-1")
    assert identity.scopes == {"read", "run"}


def test_only_administrators_see_and_make_tokens(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    somebody = Identity("ada", frozenset({"read", "upload", "claim", "promote"}))
    with pytest.raises(Forbidden):
        create_token(store, somebody, NewToken("admin"))
    with pytest.raises(Forbidden):
        list_tokens(store, somebody)


@pytest.mark.parametrize(
    ("name", "hint"), [("later", "make it first: conveyor store user add later"), ("Ada", "use lower case")]
)
def test_missing_user_is_to_be_made_only_under_a_name_that_a_user_can_have(
    tmp_path: Path, name: str, hint: str
) -> None:
    store = make_store(tmp_path)
    with pytest.raises(NotFound) as of_token:
        create_token(store, ADMIN, NewToken(name))
    with pytest.raises(NotFound) as of_password:
        set_password(store, ADMIN, name, "a long password")
    for caught in (of_token, of_password):
        assert (caught.value.hint or "").startswith(hint)
