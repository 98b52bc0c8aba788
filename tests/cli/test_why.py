"""``conveyor why``: each gate of a policy failing and passing, and the command that it names, done."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.releases.docs_archives import put_docs
from conveyor.cli import run
from conveyor.domain.releases.policy import NewPolicy
from conveyor.domain.releases.publications import DocsArchive
from conveyor.operations.releases.policies import apply_policy
from conveyor.operations.releases.promotions import judge_release, promote_release
from conveyor.operations.store.facts import list_events
from conveyor.operations.store.store import record_change
from distributions_made import make_wheel
from makers import make_store
from releases_made import (
    ADMIN,
    hand_in,
    make_worker,
    predicate_of_build,
    predicate_of_tests,
    publish,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.operations.store.store import Store

    Why = Callable[..., list[str]]

GATES = ("tests", "docs", "age", "approval", "licences", "advisories")
PACKAGES = [{"name": "Other.Package", "version": "1.4"}, {"name": "demo", "version": "1.0"}]


def metadata(licence: str, version: str = "1.0") -> bytes:
    return f"Metadata-Version: 2.4\nName: demo\nVersion: {version}\nLicense-Expression: {licence}\n".encode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose index "testing" has every gate of a policy, and a tested release in "unstable"."""
    store = make_store(tmp_path / "store")
    worker = make_worker(store)
    for version, licence in (("1.0", "MIT OR GPL-3.0-only"), ("1.1", "GPL-3.0-only")):
        wheel = make_wheel("demo", version, metadata=metadata(licence, version))
        publish(store, wheel)
        hand_in(store, worker, "build", wheel, predicate_of_build(wheel, version=version))
        tested = predicate_of_tests(version=version)
        tested["environment"] |= {"packages": PACKAGES}
        hand_in(store, worker, "tests", wheel, tested)
    policy = "schema = 1\n[index.testing]\n" + f'gates = {json.dumps(GATES)}\nlicences = ["MIT"]\n'
    policy += "minimum_age_hours = 1\n"
    apply_policy(store, ADMIN, NewPolicy(policy, "for the test"))
    return store


@pytest.fixture
def why(store: Store, capsys: pytest.CaptureFixture[str]) -> Why:
    """The lines that ``conveyor why demo 1.0`` prints about one gate."""

    def ask(gate: str, version: str = "1.0") -> list[str]:
        assert run(["why", "demo", version, "--data", str(store.data)]) == 0
        lines = capsys.readouterr().out.splitlines()
        (at,) = (number for number, line in enumerate(lines) if line.split()[1:2] == [f"{gate}:"])
        return [line.strip() for line in lines[at : at + 2]]

    return ask


def step_in(line: str) -> list[str]:
    """The command at the end of a next step, without the program."""
    return shlex.split(line.partition("conveyor ")[2])


def test_approval_is_given_by_the_command_that_why_names(
    store: Store, why: Why, capsys: pytest.CaptureFixture[str]
) -> None:
    said, step = why("approval")
    assert said == "waiting    approval: a first release, which a person must approve"
    assert run([*step_in(step), "--reason", "looked at it"]) == 0
    assert capsys.readouterr().out.startswith('admin approved it for "testing" at ')
    assert why("approval")[0] == "pass       approval: a first release, approved by admin"
    assert run(["why", "demo", "1.0", "--json", "--data", str(store.data)]) == 0
    (decision,) = json.loads(capsys.readouterr().out)["decisions"]
    assert (decision["person"], decision["reason"]) == ("admin", "looked at it")
    assert [one.actor for one in list_events(store, ADMIN, since=0) if one.action == "approve"] == ["admin"]


def test_age_opens_when_its_time_has_come(store: Store, why: Why) -> None:
    said, step = why("age")
    assert said.startswith("waiting    age: its newest file came at ")
    assert said.endswith(', and "testing" waits for 1 hours')
    assert run(step_in(step)) == 0
    later = replace(store, clock=lambda: store.clock() + timedelta(hours=2))
    verdicts = {one.gate: one for one in judge_release(later, ADMIN, "demo", "1.0", to=None).verdicts}
    assert verdicts["age"].reason.endswith(", at least 1 hours ago")
    assert verdicts["age"].outcome == "pass"


