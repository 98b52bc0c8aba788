"""Messages about changes, on every database: made once, taken by one process, in order, until they arrive."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.indexes.definitions import NewIndex
from conveyor.domain.notices.receivers import NewReceiver
from conveyor.domain.people.access import Identity
from conveyor.errors import Conflict, Forbidden, NotFound
from conveyor.operations.indexes.definitions import create_index
from conveyor.operations.notices.outbox import (
    LEASE_SECONDS,
    MOST_AT_ONCE,
    DeliveryOutcome,
    give_back,
    settle,
    take_due,
    write_messages,
)
from conveyor.operations.notices.receivers import (
    add_receiver,
    list_deliveries,
    list_receivers,
    redeliver,
    remove_receiver,
    send_ping,
)
from conveyor.operations.releases.withdrawals import unyank_release, yank_release
from conveyor.operations.runs.queue import cancel_run
from conveyor.operations.store.facts import list_events
from distributions_made import make_wheel
from makers import by_processes, make_settings, make_store
from mirrors import Clock
from releases_made import (
    ADMIN,
    hand_in,
    make_release,
    make_team_chain,
    make_worker,
    predicate_of_tests,
    publish,
    request_run,
)

if TYPE_CHECKING:
    from conveyor.domain.notices.receivers import Receiver, TakenMessage
    from conveyor.operations.store.store import Store

DELIVERED, REFUSED = (
    DeliveryOutcome(is_delivered=True, text="204"),
    DeliveryOutcome(is_delivered=False, text="500"),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, database_url: str, clock: Clock) -> Store:
    return replace(make_store(tmp_path / "store", database_url=database_url), clock=clock)


def add(store: Store, url: str = "https://hooks.example.org/", **more: Any) -> Receiver:
    return add_receiver(store, ADMIN, NewReceiver(url, **more)).receiver


def take(store: Store, **busy: int) -> list[TakenMessage]:
    write_messages(store)
    return take_due(store, busy=busy)[0]


def type_of(taken: TakenMessage) -> str:
    return str(json.loads(taken.body)["type"])


def all_types(store: Store) -> list[str]:
    """The types of everything that was ever to be told, oldest first."""
    write_messages(store)
    return [one.type for one in reversed(list_deliveries(store, ADMIN, limit=200))]


def test_whole_way_of_a_release_is_told_in_order(store: Store) -> None:
    worker = make_worker(store)
    publish(store, make_wheel("before", "1.0"))
    add(store)
    _, wheel = make_release(store, worker)
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing", failed=1))
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing", failed=1, skipped=1))
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing"))
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="stable"))
    yank_release(store, ADMIN, "demo", "1.0", reason="wrong data")
    unyank_release(store, ADMIN, "demo", "1.0")
    assert all_types(store) == [
        "file.uploaded",
        "file.uploaded",
        "release.tested",
        "release.refused",
        "release.tested",
        "release.tested",
        "release.promoted",
        "release.tested",
        "release.waiting",
        "release.yanked",
        "release.unyanked",
    ]
    assert write_messages(store) == 0
    seen = []
    while taken := take(store):
        seen += [type_of(one) for one in taken]
        for one in taken:
            settle(store, one, DELIVERED)
    assert seen == all_types(store)


def test_tests_are_told_with_their_counts_and_a_refusal_with_its_verdicts(store: Store) -> None:
    worker = make_worker(store)
    _, wheel = make_release(store, worker)
    add(store, events=("release.tested", "release.refused"))
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="testing", failed=2))
    (tested,) = take(store)
    data = json.loads(tested.body)["data"]
    assert data["tests"] == {"passed": 3, "failed": 2, "errors": 0, "skipped": 0}
    settle(store, tested, DELIVERED)
    (refused,) = take(store)
    data = json.loads(refused.body)["data"]
    assert ([one["gate"] for one in data["verdicts"]], data["indexes"]) == (["tests"], ["testing"])
    assert "2 tests failed" in data["verdicts"][0]["reason"]


def test_runs_are_told_to_receivers_of_their_project(store: Store) -> None:
    ours = add(store, projects=("demo",))
    add(store, "https://others.example.org/", projects=("other",))
    run = request_run(store)
    cancel_run(store, ADMIN, run.id, "no longer wanted")
    write_messages(store)
    told = list_deliveries(store, ADMIN)
    assert [(one.receiver, one.type, one.subject) for one in told] == [
        (ours.id, "run.cancelled", f"run {run.id}"),
        (ours.id, "run.requested", f"run {run.id}"),
    ]


def test_private_indexes_are_told_to_nobody_who_does_not_name_them(store: Store) -> None:
    create_index(store, ADMIN, NewIndex("secret", "uploads", bases=(), is_private=True))
    make_team_chain(store)
    add(store, "https://all.example.org/")
    add(store, "https://named.example.org/", indexes=("secret",))
    worker = make_worker(store)
    _, wheel = make_release(store, worker, index="secret")
    hand_in(store, worker, "tests", wheel, predicate_of_tests(index="secret"))
    publish(store, make_wheel("open", "1.0"), index="risk/unstable")
    write_messages(store)
    receivers = {one.id: one.url for one in list_receivers(store, ADMIN)}
    told = [(receivers[one.receiver], one.subject) for one in list_deliveries(store, ADMIN)]
    assert sorted(set(told)) == [
        ("https://all.example.org/", "open 1.0"),
        ("https://named.example.org/", "demo 1.0"),
    ]


def test_release_waits_for_its_earlier_messages_and_others_do_not(store: Store, clock: Clock) -> None:
    add(store)
    for version in ("1.0", "2.0"):
        publish(store, make_wheel("demo", version))
        yank_release(store, ADMIN, "demo", version, reason="wrong data")
    first, other = take(store)
    assert [(one.subject, type_of(one)) for one in (first, other)] == [
        ("demo 1.0", "file.uploaded"),
        ("demo 2.0", "file.uploaded"),
    ]
    assert take(store) == []
    settle(store, first, REFUSED)
    settle(store, other, DELIVERED)
    (following,) = take(store)
    assert (following.subject, type_of(following)) == ("demo 2.0", "release.yanked")
    clock.pass_by(timedelta(seconds=5))
    again = next(one for one in take(store) if one.subject == "demo 1.0")
    assert (again.id, again.body, again.attempts) == (first.id, first.body, 2)


def test_receiver_that_is_busy_gets_a_few_messages_and_others_all_of_theirs(store: Store) -> None:
    dead, well = add(store, "https://dead.example.org/"), add(store, "https://well.example.org/")
    for number in range(MOST_AT_ONCE + 2):
        publish(store, make_wheel("demo", f"{number}.0"))
    taken = take(store)
    assert [one.receiver.id for one in taken].count(dead.id) == MOST_AT_ONCE
    for one in taken:
        if one.receiver.id == well.id:
            settle(store, one, DELIVERED)
    more = take(store, **{dead.id: MOST_AT_ONCE})
    assert {one.receiver.id for one in more} == {well.id}


def test_message_is_given_up_after_a_day_and_can_be_sent_again(store: Store, clock: Clock) -> None:
    receiver = add(store)
    publish(store, make_wheel("demo", "1.0"))
    yank_release(store, ADMIN, "demo", "1.0", reason="wrong data")
    attempts = 0
    while (taken := take(store)) and type_of(taken[0]) == "file.uploaded":
        attempts += 1
        following = settle(store, taken[0], REFUSED)
        if following is not None:
            clock.pass_by(timedelta(seconds=4 * 3600))
    assert 5 <= attempts <= 10
    assert type_of(taken[0]) == "release.yanked", "what comes after it is not lost with it"
    settle(store, taken[0], DELIVERED)
    yanked, uploaded = list_deliveries(store, ADMIN, receiver_id=receiver.id)
    assert (uploaded.state, uploaded.answer, uploaded.next_at) == ("failed", "500", None)
    assert [one.id for one in list_deliveries(store, ADMIN, state="delivered")] == [yanked.id]
    redeliver(store, ADMIN, uploaded.id)
    (again,) = take(store)
    assert (again.id, again.attempts) == (uploaded.id, 1)
    settle(store, again, DELIVERED)
    assert list_deliveries(store, ADMIN, state="failed") == []


def test_message_of_a_process_that_died_is_sent_by_another(store: Store, clock: Clock) -> None:
    add(store)
    publish(store, make_wheel("demo", "1.0"))
    (lost,) = take(store)
    clock.pass_by(timedelta(seconds=LEASE_SECONDS - 1))
    assert take(store) == []
    clock.pass_by(timedelta(seconds=1))
    (found,) = take(store)
    assert (found.id, found.attempts) == (lost.id, 2)
    settle(store, lost, REFUSED)  # it was only asleep; the other's attempt holds
    settle(store, found, DELIVERED)
    (told,) = list_deliveries(store, ADMIN)
    assert (told.state, told.answer) == ("delivered", "204")


def test_process_that_ends_gives_its_messages_back_at_once(store: Store) -> None:
    add(store)
    publish(store, make_wheel("demo", "1.0"))
    (taken,) = take(store)
    give_back(store, taken)
    assert [one.id for one in take(store)] == [taken.id]


def test_event_becomes_one_message_and_is_taken_once_by_however_many_processes(
    store: Store, tmp_path: Path, database_url: str
) -> None:
    add(store)
    for number in range(MOST_AT_ONCE):
        publish(store, make_wheel("demo", f"{number}.0"))
    settings = make_settings(tmp_path / "store", database_url=database_url)
    taken = chain.from_iterable(by_processes(4, settings, store, take))
    assert len(list_deliveries(store, ADMIN)) == MOST_AT_ONCE
    assert sorted(one.subject for one in taken) == [f"demo {number}.0" for number in range(MOST_AT_ONCE)]


def test_receiver_that_is_removed_is_told_nothing_more(store: Store) -> None:
    receiver = add(store)
    sent = send_ping(store, ADMIN, receiver.id)
    with pytest.raises(Conflict, match="not sent yet"):
        redeliver(store, ADMIN, sent.id)
    assert [type_of(one) for one in take(store)] == ["ping"]
    remove_receiver(store, ADMIN, receiver.id)
    publish(store, make_wheel("demo", "1.0"))
    assert take(store) == []
    assert list_deliveries(store, ADMIN) == []
    for call in (remove_receiver, send_ping, redeliver):
        with pytest.raises(NotFound):
            call(store, ADMIN, receiver.id)


def test_only_administrators_say_who_is_told_and_no_list_or_log_holds_a_secret(store: Store) -> None:
    made = add_receiver(store, ADMIN, NewReceiver("https://hooks.example.org/room-key"))
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(list_receivers(store, ADMIN))
    assert "room-key" not in repr(list_events(store, ADMIN)), "the path may open a chat room"
    send_ping(store, ADMIN, made.receiver.id)
    (taken,) = take(store)
    assert made.secret not in repr(taken)
    stranger = Identity("somebody", frozenset({"read", "upload", "run"}))
    for ask in (list_receivers, list_deliveries):
        with pytest.raises(Forbidden):
            ask(store, stranger)
    with pytest.raises(Forbidden):
        add_receiver(store, stranger, NewReceiver("https://hooks.example.org/"))


DYING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conveyor.catalog.notices import outbox as rows
from conveyor.operations.notices import outbox
from makers import make_store

insert, left = rows.insert_delivery, [{count}]
def insert_and_die(*arguments, **named):
    insert(*arguments, **named)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
rows.insert_delivery = insert_and_die
store = make_store(Path({data!r}), database_url={database_url!r})
outbox.write_messages(store)
taken, _ = outbox.take_due(store, busy={{}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_process_killed_while_it_makes_messages_leaves_none_or_all(tmp_path: Path, database_url: str) -> None:
    data = tmp_path / "store"
    store = make_store(data, database_url=database_url)
    add_receiver(store, ADMIN, NewReceiver("https://hooks.example.org/"))
    for number in range(3):
        publish(store, make_wheel("demo", f"{number}.0"))
    for count, left in ((2, 0), (99, 3)):
        script = DYING.format(
            tests=str(Path(__file__).parents[1]), data=str(data), count=count, database_url=database_url
        )
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
        assert len(list_deliveries(store, ADMIN)) == left
    assert write_messages(store) == 0
    assert [one.attempts for one in list_deliveries(store, ADMIN)] == [1, 1, 1], (
        "due again when the lease ends"
    )
