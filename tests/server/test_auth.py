"""Who asks: against the authenticator on a real store, and over HTTP against a server of two processes."""

from __future__ import annotations

import asyncio
import base64
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.people.access import ANONYMOUS, Identity, NewToken
from conveyor.errors import Unauthorized
from conveyor.operations.people.tokens import create_token, list_tokens, revoke_token
from conveyor.operations.people.users import add_user, disable_user, set_password
from conveyor.server.http.auth import Authenticator
from conveyor.server.memory.newest import Newest
from makers import ADMIN_PASSWORD, make_store
from releases_made import ADMIN, make_worker
from running_stores import running_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Message

    from conveyor.operations.store.store import Store

PASSWORD = "a long enough password"


def basic(user: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{secret}".encode())


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


class Asking:
    """An authenticator in an event loop of its own, asked from plain code."""

    def __init__(self, store: Store, runner: asyncio.Runner) -> None:
        self.authenticator = Authenticator(store, Newest(store))
        self.runner = runner

    def ask(self, *headers: bytes) -> Identity:
        given = [(b"host", b"here"), *((b"authorization", value) for value in headers)]
        return self.runner.run(self.authenticator.authenticate({"headers": given}, staying))


async def staying() -> Message:
    """What a client sends that stays: nothing further."""
    return await asyncio.Event().wait()  # type: ignore[return-value]  # it never ends


@contextmanager
def asking(store: Store) -> Iterator[Asking]:
    with asyncio.Runner() as runner:
        one = Asking(store, runner)
        yield one
        runner.run(one.authenticator.close())


def test_request_without_credentials_is_anonymous(tmp_path: Path) -> None:
    with asking(make_store(tmp_path)) as one:
        assert one.ask() is ANONYMOUS


def test_password_and_both_forms_of_a_token_are_known(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = create_token(store, ADMIN, NewToken("admin", scopes=("upload",))).secret
    with asking(store) as one:
        assert one.ask(basic("admin", ADMIN_PASSWORD)).is_admin
        assert one.ask(basic("__token__", token)) == Identity("admin", frozenset({"upload"}))
        assert one.ask(bearer(token)) == Identity("admin", frozenset({"upload"}))
        assert one.ask(b"bEARER " + token.encode()).name == "admin"


def test_password_may_hold_colons_and_any_letters(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password="pass:wörd:日本語", scopes=["read"])
    with asking(store) as one:
        assert one.ask(basic("ada", "pass:wörd:日本語")).name == "ada"


def test_password_in_latin_1_is_the_one_in_utf_8(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "zoe", password="pässword: größer", scopes=["read"])
    sent_by_requests = b"Basic " + base64.b64encode("zoe:pässword: größer".encode("latin-1"))
    with asking(store) as one:
        assert one.ask(sent_by_requests).name == "zoe"
        assert one.ask(basic("zoe", "pässword: größer")).name == "zoe"


@pytest.mark.parametrize(
    "header",
    [
        basic("admin", "wrong"),
        basic("nobody", ADMIN_PASSWORD),
        basic("__token__", ADMIN_PASSWORD),
        bearer("conveyor-nonsense"),
        b"Basic !!!",
        b"Basic " + base64.b64encode(b"no colon"),
        b"Basic " + base64.b64encode(b"\xff\xfe:x"),
        b"Basic " + base64.b64encode(b"ad\x00min:x"),
        b"Basic",
        b"Bearer ",
        b"Digest x",
        b"\xff",
        b"Bearer " + b"x" * 10_000,
        b"",
    ],
)
def test_wrong_credentials_are_never_taken_for_anonymous(tmp_path: Path, header: bytes) -> None:
    with asking(make_store(tmp_path)) as one, pytest.raises(Unauthorized):
        one.ask(header)


def test_empty_token_is_called_empty(tmp_path: Path) -> None:
    with asking(make_store(tmp_path)) as one:
        for nothing in ("", " \r\n"):
            with pytest.raises(Unauthorized, match="the token is empty"):
                one.ask(basic("__token__", nothing))


def test_two_credentials_at_once_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = bearer(create_token(store, ADMIN, NewToken("admin")).secret)
    with asking(store) as one, pytest.raises(Unauthorized):
        one.ask(token, token)


def test_remembered_token_stops_with_its_revocation(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = bearer(create_token(store, ADMIN, NewToken("admin")).secret)
    with asking(store) as one:
        assert one.ask(token).is_admin
        revoke_token(store, ADMIN, list_tokens(store, ADMIN)[0].id)
        with pytest.raises(Unauthorized):
            one.ask(token)


def test_remembered_token_stops_when_it_expires(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    end = datetime.now(UTC) + timedelta(hours=1)
    token = bearer(create_token(store, ADMIN, NewToken("admin", expires_at=end.isoformat())).secret)
    now = [datetime.now(UTC)]
    with asking(replace(store, clock=lambda: now[0])) as one:
        assert one.ask(token).is_admin
        now[0] = end
        with pytest.raises(Unauthorized, match="expired at"):
            one.ask(token)


def test_remembered_password_stops_with_a_new_one(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password=PASSWORD, scopes=["read"])
    with asking(store) as one:
        assert one.ask(basic("ada", PASSWORD)).name == "ada"
        set_password(store, ADMIN, "ada", "another long password")
        with pytest.raises(Unauthorized):
            one.ask(basic("ada", PASSWORD))
        assert one.ask(basic("ada", "another long password")).name == "ada"
        disable_user(store, ADMIN, "ada")
        with pytest.raises(Unauthorized):
            one.ask(basic("ada", "another long password"))


def test_wrong_password_is_not_remembered_beside_a_right_one(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with asking(store) as one:
        assert one.ask(basic("admin", ADMIN_PASSWORD)).is_admin
        for wrong in (ADMIN_PASSWORD + "x", ADMIN_PASSWORD[:-1], ""):
            with pytest.raises(Unauthorized):
                one.ask(basic("admin", wrong))


def test_many_requests_with_a_password_at_once_are_all_answered(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    right, wrong = basic("admin", ADMIN_PASSWORD), basic("admin", "wrong")
    with asking(store) as one:

        async def ask_all() -> list[Identity | BaseException]:
            asked = [
                one.authenticator.authenticate({"headers": [(b"authorization", header)]}, staying)
                for header in [right] * 20 + [wrong] * 2
            ]
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = one.runner.run(ask_all())
    assert all(isinstance(answer, Identity) for answer in answers[:20])
    assert all(isinstance(answer, Unauthorized) for answer in answers[20:])


def test_last_use_of_a_token_is_written_at_the_end(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    token = bearer(create_token(store, ADMIN, NewToken("admin")).secret)
    serial = store.newest.read()
    with asking(store) as one:
        one.ask(token)
        assert list_tokens(store, ADMIN)[0].last_used_at is None
    assert list_tokens(store, ADMIN)[0].last_used_at is not None
    assert store.newest.read() == serial


def test_workers_token_speaks_for_the_worker(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with asking(store) as one:
        assert one.ask(bearer(make_worker(store).token)).worker == "worker-1"


def test_revoked_token_stops_at_the_next_request_of_every_process(tmp_path: Path) -> None:
    with running_store(tmp_path / "store", workers=2) as served:
        admin = {"authorization": basic("admin", ADMIN_PASSWORD).decode()}
        made = served.request("POST", "/api/v1/tokens", json={"user": "admin"}, headers=admin)
        headers = {"authorization": f"Bearer {made.json()['token']}"}
        listed = served.request("GET", "/api/v1/tokens", headers=admin).json()["tokens"]
        # Each request is a connection of its own, so both processes have answered and remember the token.
        assert {served.get("/api/v1/events", **headers).status for _ in range(30)} == {200}
        assert served.request("DELETE", f"/api/v1/tokens/{listed[0]['id']}", headers=admin).status == 204
        answers = [served.get("/api/v1/events", **headers) for _ in range(30)]
    assert {answer.status for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Basic realm="conveyor"'}


def test_private_index_asks_strangers_who_they_are_and_refuses_the_known(tmp_path: Path) -> None:
    with running_store(tmp_path / "store") as served:
        admin = {"authorization": basic("admin", ADMIN_PASSWORD).decode()}
        body = {"name": "secret", "mode": "uploads", "is_private": True}
        assert served.request("POST", "/api/v1/indexes", json=body, headers=admin).status == 201
        made = served.request(
            "POST", "/api/v1/tokens", json={"user": "admin", "scopes": ["upload"]}, headers=admin
        )
        uploader = {"authorization": f"Bearer {made.json()['token']}"}
        anonymous = served.get("/secret/simple/")
        assert (anonymous.status, "WWW-Authenticate" in anonymous.headers) == (401, True)
        assert served.get("/secret/simple/", **uploader).status == 404
        assert served.get("/secret/simple/", **admin).status == 200
        for headers, is_there in (({}, False), (uploader, False), (admin, True)):
            names = [one["name"] for one in served.get("/api/v1/indexes", **headers).json()["indexes"]]
            assert ("secret" in names) == is_there
