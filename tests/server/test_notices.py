"""Messages that a real server sends: signed, once each, again when they did not arrive."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from conveyor.client.store import connect
from conveyor.domain.notices.receivers import NewReceiver
from conveyor.domain.people.access import NewToken
from conveyor.operations.notices.outbox import LEASE_SECONDS
from conveyor.operations.notices.receivers import add_receiver
from conveyor.operations.people.tokens import create_token
from conveyor.operations.releases.withdrawals import unyank_release, yank_release
from distributions_made import make_wheel
from mail_servers import running_mail_server
from makers import copy_prepared_store, make_store
from receiving_programs import PATIENCE_SECONDS, running_program
from releases_made import ADMIN, hand_in, make_release, make_worker, predicate_of_tests, publish
from running_stores import children_of, running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conveyor.client.store import StoreClient
    from conveyor.domain.notices.receivers import Delivery, ReceiverMade
    from figures import Figures
    from receiving_programs import Program
    from running_stores import RunningStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store of two processes, for the tests that do not stop it."""
    with running_store(tmp_path_factory.mktemp("notices") / "store", workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(store: RunningStore) -> StoreClient:
    return administrator(store)


@pytest.fixture
def program() -> Iterator[Program]:
    with running_program() as running:
        yield running


def administrator(store: RunningStore) -> StoreClient:
    return connect(store.url, token=create_token(make_store(store.data), ADMIN, NewToken("admin")).secret)


def register(client: StoreClient, url: str) -> ReceiverMade:
    return client.receivers.add(NewReceiver(url, is_local=True))


@pytest.fixture
def add(client: StoreClient) -> Iterator[Callable[[str], ReceiverMade]]:
    """Registers a receiver for the time of the test."""
    made: list[ReceiverMade] = []

    def added(url: str) -> ReceiverMade:
        made.append(register(client, url))
        return made[-1]

    yield added
    for one in made:
        client.receivers.remove(one.receiver.id)


def is_signed(made: ReceiverMade, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver checks it, at once."""
    assert made.secret is not None
    is_now = abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    return is_now and is_signed_by(made.secret, headers, body)


def is_signed_by(secret: str, headers: dict[str, str], body: bytes) -> bool:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{wanted}"


def settled(client: StoreClient, count: int, *made: ReceiverMade, state: str = "delivered") -> list[Delivery]:
    """The messages to these receivers in a state that were tried, once there are so many."""
    ids = {one.receiver.id for one in made}
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        listed = client.receivers.deliveries(state=state, limit=200)
        found = [one for one in listed if one.answer and one.receiver in ids]
        if len(found) >= count:
            return found
        assert time.monotonic() < end, client.receivers.deliveries()
        time.sleep(0.05)


def test_several_processes_post_each_message_once_signed_and_as_json(
    store: RunningStore, client: StoreClient, program: Program, add: Callable[[str], ReceiverMade]
) -> None:
    made = add(f"{program.url}/")
    data = make_store(store.data)
    for version in ("1.0", "2.0"):
        publish(data, make_wheel("several", version))
    settled(client, 2, made)
    assert sorted(one["data"]["version"] for one in program.told()) == ["1.0", "2.0"]
    assert program.types() == ["file.uploaded"] * 2
    assert all(is_signed(made, headers, body) for _, headers, body in program.posted)
    assert {headers["content-type"] for _, headers, _ in program.posted} == {"application/json"}
    assert program.told()[0]["data"]["store"] == f"{store.url}/"


def test_answer_decides_whether_it_is_tried_again_and_no_redirect_is_followed(
    client: StoreClient, program: Program, add: Callable[[str], ReceiverMade]
) -> None:
    program.answers = {"/broken": 500, "/moved": 307, "/gone": 410}
    broken, moved, gone = (add(program.url + place) for place in program.answers)
    for one in (broken, moved, gone):
        client.receivers.ping(one.receiver.id)
    (ended,) = settled(client, 1, gone, state="failed")
    assert (ended.answer, ended.attempts, ended.next_at) == ("410", 1, None)
    waiting = settled(client, 2, broken, moved, state="waiting")
    assert {one.answer for one in waiting} == {"500", "307"}
    program.answers = {}
    settled(client, 2, broken, moved)
    ids = {headers["webhook-id"] for place, headers, _ in program.posted if place == "/broken"}
    assert len(ids) == 1, "a receiver knows again what came before"
    assert program.told("/elsewhere") == []
    client.receivers.redeliver(ended.id)
    assert [one.id for one in settled(client, 1, gone)] == [ended.id]


def test_silent_receiver_holds_up_itself_alone(
    store: RunningStore, client: StoreClient, program: Program, add: Callable[[str], ReceiverMade]
) -> None:
    program.silent = {"/silent"}
    silent, well = add(f"{program.url}/silent"), add(f"{program.url}/well")
    data = make_store(store.data)
    for number in range(8):
        publish(data, make_wheel("alone", f"{number}.0"))
    assert len(settled(client, 8, well)) == 8
    assert program.told("/silent")
    assert [one for one in client.receivers.deliveries(receiver_id=silent.receiver.id) if one.answer] == []


def test_server_without_a_mail_server_says_so_and_leaves_the_mail_to_others(
    client: StoreClient, add: Callable[[str], ReceiverMade]
) -> None:
    made = add("mailto:qa@team.example")
    client.receivers.ping(made.receiver.id)
    (told,) = settled(client, 1, made, state="waiting")
    assert "CONVEYOR_SMTP_URL" in str(told.answer)


def test_server_that_is_stopped_in_the_middle_sends_it_at_its_next_start(
    tmp_path: Path, program: Program
) -> None:
    program.silent = {"/"}
    with running_store(tmp_path / "store") as store:
        made = register(administrator(store), f"{program.url}/")
        publish(make_store(store.data), make_wheel("demo", "1.0"))
        program.wait_for(1)
    program.silent = set()
    with running_store(tmp_path / "store") as store:
        program.wait_for(2)
        settled(administrator(store), 1, made)
    assert len({headers["webhook-id"] for _, headers, _ in program.posted}) == 1
    assert all(is_signed(made, headers, body) for _, headers, body in program.posted)


def test_people_are_mailed_what_they_care_about_as_one_thread_per_release(tmp_path: Path) -> None:
    copy_prepared_store(tmp_path / "store")
    with running_mail_server() as mail_server:
        environment = serve_environment(
            CONVEYOR_SMTP_URL=f"smtp://127.0.0.1:{mail_server.port}",
            CONVEYOR_MAIL_FROM="store@team.example",
            CONVEYOR_PUBLIC_URL="https://packages.example/",
        )
        with running_store(tmp_path / "store", environment=environment) as store:
            client = administrator(store)
            made = register(client, "mailto:qa@team.example")
            assert made.secret is None
            data = make_store(tmp_path / "store")
            worker = make_worker(data)
            _, wheel = make_release(data, worker)
            hand_in(data, worker, "tests", wheel, predicate_of_tests(index="testing"))
            hand_in(data, worker, "tests", wheel, predicate_of_tests(index="stable"))
            promoted, waiting = mail_server.wait_for(2)
            (told, asked) = settled(client, 2, made)
    assert promoted["Subject"] == "demo 1.0 is in testing now"
    assert waiting["Subject"] == "demo 1.0 waits before stable: qa-signature"
    assert (promoted["From"], promoted["To"]) == ("Conveyor <store@team.example>", "qa@team.example")
    assert promoted["Auto-Submitted"] == "auto-generated"
    assert promoted["List-Id"] == "Conveyor <conveyor.team.example>"
    assert {promoted["Message-ID"], waiting["Message-ID"]} == {
        f"<{one.id}@team.example>" for one in (told, asked)
    }
    assert promoted["In-Reply-To"] == waiting["In-Reply-To"] == waiting["References"]
    text = waiting.get_content()
    assert "- qa-signature: " in text
    assert "more: https://packages.example/api/v1/projects/demo/releases/1.0" in text
    assert "Subject" not in text


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_no_message_is_lost_or_out_of_order_however_often_the_servers_are_killed(
    tmp_path: Path, program: Program, figures: Figures
) -> None:
    """Parent and workers are killed while they post; what they had taken is due again when its lease ends."""
    copy_prepared_store(tmp_path / "store")
    data = make_store(tmp_path / "store")
    made = add_receiver(data, ADMIN, NewReceiver(f"{program.url}/", is_local=True))
    kills, releases = 4, [f"{number}.0" for number in range(12)]
    for round_ in range(kills):
        with running_store(tmp_path / "store", workers=2) as store:
            for version in releases[round_ * 3 : round_ * 3 + 3]:
                publish(data, make_wheel("killed", version))
                yank_release(data, ADMIN, "killed", version, reason="wrong data")
                unyank_release(data, ADMIN, "killed", version)
            program.wait_for(1 + 4 * round_)
            for process in (*children_of(store.process), store.process.pid):
                os.kill(process, signal.SIGKILL)
    with running_store(tmp_path / "store", workers=2) as store:
        client = administrator(store)
        ends = time.monotonic() + 2 * LEASE_SECONDS + PATIENCE_SECONDS
        while [one for one in client.receivers.deliveries(limit=200) if one.state != "delivered"]:
            assert time.monotonic() < ends, client.receivers.deliveries(limit=200)
            time.sleep(0.5)
    told: dict[str, list[str]] = {}
    seen = set()
    for _, headers, body in program.posted:
        assert is_signed_by(str(made.secret), headers, body)
        if headers["webhook-id"] not in seen:
            seen.add(headers["webhook-id"])
            message = json.loads(body)
            told.setdefault(message["data"]["version"], []).append(message["type"])
    in_order = ["file.uploaded", "release.yanked", "release.unyanked"]
    assert told == dict.fromkeys(releases, in_order)
    figures("kill -9 of senders", kills=kills, messages=len(seen), posted=len(program.posted))
