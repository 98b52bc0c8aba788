from __future__ import annotations

from dataclasses import replace

import pytest

from conveyor.domain.indexes.definitions import DEFAULT_INDEXES, Index
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.releases.promotions import (
    Way,
    choose_source,
    entry_to_name,
    next_station,
    plan_way,
    successors,
    way_of_run,
)
from conveyor.errors import Conflict, NotFound

INDEXES = {index.name: index for index in DEFAULT_INDEXES}


def with_more(*more: Index) -> dict[str, Index]:
    return INDEXES | {index.name: index for index in more}


def test_way_to_the_next_index_has_one_station() -> None:
    assert plan_way("unstable", "testing", INDEXES) == Way("unstable", ("testing",))
    assert plan_way("testing", "stable", INDEXES) == Way("testing", ("stable",))


def test_way_past_an_index_leads_through_it() -> None:
    strict = Index("testing", "local", "promotion-only", bases=("stable", "pypi"), gates=("metrics", "tests"))
    way = plan_way("unstable", "stable", with_more(strict))
    assert way.stations == ("testing", "stable")
    assert way.passed_through == ("testing",)


@pytest.mark.parametrize(
    ("source", "target"),
    [("stable", "testing"), ("testing", "unstable"), ("testing", "testing"), ("unstable", "pypi")],
)
def test_no_way_leads_backwards_in_place_or_into_a_mirror(source: str, target: str) -> None:
    with pytest.raises(Conflict):
        plan_way(source, target, INDEXES)


def test_no_way_leads_to_an_index_that_is_no_base() -> None:
    indexes = with_more(Index("risk/stable", "local", "promotion-only", bases=("stable",)))
    with pytest.raises(Conflict, match="not a base of it"):
        plan_way("unstable", "risk/stable", indexes)


def test_unknown_indexes_are_not_found() -> None:
    for source, target in (("unstable", "nowhere"), ("nowhere", "stable")):
        with pytest.raises(NotFound):
            plan_way(source, target, INDEXES)


def test_indirect_bases_are_reached() -> None:
    indexes = with_more(Index("nightly", "local", "uploads", bases=("unstable",)))
    assert plan_way("nightly", "stable", indexes).stations == ("unstable", "testing", "stable")


def test_both_branches_of_a_fork_are_passed() -> None:
    indexes = with_more(
        Index("left", "local", "promotion-only", bases=("stable",), gates=("l",)),
        Index("right", "local", "promotion-only", bases=("stable",), gates=("r",)),
        Index("top", "local", "uploads", bases=("left", "right")),
    )
    way = plan_way("top", "stable", indexes)
    assert way.target == "stable"
    assert set(way.passed_through) == {"left", "right"}
    assert plan_way("top", "left", indexes).stations == ("left",)


def test_source_is_the_index_that_leads_to_the_target() -> None:
    assert choose_source({"unstable"}, "stable", wanted=None, indexes=INDEXES) == "unstable"
    assert choose_source({"testing"}, "stable", wanted=None, indexes=INDEXES) == "testing"


def test_release_that_is_there_already_leaves_nothing() -> None:
    assert choose_source({"stable"}, "stable", wanted=None, indexes=INDEXES) is None
    assert choose_source({"stable"}, "stable", wanted="testing", indexes=INDEXES) is None


def test_files_left_behind_are_fetched_though_some_are_there_already() -> None:
    assert choose_source({"stable", "testing"}, "stable", wanted=None, indexes=INDEXES) == "testing"


def test_release_in_two_indexes_that_lead_there_needs_to_be_told_which() -> None:
    with pytest.raises(Conflict, match="several") as caught:
        choose_source(
            {"unstable", "testing"}, "stable", wanted=None, indexes=INDEXES, release=("demo", "1.0")
        )
    command = "conveyor store promote demo 1.0 --to stable --from testing"  # why has no such option
    assert (caught.value.hint or "").endswith(command)
    assert choose_source({"unstable", "testing"}, "stable", wanted="testing", indexes=INDEXES) == "testing"


def test_release_that_went_further_does_not_come_back() -> None:
    with pytest.raises(Conflict) as caught:
        choose_source({"stable"}, "testing", wanted=None, indexes=INDEXES)
    assert caught.value.hint == "it is in stable, where its way ends"
    with pytest.raises(Conflict) as caught:
        choose_source({"testing"}, "unstable", wanted=None, indexes=INDEXES)
    assert caught.value.hint == "it is in testing; from there the way is testing → stable"


def test_release_that_is_nowhere_or_not_where_it_was_said_is_not_found() -> None:
    with pytest.raises(NotFound):
        choose_source(set(), "stable", wanted=None, indexes=INDEXES)
    with pytest.raises(NotFound):
        choose_source({"unstable"}, "stable", wanted="testing", indexes=INDEXES)


def test_next_station_is_the_nearest_local_base_or_at_the_end_where_a_release_is() -> None:
    assert [next_station(name, INDEXES) for name in ("unstable", "testing", "stable")] == [
        "testing",
        "stable",
        "stable",
    ]


def test_next_station_after_a_fork_has_to_be_named() -> None:
    with pytest.raises(Conflict, match="followed by several indexes, left and right") as caught:
        next_station("top", FORKED)
    assert caught.value.hint == "name the one that it is to enter: --to left or --to right"


def gated(name: str, *bases: str, is_private: bool = False) -> Index:
    """A local index that takes promotions only."""
    return Index(name, "local", "promotion-only", bases=bases, is_private=is_private)


