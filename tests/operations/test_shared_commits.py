"""Changes that share a commit, in threads that wait where the test says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
from sqlalchemy import event, insert

from conveyor.catalog.database.events import events_since
from conveyor.catalog.database.schema import read_fact, write_fact
from conveyor.catalog.database.tables import facts, releases
from conveyor.errors import Conflict, StorageFailed
from conveyor.operations.store.shared_commits import MOST_TOGETHER, record_together
from conveyor.operations.store.store import Prepared, Waiter, Waiting, read
from makers import make_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conveyor.catalog.database.events import Change
    from conveyor.domain.words.notation import Event
    from conveyor.operations.store.store import Store

    Work = Callable[[Change], object]

WAIT_SECONDS = 30
Result = TypeVar("Result")


class NotedEvent(threading.Event):
    """Tells when somebody begins to wait for it."""

    def __init__(self, noted: threading.Semaphore) -> None:
        super().__init__()
        self._noted = noted

    def wait(self, timeout: float | None = None) -> bool:
        self._noted.release()
        assert super().wait(timeout or WAIT_SECONDS), "nobody has woken this one"
        return True


class NotedWaiting(Waiting):
    """A queue of which one knows when somebody has joined it and does not lead."""

    def __init__(self) -> None:
        super().__init__()
        self.queued = threading.Semaphore(0)

    def join(self, waiter: Waiter[Result]) -> bool:
        waiter.woken = NotedEvent(self.queued)
        return super().join(waiter)


def record(store: Store, *, actor: str, work: Callable[[Change], Result]) -> Result:
    """Record a change whose work does all in one part, and which any other may affect."""
    return record_together(store, actor=actor, work=lambda change: Prepared(work(change)), key=None)


def heard_together(store: Store, works: Sequence[Work], *, keys: Sequence[str | None] = ()) -> list[object]:
    """What each work gave, or the error that was raised, when all of them waited for the same turn.

    With ``keys``, a work gives what is prepared.

    They come in the order given, while the turn is somebody else's, and their actors are ``0``, ``1`` ….
    """
    waiting = NotedWaiting()
    noted = replace(store, waiting=waiting)
    has_turn, may_end = threading.Event(), threading.Event()

    def hold_the_turn(_: Change) -> None:
        has_turn.set()
        assert may_end.wait(WAIT_SECONDS)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        before = pool.submit(record, noted, actor="before", work=hold_the_turn)
        assert has_turn.wait(WAIT_SECONDS)
        calls = []
        for number, work in enumerate(works):
            recording = partial(record_together, key=keys[number]) if keys else record
            calls.append(pool.submit(recording, noted, actor=str(number), work=work))
            assert waiting.queued.acquire(timeout=WAIT_SECONDS)
        may_end.set()
        before.result(WAIT_SECONDS)
        return [call.exception(WAIT_SECONDS) or call.result() for call in calls]


def counted_commits(store: Store) -> list[object]:
    """Grows by one with each commit from now on."""
    commits: list[object] = []
    event.listen(store.catalog, "commit", commits.append)
    return commits


def paint(colour: str, change: Change) -> int:
    """A work: a row and an event; gives its serial."""
    write_fact(change.connection, colour, "painted")
    return change.event("paint", detail={"colour": colour})


def painted(store: Store, *colours: str) -> set[str]:
    """Those colours whose rows are there."""
    with read(store) as connection:
        return {colour for colour in colours if read_fact(connection, colour) is not None}


def events_after(store: Store, serial: int) -> list[Event]:
    with read(store) as connection:
        return events_since(connection, serial)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def test_changes_that_wait_for_the_same_turn_share_one_commit(store: Store) -> None:
    before = store.newest.read()
    colours = ["red", "green", "blue"]
    commits = counted_commits(store)
    heard = heard_together(store, [partial(paint, colour) for colour in colours])
    assert len(commits) == 2, "one is of who had the turn before"
    assert heard == [before + 1, before + 2, before + 3]
    assert [(each.serial, each.actor, each.detail) for each in events_after(store, before)] == [
        (before + 1 + number, str(number), {"colour": colour}) for number, colour in enumerate(colours)
    ]
    assert painted(store, *colours) == set(colours)
    assert store.newest.peek() == before + 3


def test_serial_of_changes_of_which_the_last_records_nothing_is_published(store: Store) -> None:
    before = store.newest.read()
    heard = heard_together(store, [partial(paint, "red"), lambda _: "nothing to do"])
    assert heard == [before + 1, "nothing to do"]
    assert store.newest.peek() == before + 1


def test_change_sees_those_before_it_in_the_same_transaction(store: Store) -> None:
    def look(change: Change) -> str | None:
        return read_fact(change.connection, "red")

    assert heard_together(store, [look, partial(paint, "red"), look])[::2] == [None, "painted"]


def paint_in_parts(done: list[str], colour: str, change: Change) -> Prepared[str]:
    """A work in two parts: a row, then an event."""
    write_fact(change.connection, colour, "painted")
    done.append(f"{colour} is painted")

    def show() -> None:
        done.append(f"{colour} is shown")
        if colour == "mud":
            raise ValueError("not in this colour")
        change.event("paint", detail={"colour": colour})

    return Prepared(colour, show if colour != "water" else None)


def test_works_that_do_not_affect_each_other_take_their_serials_last(store: Store) -> None:
    before = store.newest.read()
    done: list[str] = []
    colours, keys = ["red", "green", "blue", "grey", "white"], ["a", "b", "a", None, "b"]
    works = [partial(paint_in_parts, done, colour) for colour in colours]
    assert heard_together(store, works, keys=keys) == colours
    assert done == [
        *("red is painted", "green is painted", "red is shown", "green is shown"),
        *("blue is painted", "blue is shown"),  # blue has the key of red, and grey may be affected by any
        *("grey is painted", "grey is shown"),
        *("white is painted", "white is shown"),
    ]
    assert [(each.serial, each.detail["colour"]) for each in events_after(store, before)] == [
        (before + 1 + number, colour) for number, colour in enumerate(colours)
    ]


def test_work_without_an_event_takes_no_serial(store: Store) -> None:
    before = store.newest.read()
    colours = ["red", "water", "blue"]
    works = [partial(paint_in_parts, [], colour) for colour in colours]
    assert heard_together(store, works, keys=colours) == colours
    assert [(each.serial, each.actor) for each in events_after(store, before)] == [
        (before + 1, "0"),
        (before + 2, "2"),
    ]
    assert store.newest.peek() == before + 2


def test_event_that_cannot_be_written_takes_nothing_back_but_its_own(store: Store) -> None:
    before = store.newest.read()
    colours = ["red", "mud", "blue"]
    works = [partial(paint_in_parts, [], colour) for colour in colours]
    red, mud, blue = heard_together(store, works, keys=colours)
    assert (red, str(mud), blue) == ("red", "not in this colour", "blue")
    assert painted(store, *colours) == {"red", "blue"}
    assert [each.serial for each in events_after(store, before)] == [before + 1, before + 2]


def test_work_that_raises_takes_nothing_back_but_its_own(store: Store) -> None:
    before = store.newest.read()
    own = ValueError("not in this colour")

    def spill(change: Change) -> None:
        paint("mud", change)
        raise own

    heard = heard_together(store, [partial(paint, "red"), spill, partial(paint, "blue")])
    assert heard == [before + 1, own, before + 2]
    assert painted(store, "red", "mud", "blue") == {"red", "blue"}
    assert [(each.serial, each.actor) for each in events_after(store, before)] == [
        (before + 1, "0"),
        (before + 2, "2"),
    ]
    assert store.newest.peek() == before + 2


def test_error_of_the_database_is_of_the_one_who_wrote(store: Store) -> None:
    def take_the_key(change: Change) -> None:
        change.connection.execute(insert(facts).values(key="store-id", value="mine"))

    heard = heard_together(store, [partial(paint, "red"), take_the_key, partial(paint, "blue")])
    assert isinstance(heard[1], Conflict)
    assert painted(store, "red", "blue") == {"red", "blue"}


def test_work_that_was_refused_for_what_another_takes_back_is_decided_anew(store: Store) -> None:
    before = store.newest.read()
    calls: list[Change] = []

    def paint_but_once(change: Change) -> int:
        calls.append(change)
        serial = paint("red", change)
        if len(calls) > 1:
            raise ValueError("there is no more paint")
        return serial

    def paint_what_is_bare(change: Change) -> int:
        if read_fact(change.connection, "red"):
            raise ValueError("it is painted")
        return paint("red", change)

    first, second = heard_together(store, [paint_but_once, paint_what_is_bare])
    assert (str(first), second) == ("there is no more paint", before + 1)


def break_the_commit(change: Change) -> None:
    """A work: a row whose project is missing, which SQLite finds out when it commits."""
    change.connection.exec_driver_sql("pragma defer_foreign_keys=on")
    row = {"project": "nothing", "version": "1.0", "created_at": change.at}
    change.connection.execute(insert(releases).values(row))
    change.event("break")


def test_commit_that_fails_has_failed_for_all(store: Store) -> None:
    before = store.newest.read()
    heard = heard_together(store, [partial(paint, "red"), break_the_commit, partial(paint, "blue")])
    assert [(type(error), str(error).splitlines()[0]) for error in heard] == [
        (Conflict, "the change was not stored: somebody else changed the same thing at the same time")
    ] * 3
    assert painted(store, "red", "blue") == set()
    assert events_after(store, before) == []
    assert store.newest.peek() == before, "the serial that was announced is taken back"
    assert record(store, actor="after", work=partial(paint, "red")) == before + 1


def test_each_raises_an_error_of_its_own_about_a_commit_that_fails(store: Store) -> None:
    """An error that several threads raise at once collects the traceback of all of them."""
    heard = heard_together(store, [break_the_commit, partial(paint, "red")])
    one, other = (error for error in heard if isinstance(error, Conflict))
    assert one is not other
    assert one.__cause__ is other.__cause__ is not None
    assert one.hint == other.hint == "look again, then try again"


def test_turn_that_cannot_be_taken_is_told_to_everybody_and_stops_nobody_later(
    store: Store, tmp_path: Path
) -> None:
    store.catalog.dispose()
    turn = tmp_path / "catalog.sqlite-turn"
    turn.unlink()
    turn.mkdir()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(record, store, actor="ann", work=partial(paint, "red")) for _ in range(8)]
        errors = [call.exception(WAIT_SECONDS) for call in calls]
    assert {type(error) for error in errors} == {StorageFailed}
    assert "the turn to write the catalogue cannot be taken" in str(errors[0])
    turn.rmdir()
    assert record(store, actor="ann", work=partial(paint, "red")) == store.newest.peek()


def interrupt(change: Change) -> None:
    paint("mud", change)
    raise KeyboardInterrupt


def test_thread_that_is_interrupted_while_it_leads_stops_nobody(store: Store) -> None:
    """The others hear an error of the store, never the interrupt, which would end an event loop."""
    before = store.newest.read()
    heard = heard_together(store, [partial(paint, "red"), interrupt, partial(paint, "blue")])
    assert [type(error) for error in heard] == [KeyboardInterrupt, StorageFailed, StorageFailed]
    assert painted(store, "red", "mud", "blue") == set()
    assert store.newest.peek() == before
    assert record(store, actor="after", work=partial(paint, "red")) == before + 1


def test_who_was_done_before_its_leader_was_interrupted_hears_that(store: Store) -> None:
    before = store.newest.read()
    calls: list[Change] = []

    def lead_into_it(change: Change) -> None:
        calls.append(change)

    def send_everybody_alone_then_interrupt(change: Change) -> None:
        if len(calls) == 1:
            raise ValueError("everybody is done alone now")
        interrupt(change)

    red, blue = partial(paint, "red"), partial(paint, "blue")
    _, done, *undone = heard_together(store, [lead_into_it, red, send_everybody_alone_then_interrupt, blue])
    assert done == before + 1
    assert [type(error) for error in undone] == [StorageFailed, StorageFailed]
    assert painted(store, "red", "mud", "blue") == {"red"}


def test_more_than_share_a_commit_go_on_in_the_next(store: Store) -> None:
    before = store.newest.read()
    count = MOST_TOGETHER + 6
    commits = counted_commits(store)
    heard = heard_together(store, [partial(paint, str(number)) for number in range(count)])
    assert heard == list(range(before + 1, before + 1 + count))
    assert len(commits) == 3
