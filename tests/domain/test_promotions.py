from __future__ import annotations

import pytest

from conveyor.domain.indexes.definitions import DEFAULT_INDEXES, Index
from conveyor.domain.releases.promotions import Way, choose_source, next_station, plan_way
from conveyor.errors import Conflict, NotFound

INDEXES = {index.name: index for index in DEFAULT_INDEXES}


def with_more(*more: Index) -> dict[str, Index]:
    return INDEXES | {index.name: index for index in more}


def test_way_to_the_next_index_is_guarded_by_its_gates() -> None:
    assert plan_way("unstable", "testing", INDEXES) == Way("unstable", ("testing",), ("tests",))
    assert plan_way("testing", "stable", INDEXES) == Way(
        "testing", ("stable",), ("tests", "qa-signature", "final-version")
    )


def test_skipping_an_index_is_judged_by_its_gates_too() -> None:
    strict = Index("testing", "local", "promotion-only", bases=("stable", "pypi"), gates=("metrics", "tests"))
    way = plan_way("unstable", "stable", with_more(strict))
    assert way.stations == ("testing", "stable")
    assert way.passed_through == ("testing",)
    assert way.gates == ("metrics", "tests", "qa-signature", "final-version")


@pytest.mark.parametrize(
    ("source", "target"),
    [("stable", "testing"), ("testing", "unstable"), ("testing", "testing"), ("unstable", "pypi")],
)
def test_no_way_leads_backwards_in_place_or_into_a_mirror(source: str, target: str) -> None:
    with pytest.raises(Conflict):
        plan_way(source, target, INDEXES)


def test_no_way_leads_to_an_index_that_is_no_base() -> None:
    indexes = with_more(Index("risk/stable", "local", "promotion-only", bases=("stable",)))
    with pytest.raises(Conflict, match="no base of it"):
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
    assert set(way.gates) >= {"l", "r"}
    assert set(plan_way("top", "left", indexes).gates) == {"l"}


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
        choose_source({"unstable", "testing"}, "stable", wanted=None, indexes=INDEXES)
    assert "--from" in (caught.value.hint or "")
    assert choose_source({"unstable", "testing"}, "stable", wanted="testing", indexes=INDEXES) == "testing"


def test_release_that_went_further_does_not_come_back() -> None:
    with pytest.raises(Conflict):
        choose_source({"stable"}, "testing", wanted=None, indexes=INDEXES)


def test_release_that_is_nowhere_or_not_where_it_was_said_is_not_found() -> None:
    with pytest.raises(NotFound):
        choose_source(set(), "stable", wanted=None, indexes=INDEXES)
    with pytest.raises(NotFound):
        choose_source({"unstable"}, "stable", wanted="testing", indexes=INDEXES)


def test_next_station_is_the_nearest_local_base() -> None:
    assert [next_station(name, INDEXES) for name in ("unstable", "testing", "stable", "nowhere")] == [
        "testing",
        "stable",
        "stable",
        "nowhere",
    ]