def test_docs_are_missed_until_they_are_here(store: Store, why: Why) -> None:
    said, step = why("docs")
    assert said == "waiting    docs: it has no documentation"
    assert step_in(step)[:5] == ["store", "docs", "demo", "1.0", "docs.zip"]
    with record_change(store, actor="admin") as change:
        docs = DocsArchive("demo", "1.0", "0" * 64, 10, "zip", "", uploaded_at=change.at, uploaded_by="admin")
        put_docs(change.connection, docs, before=None)
        change.event("add-docs", project="demo", version="1.0")
    assert why("docs")[0] == "pass       docs: its documentation is here"


def test_licence_must_be_one_that_the_policy_allows(store: Store, why: Why) -> None:
    assert why("licences")[0] == "pass       licences: demo-1.0-py3-none-any.whl: MIT OR GPL-3.0-only"
    said, step = why("licences", "1.1")
    assert said == (
        'fail       licences: demo-1.1-py3-none-any.whl: GPL-3.0-only is not allowed in "testing", '
        "which allows MIT"
    )
    assert run(step_in(step)) == 0


def test_advisory_about_what_was_in_the_lock_blocks_until_it_is_withdrawn(
    store: Store, why: Why, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, step = why("advisories")
    assert said == "waiting    advisories: this store has no advisories to compare with"
    feed = tmp_path / "feed"
    feed.mkdir()
    body = {
        "id": "PYSEC-2026-1",
        "modified": "2026-01-01T00:00:00Z",
        "summary": "reads too much",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "other-package"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]}],
            }
        ],
    }
    (feed / "PYSEC-2026-1.json").write_text(json.dumps(body), encoding="utf-8")
    (feed / "broken.json").write_text("{", encoding="utf-8")
    command = [str(feed) if word == "all.zip" else word for word in step_in(step)]
    assert run(command) == 0
    written = capsys.readouterr()
    assert written.out == "1 advisory: 1 new, 0 changed, 0 unchanged\n"
    assert written.err.startswith("note: left out: ")

    said, step = why("advisories")
    assert said == (
        "fail       advisories: other-package 1.4: PYSEC-2026-1 (reads too much), repaired in 1.5"
    )
    assert step == '→ require "other-package>=1.5" and release again: conveyor release patch'
    body |= {"modified": "2026-01-02T00:00:00Z", "withdrawn": "2026-01-02T00:00:00Z"}
    (feed / "PYSEC-2026-1.json").write_text(json.dumps(body), encoding="utf-8")
    assert run(command) == 0
    assert capsys.readouterr().out == "1 advisory: 0 new, 1 changed, 0 unchanged\n"
    assert why("advisories")[0].startswith("pass       advisories: no advisory affects it or the 1 packages")


def test_overrides_open_each_gate_and_are_shown_for_ever(
    store: Store, why: Why, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(store.data)]
    until = (store.clock() + timedelta(days=3)).isoformat()
    said = ["store", "override", "demo", "1.0", "--to", "testing", "--reason", "first customer waits"]
    for gate in GATES[1:]:
        assert run([*said, "--gate", gate, "--until", until, *data]) == 0
    assert run([*said, "--gate", "names", "--until", until, *data]) == 2
    assert why("age")[0].startswith('overridden age: admin overrode age of "testing" until ')
    promote_release(store, ADMIN, "demo", "1.0", to="testing")
    (moved,) = (one for one in list_events(store, ADMIN, since=0) if one.action == "promote")
    outcomes = {one["gate"]: one["outcome"] for one in moved.detail["verdicts"]}
    assert outcomes == dict.fromkeys(GATES, "overridden") | {"tests": "pass", "licences": "pass"}
    # Also where it has come to, and after they have ended.
    capsys.readouterr()
    assert run(["why", "demo", "1.0", "--to", "testing", *data]) == 0
    assert capsys.readouterr().out.count("first customer waits") >= len(GATES[1:])
    later = replace(store, clock=lambda: store.clock() + timedelta(days=4))
    judgement = judge_release(later, ADMIN, "demo", "1.0", to="testing")
    assert len(judgement.decisions) == len(GATES[1:])
    assert {one.gate: one.outcome for one in judgement.verdicts}["docs"] == "fail"


def test_why_without_a_version_asks_about_the_newest_release(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["why", "demo", "--data", str(store.data)]) == 0
    assert capsys.readouterr().out.startswith('demo 1.1 is in "unstable"; to enter "testing":\n')