FORKED = with_more(
    gated("left", "stable"),
    gated("right", "stable"),
    Index("top", "local", "uploads", bases=("left", "right")),
    Index("above", "local", "uploads", bases=("nightly",)),
    gated("nightly", "left", "right"),
)
TEAM = with_more(
    gated("risk/stable", "stable", "pypi"),
    gated("risk/testing", "stable", "risk/stable", "pypi"),
    Index("risk/unstable", "local", "uploads", bases=("pypi", "risk/testing", "testing")),
)
PRIVATE = {name: replace(index, is_private=name.startswith("risk/")) for name, index in TEAM.items()}
ADMIN = Identity("admin", frozenset({"admin"}))
READER = Identity("ann", frozenset({"read"}))
WHOLE = ("unstable", "testing", "stable")
OF_TEAM = ("risk/unstable", "risk/testing", "risk/stable")


@pytest.mark.parametrize(
    ("name", "indexes", "following"),
    [
        ("unstable", INDEXES, ("testing",)),  # stable is reached through testing
        ("pypi", INDEXES, ()),
        ("top", FORKED, ("left", "right")),
        ("risk/unstable", TEAM, ("risk/testing",)),  # a mirror in between is passed over
        ("risk/testing", TEAM, ("risk/stable",)),
        ("risk/stable", TEAM, ()),  # the default index is for installing from
        (
            "lab/unstable",
            with_more(Index("lab/unstable", "local", "uploads", bases=("testing",))),
            ("testing",),
        ),
        ("lab/final", with_more(gated("lab/final", "testing")), ()),
    ],
)
def test_nearest_bases_follow_and_those_of_the_team_alone(
    name: str, indexes: dict[str, Index], following: tuple[str, ...]
) -> None:
    assert successors(name, indexes) == following


def test_run_enters_the_only_index_that_leads_on() -> None:
    assert way_of_run(ANONYMOUS, None, INDEXES) == WHOLE
    scratch = with_more(Index("scratch", "local", "uploads", bases=("pypi",)))
    assert way_of_run(ANONYMOUS, None, scratch) == WHOLE
    # A team's private chain has to be named, unless the caller's runs can enter no other.
    for identity in (ANONYMOUS, ADMIN):
        assert way_of_run(identity, None, PRIVATE) == WHOLE
    assert way_of_run(ADMIN, "risk/unstable", PRIVATE) == OF_TEAM
    assert way_of_run(ADMIN, "risk/unstable", TEAM) == OF_TEAM
    # The chain of a team is the only choice for a token that is narrowed to it.
    narrowed = Identity("hook", frozenset({"read", "run"}), indexes=frozenset(OF_TEAM))
    assert way_of_run(narrowed, None, TEAM) == way_of_run(narrowed, None, PRIVATE) == OF_TEAM


def test_run_with_a_choice_of_entries_has_to_name_one() -> None:
    with pytest.raises(Conflict, match="releases enter at several indexes") as caught:
        way_of_run(ADMIN, None, TEAM)
    assert caught.value.hint == "name the index where it enters: risk/unstable, unstable"


def test_store_where_no_index_leads_on_tells_how_to_make_a_way() -> None:
    alone = {"pypi": INDEXES["pypi"], "scratch": Index("scratch", "local", "uploads", bases=("pypi",))}
    with pytest.raises(Conflict, match="releases enter at no index") as caught:
        way_of_run(ADMIN, None, alone)
    assert "conveyor store index create" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("pypi", 'a run cannot enter "pypi": it is a mirror'),
        ("testing", 'a run cannot enter "testing": it is promotion-only'),
        ("scratch", 'a run cannot enter "scratch": no index follows it; its bases are pypi'),
        ("bare", 'a run cannot enter "bare": no index follows it; it has no bases'),
        ("top", 'a run cannot enter "top": "top" is followed by several indexes, left and right'),
        ("above", 'a run cannot enter "above": "nightly" is followed by several indexes, left and right'),
    ],
)
def test_run_does_not_enter_where_no_single_way_leads_on(entry: str, fault: str) -> None:
    scratch = Index("scratch", "local", "uploads", bases=("pypi",))
    bare = Index("bare", "local", "uploads")
    with pytest.raises(Conflict) as caught:
        way_of_run(READER, entry, FORKED | {"scratch": scratch, "bare": bare})
    assert caught.value.message.startswith(fault)
    assert caught.value.hint == "name the index where it enters: unstable"


def test_index_that_is_not_there_and_one_that_is_not_seen_are_told_alike() -> None:
    elsewhere = Identity("bob", frozenset({"read"}), indexes=frozenset({"unstable"}))
    for identity, entry in ((ADMIN, "nowhere"), (elsewhere, "risk/unstable"), (ANONYMOUS, "risk/unstable")):
        with pytest.raises(NotFound, match=f'there is no index "{entry}"'):
            way_of_run(identity, entry, PRIVATE)


def test_next_steps_name_the_entry_where_there_is_a_choice() -> None:
    assert entry_to_name("testing", ADMIN, INDEXES) is None
    assert entry_to_name("risk/testing", ADMIN, TEAM) == "risk/unstable"
    assert entry_to_name("unstable", ADMIN, TEAM) == "unstable"
    assert entry_to_name("pypi", ADMIN, TEAM) is None
    assert entry_to_name("testing", ADMIN, PRIVATE) is None
    assert entry_to_name("risk/testing", ADMIN, PRIVATE) == "risk/unstable"
