from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.domain.indexes.definitions import Index, IndexSettings, NewIndex
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.errors import Conflict, Forbidden, InvalidInput, InvalidName, NotFound, Unauthorized
from conveyor.operations.indexes.definitions import (
    create_index,
    get_index,
    list_indexes,
    set_index,
    visible_indexes,
)
from conveyor.operations.store.store import read
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = Identity("admin", frozenset({"admin"}))
READER = Identity("rea", frozenset({"read", "upload", "promote"}))


def test_new_index_is_listed_and_recorded(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    made = create_index(
        store,
        ADMIN,
        NewIndex("risk/stable", mode="promotion-only", bases=("stable", "pypi"), gates=("tests",)),
    )
    assert made == Index("risk/stable", "local", "promotion-only", bases=("stable", "pypi"), gates=("tests",))
    assert get_index(store, ADMIN, "risk/stable") == made
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert (event.action, event.actor, event.index) == ("create-index", "admin", "risk/stable")


def test_index_by_hand_has_no_gates_unless_the_policy_gives_it_some(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert create_index(store, ADMIN, NewIndex("candidate", mode="promotion-only")).gates == ()


def test_existing_index_is_not_made_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(Conflict, match="already"):
        create_index(store, ADMIN, NewIndex("stable", mode="uploads"))
    assert get_index(store, ADMIN, "stable").mode == "promotion-only"


@pytest.mark.parametrize(
    "name", ["", "Stable", "a/b/c", "a_b", "-a", "simple", "risk/pypi", "api", "x" * 65, "a/"]
)
def test_name_that_would_not_make_a_url_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        create_index(make_store(tmp_path), ADMIN, NewIndex(name, mode="uploads"))


def test_every_fault_of_a_new_index_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        create_index(
            make_store(tmp_path),
            ADMIN,
            NewIndex("mine", mode="promotion-only", bases=("stable", "nowhere", "stable"), gates=("luck",)),
        )
    assert len(raised.value.faults) == 3
    assert "nowhere" in raised.value.faults[0]


def test_only_administrators_make_indexes(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(Unauthorized):
        create_index(store, ANONYMOUS, NewIndex("mine", mode="uploads"))
    with pytest.raises(Forbidden):
        create_index(store, READER, NewIndex("mine", mode="uploads"))
    assert "mine" not in list_indexes(store)


def test_private_index_is_seen_by_those_who_may_read_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    create_index(store, ADMIN, NewIndex("secret", mode="uploads", is_private=True))
    assert "secret" not in [index.name for index in visible_indexes(store, ANONYMOUS)]
    assert "secret" in [index.name for index in visible_indexes(store, READER)]


def test_index_that_is_not_here_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        get_index(make_store(tmp_path), ADMIN, "nowhere")


def test_pythons_of_an_index_are_set_listed_and_recorded_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    for _ in range(2):
        made = set_index(store, ADMIN, IndexSettings("stable", pythons=("3.12", "pypy3.9")))
    assert made.pythons == ("3.12", "pypy3.9")
    assert get_index(store, ADMIN, "stable") == made
    assert set_index(store, ADMIN, IndexSettings("stable")).pythons == ()
    with read(store) as connection:
        events = events_since(connection, before)
    assert [(one.action, one.index, one.detail) for one in events] == [
        ("set-index", "stable", {"pythons": ["3.12", "pypy3.9"], "isolation": "required"}),
        ("set-index", "stable", {"pythons": [], "isolation": "required"}),
    ]


def test_settings_that_mean_nothing_are_refused_with_every_fault(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(InvalidInput) as raised:
        set_index(store, ADMIN, IndexSettings("unstable", pythons=("3.12", "3.12")))
    assert raised.value.faults == (
        "Python 3.12 is named twice",
        "Pythons are for tests before a promotion, and nothing is promoted into it",
    )
    with pytest.raises(NotFound):
        set_index(store, ADMIN, IndexSettings("nowhere"))
    with pytest.raises(Forbidden):
        set_index(store, READER, IndexSettings("stable"))
    assert not any(index.pythons for index in list_indexes(store).values())
