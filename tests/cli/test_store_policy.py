"""``conveyor store policy``, on a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conveyor.cli import run
from conveyor.client.store import StoreClient
from conveyor.errors import PromotionRefused
from conveyor.operations.releases.promotions import promote_release
from conveyor.operations.store.facts import list_events
from conveyor.server.api.direct import DirectConnection
from makers import make_store
from releases_made import ADMIN, hand_in, make_release, make_worker, predicate_of_tests

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store

POLICY = """\
schema = 1

[index.testing]
workers = ["worker-2"]
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a tested release in "unstable", and a second worker who has tested nothing."""
    store = make_store(tmp_path / "store")
    worker = make_worker(store)
    make_worker(store, "worker-2")
    _, wheel = make_release(store, worker)
    hand_in(store, worker, "tests", wheel, predicate_of_tests())
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_policy_is_compared_applied_shown_and_taken_back(
    store: Store, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def policy(*arguments: str) -> list[str]:
        assert run(["store", "policy", *arguments, "--data", str(store.data)]) == 0
        return capsys.readouterr().out.splitlines()

    # Compared: the only test is by a worker that it does not name.
    said = policy("diff", str(file))
    assert said[:2] == ['demo 1.0, to enter "testing"', "  tests: pass → waiting"]
    assert said[2].startswith("    no tests evidence that counts (only by worker-1)")
    told = json.loads("\n".join(policy("diff", str(file), "--json")))
    assert [(one["project"], one["index"], one["is_inside"]) for one in told] == [("demo", "testing", False)]

    # Applied, once: the same file again is the same version.
    for _ in range(2):
        assert policy("apply", str(file), "--reason", "a second pair of eyes") == [
            "version 1 of the policy holds"
        ]
    assert policy("diff", str(file)) == ["no release would be judged otherwise"]
    with pytest.raises(PromotionRefused):
        promote_release(store, ADMIN, "demo", "1.0", to="testing")

    # Taken back by a second version, and again by a third.
    file.write_text("schema = 1\n", encoding="utf-8")
    policy("apply", str(file), "--reason", "too strict")
    assert policy("apply", "--version", "1", "--reason", "not at all") == ["version 3 of the policy holds"]
    assert policy("show") == POLICY.splitlines()
    assert policy("show", "--version", "2") == ["schema = 1"]
    headings, *lines = policy("history")
    assert headings.split() == ["VERSION", "APPLIED", "AT", "APPLIED", "BY", "REASON"]
    assert [(line.split()[0], line.split(maxsplit=3)[3]) for line in lines] == [
        ("3", "not at all"),
        ("2", "too strict"),
        ("1", "a second pair of eyes"),
    ]
    events = [one for one in list_events(store, ADMIN, since=0) if one.action == "apply-policy"]
    assert [(one.actor, one.detail["version"]) for one in events] == [("admin", n) for n in (1, 2, 3)]


def test_pythons_of_a_policy_are_those_that_jobs_test_on(store: Store, file: Path) -> None:
    file.write_text('schema = 1\n[index.stable.project."d*"]\npythons = ["3.12"]\n', encoding="utf-8")
    assert run(["store", "policy", "apply", str(file), "--reason", "x", "--data", str(store.data)]) == 0
    with StoreClient(DirectConnection(store, ADMIN, name="here")) as client:
        asked = [client.policies.rules(name)["stable"].pythons for name in ("demo", "other")]
        assert asked == [("3.12",), ()]
        assert client.policies.rules("Demo")["stable"].gates == ("tests", "qa-signature", "final-version")


def test_bad_file_names_every_fault_with_its_line_and_changes_nothing(
    store: Store, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["store", "policy", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file} is a policy with 1 section\n"
    file.write_text(POLICY + '[index.stable]\ngate = []\nsigners = "two"\n', encoding="utf-8")
    for command in (["check", str(file)], ["apply", str(file), "--reason", "x", "--data", str(store.data)]):
        assert run(["store", "policy", *command]) == 2
        said = capsys.readouterr().err
        assert "the policy has 2 faults" in said
        assert "- line 6: gate is unknown here (did you mean gates?" in said
        assert "- line 7: signers is not a whole number of 1 or more" in said
    assert run(["store", "policy", "show", "--data", str(store.data)]) == 5
    assert "none was applied yet: conveyor store policy apply FILE --reason TEXT" in capsys.readouterr().err
    assert run(["store", "policy", "apply", "--reason", "x", "--data", str(store.data)]) == 2


def test_applying_needs_a_store_in_which_everything_exists(
    store: Store, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(POLICY.replace("worker-2", "worker-9"), encoding="utf-8")
    assert run(["store", "policy", "check", str(file)]) == 0
    assert run(["store", "policy", "apply", str(file), "--reason", "x", "--data", str(store.data)]) == 2
    assert 'line 4: there is no worker "worker-9"' in capsys.readouterr().err
