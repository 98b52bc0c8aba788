from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.errors import Forbidden, InvalidName, Unauthorized
from conveyor.operations.indexes.claims import claim_name, list_claims, name_to_ask_for
from conveyor.operations.store.store import read
from makers import make_store

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = Identity("admin", frozenset({"admin"}))
CLAIMER = Identity("cleo", frozenset({"claim", "read"}))
READER = Identity("rea", frozenset({"read"}))


def test_claim_is_recorded_with_its_origin(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    claim, is_new = claim_name(store, ADMIN, "Demo.Pkg")
    assert is_new
    assert (claim.name, claim.is_prefix, claim.claimed_by) == ("demo-pkg", False, "admin")
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert (event.action, event.project, event.actor) == ("claim", "demo-pkg", "admin")
    assert list_claims(store, ADMIN) == [claim]


def test_claiming_again_changes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first, _ = claim_name(store, ADMIN, "demo")
    serial = store.newest.read()
    assert claim_name(store, CLAIMER, "demo") == (first, False)
    assert store.newest.read() == serial


def test_who_may_not_claim_a_name_does_not_learn_whose_it_is(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    claim_name(store, ADMIN, "demo")
    narrowed = Identity("cleo", frozenset({"claim", "read"}), projects=frozenset({"other"}))
    for stranger in (READER, narrowed):
        with pytest.raises(Forbidden):
            claim_name(store, stranger, "demo")


def test_prefix_touches_all_pages_and_is_written_without_its_hyphen(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.newest.read()
    claim, _ = claim_name(store, ADMIN, "risk-", is_prefix=True)
    assert (claim.name, claim.is_prefix) == ("risk", True)
    with read(store) as connection:
        (event,) = events_since(connection, before)
    assert event.project is None


def test_claimer_claims_what_upstream_does_not_have(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert claim_name(store, CLAIMER, "demo", upstream_has=False)[1]
    for upstream_has in (True, None):
        with pytest.raises(Forbidden, match="upstream"):
            claim_name(store, CLAIMER, "numpy", upstream_has=upstream_has)


def test_others_may_not_claim(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(Forbidden):
        claim_name(store, READER, "demo", upstream_has=False)
    with pytest.raises(Unauthorized):
        claim_name(store, ANONYMOUS, "demo", upstream_has=False)
    with pytest.raises(Forbidden):
        claim_name(store, CLAIMER, "risk", is_prefix=True, upstream_has=False)
    with pytest.raises(InvalidName):
        claim_name(store, ADMIN, "-demo")
    with pytest.raises(Forbidden):
        list_claims(store, CLAIMER)
    assert list_claims(store, ADMIN) == []


def test_upstream_is_to_be_asked_for_what_somebody_may_claim_and_nobody_has(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert name_to_ask_for(store, CLAIMER, "Demo.Pkg") == "demo-pkg"
    assert name_to_ask_for(store, ADMIN, "demo-pkg") is None
    assert name_to_ask_for(store, CLAIMER, "risk", is_prefix=True) is None
    claim_name(store, ADMIN, "demo-pkg")
    claim_name(store, ADMIN, "risk", is_prefix=True)
    assert name_to_ask_for(store, CLAIMER, "demo-pkg") is None
    assert name_to_ask_for(store, CLAIMER, "risk-score") is None
    with pytest.raises(Forbidden):
        name_to_ask_for(store, READER, "other")
    with pytest.raises(InvalidName):
        name_to_ask_for(store, CLAIMER, "-demo")


def test_name_below_a_claimed_prefix_is_claimed_without_asking_upstream(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    claim_name(store, ADMIN, "risk", is_prefix=True)
    claim, is_new = claim_name(store, CLAIMER, "risk-score")
    assert (claim.name, is_new) == ("risk-score", True)
    with pytest.raises(Forbidden):
        claim_name(store, READER, "risk-limits")
