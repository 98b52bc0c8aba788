"""The queue of password checks: with real accounts and a clock that stands, and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from urllib3.util import make_headers

from conveyor.domain.people.passwords import networks
from conveyor.errors import ConveyorError
from conveyor.operations.people.users import (
    Account,
    add_user,
    disable_user,
    find_account,
    is_right_password,
    set_password,
)
from conveyor.server.http.auth import Authenticator
from conveyor.server.http.messages import READ_AHEAD_BYTES, AwaitedBody, departure
from conveyor.server.http.password_checks import (
    CHECKS_AT_ONCE,
    MOST_WAITING,
    MOST_WAITING_OF_ADDRESS,
    PasswordChecks,
)
from conveyor.server.memory.newest import Newest
from makers import ADMIN_PASSWORD, make_store
from releases_made import ADMIN
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest
    import urllib3
    from starlette.types import Message

    from conveyor.operations.store.store import Store


class Door:
    """An authenticator that counts its checks, and holds them back while it is shut."""

    def __init__(self, store: Store, *, trusted: str = "") -> None:
        self.checked: list[str] = []
        self.seconds = 1000.0
        """What its clock says."""
        self.takes = 0.0
        """How many of its seconds a check takes."""
        self._open = threading.Event()
        self._open.set()
        checks = PasswordChecks(is_right=self._is_right, clock=lambda: self.seconds)
        self.authenticator = Authenticator(
            store, Newest(store), trusted_proxies=networks(trusted), passwords=checks
        )

    def _is_right(self, account: Account | None, password: str) -> bool:
        self.checked.append(password)
        self._open.wait()
        self.seconds += self.takes
        return is_right_password(account, password)

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def knock(
        self,
        password: str | bytes,
        *,
        user: str = "admin",
        address: str = "203.0.113.5",
        forwarded: str | None = None,
        leaving: asyncio.Event | None = None,
    ) -> str:
        """The name of who is known then, or the class of the refusal."""
        secret = password if isinstance(password, bytes) else password.encode()
        headers = [(b"authorization", b"Basic " + base64.b64encode(user.encode() + b":" + secret))]
        if forwarded is not None:
            headers.append((b"x-forwarded-for", forwarded.encode()))

        async def receive() -> Message:
            await (leaving or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        try:
            identity = await self.authenticator.authenticate(
                {"headers": headers, "client": (address, 1)}, receive
            )
        except ConveyorError as error:
            return type(error).__name__
        return identity.name


@asynccontextmanager
async def standing(store: Store, *, trusted: str = "") -> AsyncIterator[Door]:
    door = Door(store, trusted=trusted)
    try:
        yield door
    finally:
        door.open()
        await door.authenticator.close()


async def until_checking(door: Door, count: int = CHECKS_AT_ONCE) -> None:
    """Wait until so many checks have begun."""
    while len(door.checked) < count:
        await asyncio.sleep(0)


async def until_full(
    door: Door, count: int, *, address: str | None = None
) -> tuple[list[asyncio.Task[str]], list[asyncio.Task[str]]]:
    """Shut the door; have checks under way, and then so many more that some are refused."""

    def knock(number: int, of: str) -> asyncio.Task[str]:
        return asyncio.create_task(door.knock(f"wrong {number}", user=f"user-{number}", address=of))

    door.shut()
    before = len(door.checked)
    first = [knock(number, "192.0.2.99") for number in range(CHECKS_AT_ONCE)]
    await until_checking(door, before + CHECKS_AT_ONCE)
    later = [knock(1000 + number, address or each) for number, each in enumerate(addresses(count))]
    waiting = MOST_WAITING if address is None else MOST_WAITING_OF_ADDRESS
    while sum(one.done() for one in later) < count - waiting:
        await asyncio.sleep(0)
    return first, later


def addresses(count: int) -> list[str]:
    return [f"198.51.{number // 250}.{number % 250 + 1}" for number in range(count)]


async def test_queue_is_bounded_and_the_rest_are_told_to_come_again(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        first, later = await until_full(door, 150)
        refused = [knock for knock in later if knock.done()]
        assert len(refused) == 150 - MOST_WAITING
        assert {knock.result() for knock in refused} == {"TooManyAttempts"}
        assert not any(knock.done() for knock in first)


async def test_fewer_wait_while_checks_take_long(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        door.takes = 2.0
        for number, address in enumerate(addresses(12)):
            assert await door.knock("wrong", user=f"early-{number}", address=address) == "Unauthorized"
        _, later = await until_full(door, MOST_WAITING + 1)
        while any(not knock.done() for knock in later[6:]):
            await asyncio.sleep(0)
        assert sum(not knock.done() for knock in later) in (4, 5)  # those before it: four seconds
        assert {knock.result() for knock in later[6:]} == {"TooManyAttempts"}


async def test_one_address_cannot_fill_the_queue(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        _, later = await until_full(door, 50, address="203.0.113.5")
        assert sum(knock.done() for knock in later) == 50 - MOST_WAITING_OF_ADDRESS
        right = asyncio.create_task(door.knock(ADMIN_PASSWORD, address="192.0.2.1"))
        for knock in later:
            knock.cancel()
        door.open()
        assert await right == "admin"


async def test_one_address_cannot_fill_the_queue_while_checks_take_long(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        door.takes = 0.8
        for number, address in enumerate(addresses(20)):
            await door.knock("wrong", user=f"early-{number}", address=address)
        door.shut()
        before = len(door.checked)
        later = [
            asyncio.create_task(door.knock(f"wrong {number}", user=f"user-{number}")) for number in range(20)
        ]
        await until_checking(door, before + CHECKS_AT_ONCE)
        while not any(knock.done() for knock in later):
            await asyncio.sleep(0)
        right = asyncio.create_task(door.knock(ADMIN_PASSWORD, address="192.0.2.1"))
        for _ in range(100):
            await asyncio.sleep(0)
        for knock in later:
            knock.cancel()
        door.open()
        assert await right == "admin"


async def test_password_known_to_be_right_passes_a_full_queue(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        assert await door.knock(ADMIN_PASSWORD) == "admin"
        first, _ = await until_full(door, MOST_WAITING + 1)
        assert await door.knock(ADMIN_PASSWORD) == "admin"
        assert await door.knock(ADMIN_PASSWORD + "x") == "TooManyAttempts"
        assert not any(knock.done() for knock in first)


async def test_client_that_has_left_is_never_checked(tmp_path: Path) -> None:
    leaving = asyncio.Event()
    async with standing(make_store(tmp_path)) as door:
        door.shut()
        before = [asyncio.create_task(door.knock(f"wrong {number}")) for number in range(CHECKS_AT_ONCE)]
        await until_checking(door)
        gone = [asyncio.create_task(door.knock(f"gone {number}", leaving=leaving)) for number in range(5)]
        both = [
            asyncio.create_task(door.knock("of two", user="ada", leaving=event)) for event in (leaving, None)
        ]
        await asyncio.sleep(0)
        leaving.set()
        assert await asyncio.gather(*gone, both[0]) == ["InvalidInput"] * 6
        door.open()
        assert await asyncio.gather(*before, both[1]) == ["Unauthorized"] * (CHECKS_AT_ONCE + 1)
    assert [said for said in door.checked if not said.startswith("wrong")] == ["of two"]


async def test_wrong_passwords_for_a_user_delay_the_next_check(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    async with standing(store) as door:
        wrong = [await door.knock(f"wrong {n}", address=address) for n, address in enumerate(addresses(4))]
        assert wrong == ["Unauthorized"] * 3 + ["TooManyAttempts"]
        # The same from everywhere, and for a name that nobody has.
        other = [await door.knock(f"wrong {n}", user="nobody", address=a) for n, a in enumerate(addresses(4))]
        assert other == wrong
        assert await door.knock(ADMIN_PASSWORD, address="192.0.2.1") == "TooManyAttempts"
        door.seconds += 1
        assert await door.knock("wrong again", address="192.0.2.2") == "Unauthorized"
        door.seconds += 1
        assert await door.knock(ADMIN_PASSWORD, address="192.0.2.1") == "TooManyAttempts"
        door.seconds += 1
        assert await door.knock(ADMIN_PASSWORD, address="192.0.2.1") == "admin"
        assert await door.knock("wrong once more", address="192.0.2.2") == "Unauthorized"


async def test_wrong_passwords_from_an_address_delay_all_its_users(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        wrong = [await door.knock(f"wrong {number}", user=f"user-{number}") for number in range(11)]
        assert wrong == ["Unauthorized"] * 10 + ["TooManyAttempts"]
        assert await door.knock(ADMIN_PASSWORD) == "TooManyAttempts"
        assert await door.knock(ADMIN_PASSWORD, address="192.0.2.1") == "admin"


async def test_password_known_to_be_right_is_never_delayed(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        assert await door.knock(ADMIN_PASSWORD) == "admin"
        for number in range(20):
            await door.knock(f"wrong {number}")
        assert await door.knock("wrong at last") == "TooManyAttempts"
        assert await door.knock(ADMIN_PASSWORD) == "admin"
        assert await door.knock(ADMIN_PASSWORD, address="192.0.2.1") == "admin"


async def test_known_password_is_forgotten_when_it_changes_or_its_user_is_disabled(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "ada", password="a long enough one", scopes=["read"])
    async with standing(store) as door:
        assert await door.knock("a long enough one", user="ada") == "ada"
        set_password(store, ADMIN, "ada", "another long one")
        assert await door.knock("a long enough one", user="ada") == "Unauthorized"
        assert await door.knock("another long one", user="ada") == "ada"
        set_password(store, ADMIN, "ada", "a long enough one")
        assert await door.knock("a long enough one", user="ada") == "ada"
        disable_user(store, ADMIN, "ada")
        assert await door.knock("a long enough one", user="ada") == "Unauthorized"


async def test_same_wrong_password_again_costs_no_check_and_no_delay(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path)) as door:
        assert {await door.knock("an old password") for _ in range(20)} == {"Unauthorized"}
        assert door.checked == ["an old password"]
        assert await door.knock(ADMIN_PASSWORD) == "admin"


async def test_name_that_nobody_has_is_looked_up_no_more_often_than_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def find(store: Store, name: str) -> Account | None:
        looked_up.append(name)
        return find_account(store, name)

    monkeypatch.setattr("conveyor.server.http.auth.find_account", find)
    store = make_store(tmp_path)
    async with standing(store) as door:
        for user in ("admin", "ada"):
            assert {await door.knock("an old password", user=user) for _ in range(3)} == {"Unauthorized"}
        assert looked_up == ["admin", "ada"]
        add_user(store, ADMIN, "ada", password="a long enough one", scopes=["read"])
        assert await door.knock("a long enough one", user="ada") == "ada"


async def test_one_password_in_two_encodings_is_checked_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    add_user(store, ADMIN, "zoe", password="größer als acht", scopes=["read"])
    async with standing(store) as door:
        for secret in ("größer als acht".encode("latin-1"), "größer als acht".encode()):
            assert await door.knock(secret, user="zoe") == "zoe"
        assert door.checked == ["größer als acht"]
        assert await door.knock("wrong") == "Unauthorized"
        assert door.checked[1:] == ["wrong"]


async def test_bytes_with_two_meanings_are_checked_as_both(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    looks_like_utf_8 = "gröger als acht".encode().decode("latin-1")
    add_user(store, ADMIN, "zoe", password=looks_like_utf_8, scopes=["read"])
    async with standing(store) as door:
        assert await door.knock(looks_like_utf_8.encode("latin-1"), user="zoe") == "zoe"
        assert door.checked == ["gröger als acht", looks_like_utf_8]
        assert await door.knock(looks_like_utf_8.encode("latin-1"), user="zoe") == "zoe"
        assert len(door.checked) == 2


async def test_clients_behind_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path), trusted="127.0.0.1") as door:
        for number in range(10):
            await door.knock(
                f"wrong {number}", user=f"user-{number}", address="127.0.0.1", forwarded="192.0.2.66"
            )
        refused = await door.knock(ADMIN_PASSWORD, address="127.0.0.1", forwarded="192.0.2.66")
        others = await door.knock(ADMIN_PASSWORD, address="127.0.0.1", forwarded="192.0.2.7")
    assert (refused, others) == ("TooManyAttempts", "admin")


async def test_what_others_say_of_where_they_come_from_does_not_count(tmp_path: Path) -> None:
    async with standing(make_store(tmp_path), trusted="127.0.0.1") as door:
        wrong = [
            await door.knock(f"wrong {number}", user=f"user-{number}", forwarded=address)
            for number, address in enumerate(addresses(11))
        ]
    assert wrong[-1] == "TooManyAttempts"


def test_server_says_when_to_come_again_and_tells_clients_of_its_proxy_apart(tmp_path: Path) -> None:
    environment = serve_environment(CONVEYOR_TRUSTED_PROXIES="127.0.0.0/8")
    with running_store(tmp_path / "store", environment=environment) as served:

        def status(user: str, password: str, address: str) -> urllib3.BaseHTTPResponse:
            headers = make_headers(basic_auth=f"{user}:{password}")
            return served.get("/api/v1/events", **headers, **{"X-Forwarded-For": address})

        for number in range(10):
            assert status(f"user-{number}", f"wrong {number}", "192.0.2.66").status == 401
        refused = status("admin", ADMIN_PASSWORD, "192.0.2.66")
        assert (refused.status, refused.json()["title"]) == (429, "TooManyAttempts")
        assert int(refused.headers["Retry-After"]) == refused.json()["retry_after_seconds"]
        assert status("admin", ADMIN_PASSWORD, "192.0.2.7").status == 200
        assert status("admin", ADMIN_PASSWORD, "192.0.2.66").status == 200


async def test_body_that_came_while_the_password_was_checked_is_whole() -> None:
    sent: asyncio.Queue[Message] = asyncio.Queue()
    body = AwaitedBody(sent.get, pause_seconds=60)
    pieces = [bytes([number]) * READ_AHEAD_BYTES for number in range(4)]
    for piece in pieces[:-1]:
        sent.put_nowait({"type": "http.request", "body": piece, "more_body": True})
    for _ in range(3):
        leaving = asyncio.create_task(departure(body))
        await asyncio.wait({leaving}, timeout=0.01)
        leaving.cancel()
    assert sent.qsize() == 1, "what is kept has a limit"
    sent.put_nowait({"type": "http.request", "body": pieces[-1], "more_body": False})
    assert [(await body())["body"] for _ in pieces] == pieces


async def test_message_on_its_way_is_not_lost_with_the_question_whether_the_client_is_there() -> None:
    sent: asyncio.Queue[Message] = asyncio.Queue()
    body = AwaitedBody(sent.get, pause_seconds=60)
    leaving = asyncio.create_task(departure(body))
    await asyncio.sleep(0)
    leaving.cancel()
    sent.put_nowait({"type": "http.request", "body": b"all", "more_body": False})
    assert (await body())["body"] == b"all"
    sent.put_nowait({"type": "http.disconnect"})
    await departure(body)
    assert (await body())["type"] == "http.disconnect"
