"""The API without a network: the same answers and the same refusals as over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.client.connection import Request
from conveyor.client.store import StoreClient
from conveyor.domain.indexes.definitions import NewClaim
from conveyor.domain.people.access import ANONYMOUS, Identity, NewToken
from conveyor.domain.people.passwords import NewUser
from conveyor.errors import Forbidden, InvalidInput, NotFound, Unauthorized
from conveyor.server.api.direct import DirectConnection
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store

ADMIN = Identity("admin", frozenset({"admin"}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def client_of(store: Store, identity: Identity = ADMIN) -> StoreClient:
    return StoreClient(DirectConnection(store, identity, name="here"))


def test_question_is_answered_by_the_endpoint(store: Store) -> None:
    names = {index.name for index in client_of(store).indexes.all()}
    assert names == {"pypi", "stable", "testing", "unstable"}


def test_change_is_written_and_seen(store: Store) -> None:
    assert client_of(store).claims.add(NewClaim("demo")) is True
    assert client_of(store).claims.add(NewClaim("demo")) is False


def test_parameter_in_the_path_is_decoded_once(store: Store) -> None:
    with pytest.raises(NotFound, match="odd name/%2F"):
        client_of(store).workers.revoke("odd name/%2F")


def test_query_is_read(store: Store) -> None:
    client_of(store).tokens.add(NewToken("admin", description="mine"))
    assert [token.description for token in client_of(store).tokens.all("admin")] == ["mine"]
    assert client_of(store).tokens.all("somebody else") == ()


@pytest.mark.parametrize(
    ("identity", "error"), [(ANONYMOUS, Unauthorized), (Identity("reader", frozenset({"read"})), Forbidden)]
)
def test_right_of_the_endpoint_is_asked(store: Store, identity: Identity, error: type[Exception]) -> None:
    with pytest.raises(error):
        client_of(store, identity).users.add(NewUser("robot"))


def test_faults_of_a_body_are_all_named(store: Store) -> None:
    connection = DirectConnection(store, ADMIN, name="here")
    with pytest.raises(InvalidInput) as raised:
        connection.send(Request("POST", "/api/v1/users", json_body={"name": "", "password": 5, "scopes": 1}))
    assert raised.value.faults == ("name is empty", "password is not a text", "scopes is not a list of texts")


def test_what_only_a_server_answers_is_not_found(store: Store) -> None:
    connection = DirectConnection(store, ADMIN, name="here")
    with pytest.raises(NotFound, match="without a server"):
        connection.send(Request("GET", "/unstable/simple/"))
