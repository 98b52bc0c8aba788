from __future__ import annotations

from dataclasses import dataclass

import pytest
from packaging.utils import canonicalize_name

from conveyor.domain.indexes.definitions import (
    DEFAULT_INDEXES,
    Claim,
    Index,
    check_index_name,
    check_new_index,
    covering_prefixes,
    is_claimed,
    one_per_filename,
    resolution_order,
    suppliers,
)
from conveyor.errors import InvalidInput, InvalidName, NotFound

DEFAULTS = {index.name: index for index in DEFAULT_INDEXES}
GATES = frozenset({"tests"})


@pytest.mark.parametrize("name", ["stable", "a", "x1", "risk/stable", "pypi", "pypi/stable", "9-lives"])
def test_name_is_allowed(name: str) -> None:
    check_index_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "Stable", "a_b", "-a", "a-", "a/b/c", "/a", "a/", "a b", "x" * 65, "ünder"),
        *("simple", "packages", "api", "api/stable", "docs", "risk/pypi", "risk/simple", "risk/legacy"),
    ],
)
def test_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_index_name(name)


def test_chain_is_the_index_and_its_bases_depth_first_each_once() -> None:
    assert resolution_order("unstable", DEFAULTS) == ("unstable", "testing", "stable", "pypi")
    with pytest.raises(NotFound, match="there is no index"):
        resolution_order("nowhere", DEFAULTS)


def test_depth_goes_before_breadth() -> None:
    indexes = {
        index.name: index
        for index in [
            Index("c", "local", "uploads"),
            Index("b", "local", "uploads", bases=("c",)),
            Index("d", "local", "uploads"),
            Index("a", "local", "uploads", bases=("b", "d", "c")),
        ]
    }
    assert resolution_order("a", indexes) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("index", "fault"),
    [
        (Index("new", "local", "uploads", bases=("nowhere",)), "there is no index"),
        (Index("new", "local", "uploads", bases=("stable", "stable")), "named twice"),
        (Index("stable", "local", "uploads", bases=("testing",)), "leads back"),
        (Index("stable", "local", "uploads", bases=("stable",)), "leads back"),
        (Index("new", "mirror", "promotion-only", bases=("stable",)), "no bases"),
        (Index("new", "local", "promotion-only", gates=("luck",)), "there is no gate"),
        (Index("new", "local", "uploads", gates=("tests",)), "cannot have gates"),
        (Index("new", "local", "uploads", bases=("secret",)), "is private"),
        (Index("new", "local", "uploads", bases=("below-secret",)), "builds on a private"),
    ],
)
def test_index_is_refused(index: Index, fault: str) -> None:
    existing = {
        **DEFAULTS,
        "secret": Index("secret", "local", "uploads", is_private=True),
        "below-secret": Index("below-secret", "local", "uploads", bases=("secret",), is_private=True),
    }
    with pytest.raises(InvalidInput) as refused:
        check_new_index(index, existing, known_gates=GATES)
    assert any(fault in each for each in refused.value.faults)


def test_private_index_may_build_on_a_private_one() -> None:
    existing = {**DEFAULTS, "secret": Index("secret", "local", "uploads", is_private=True)}
    check_new_index(
        Index("new", "local", "uploads", bases=("secret",), is_private=True), existing, known_gates=GATES
    )


@pytest.mark.parametrize(
    ("project", "is_own"),
    [
        ("demo", True),
        ("demo-more", False),
        ("risk", True),
        ("risk-score", True),
        ("risky", False),
        ("other", False),
    ],
)
def test_claims_cover_names_and_prefixes(project: str, is_own: bool) -> None:
    claims = [Claim("demo"), Claim("risk", is_prefix=True)]
    assert is_claimed(canonicalize_name(project), claims) is is_own


def test_prefixes_that_could_cover_a_name() -> None:
    assert covering_prefixes(canonicalize_name("a-b-c")) == ("a", "a-b", "a-b-c")


def test_own_names_are_never_supplied_by_a_mirror() -> None:
    demo = canonicalize_name("demo")
    free = suppliers("unstable", DEFAULTS, project=demo, claims=[])
    own = suppliers("unstable", DEFAULTS, project=demo, claims=[Claim("demo")])
    assert [index.name for index in free] == ["unstable", "testing", "stable", "pypi"]
    assert [index.name for index in own] == ["unstable", "testing", "stable"]


@dataclass
class Row:
    filename: str
    index: str


def test_of_one_filename_in_several_indexes_the_nearest_is_shown() -> None:
    rows = [Row("a", "stable"), Row("b", "stable"), Row("a", "unstable"), Row("c", "testing")]
    order = suppliers("unstable", DEFAULTS, project=canonicalize_name("demo"), claims=[])
    kept = one_per_filename(rows, order)
    assert [(row.filename, row.index) for row in kept] == [
        ("a", "unstable"),
        ("c", "testing"),
        ("b", "stable"),
    ]
