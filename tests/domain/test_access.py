from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.domain.people.access import (
    ANONYMOUS,
    SCOPES,
    Identity,
    Scope,
    can_read,
    check_user_name,
    may_administer,
    may_claim,
    may_promote,
    may_upload,
    must_be_known,
    must_have,
    narrowed,
)
from conveyor.domain.runs.repositories import may_start_run
from conveyor.errors import Forbidden, InvalidName, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable


def somebody(*scopes: Scope, indexes: set[str] | None = None, projects: set[str] | None = None) -> Identity:
    return Identity(
        "ada",
        frozenset(scopes),
        None if indexes is None else frozenset(indexes),
        None if projects is None else frozenset(projects),
    )


def test_everybody_reads_a_public_index() -> None:
    assert can_read(ANONYMOUS, "stable", is_private=False)
    elsewhere = somebody(indexes={"other"}, projects={"other"})
    assert can_read(elsewhere, "stable", is_private=False, project="demo")


def test_private_index_is_there_for_those_who_may_read_it_only() -> None:
    for identity in (ANONYMOUS, somebody("upload"), somebody("read", indexes={"other"})):
        assert not can_read(identity, "secret", is_private=True)
    assert can_read(somebody("read", indexes={"secret"}), "secret", is_private=True)


def test_token_narrowed_to_projects_reads_only_these_in_a_private_index() -> None:
    narrowed_one = somebody("read", projects={"demo"})
    assert can_read(narrowed_one, "secret", is_private=True)
    assert can_read(narrowed_one, "secret", is_private=True, project="demo")
    assert not can_read(narrowed_one, "secret", is_private=True, project="other")


@pytest.mark.parametrize("scope", SCOPES)
def test_each_scope_opens_its_own_door_only(scope: Scope) -> None:
    identity = somebody(scope)
    opened = set()
    doors: dict[str, Callable[[], None]] = {
        "upload": lambda: may_upload(identity, "unstable", "demo"),
        "claim": lambda: may_claim(identity, "demo"),
        "promote": lambda: may_promote(identity, "stable", "demo"),
        "run": lambda: may_start_run(identity, "/srv/demo.git", {"demo"}, index="unstable"),
        "admin": lambda: may_administer(identity),
    }
    for name, ask in doors.items():
        try:
            ask()
        except Forbidden:
            continue
        opened.add(name)
    assert opened == (
        {"upload", "claim", "promote", "run", "admin"} if scope == "admin" else {scope} - {"read"}
    )


def test_anonymous_is_asked_who_it_is_before_everything_else() -> None:
    for scope in SCOPES:
        with pytest.raises(Unauthorized):
            must_have(ANONYMOUS, scope)
    with pytest.raises(Unauthorized):
        must_be_known(ANONYMOUS, "see runs")


def test_token_for_one_project_does_not_reach_another() -> None:
    identity = somebody("upload", "promote", projects={"demo"})
    may_upload(identity, "unstable", "demo")
    with pytest.raises(Forbidden, match="with this token"):
        may_upload(identity, "unstable", "other")
    with pytest.raises(Forbidden, match="with this token"):
        may_promote(identity, "testing", "other")


def test_token_for_one_index_does_not_reach_another() -> None:
    identity = somebody("upload", "promote", indexes={"unstable", "testing"})
    may_upload(identity, "unstable", "demo")
    may_promote(identity, "testing", "demo")
    with pytest.raises(Forbidden):
        may_promote(identity, "stable", "demo")


def test_narrowed_administrator_does_not_administer() -> None:
    with pytest.raises(Forbidden, match="may not administer"):
        may_administer(somebody("admin", projects={"demo"}))
    with pytest.raises(Forbidden):
        may_administer(somebody("admin", indexes={"unstable"}))


def test_token_never_does_more_than_its_user_may_now() -> None:
    assert narrowed(frozenset({"upload", "admin"}), frozenset({"upload"})) == {"upload"}
    assert narrowed(frozenset({"upload"}), frozenset({"admin"})) == {"upload"}


@pytest.mark.parametrize("name", ["ada", "worker-1", "ada@team.example", "a"])
def test_sensible_user_names_are_accepted(name: str) -> None:
    check_user_name(name)


@pytest.mark.parametrize("name", ["", "Ada", "a:b", "__token__", "-a", "a-", "a b", "a" * 65, "a\n"])
def test_user_names_that_no_header_could_carry_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        check_user_name(name)
