"""The gates whose parameters a policy gives, and overrides of any gate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.people.access import Identity
from conveyor.domain.releases.advisories import about_projects, affecting, batches, read_advisory
from conveyor.domain.releases.decisions import (
    NewOverride,
    PersonalDecision,
    end_of_override,
    may_override,
    must_be_a_person,
)
from conveyor.domain.releases.dependants import Dependant, Dependants, dependant_of, newest_of
from conveyor.domain.releases.evidence import Evidence
from conveyor.domain.releases.gates import JudgedFile, JudgedRelease, JudgingIndex, judge_on_way
from conveyor.domain.releases.gates.rules import Rules
from conveyor.domain.releases.gates.waiting import change_of
from conveyor.domain.releases.licences import DeclaredLicence, is_licence_allowed, read_licence
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from conveyor.domain.releases.gates.judged import Verdict

CAME, NOW = "2026-11-20T08:00:00.000000Z", "2026-11-21T08:00:00.000000Z"
WHEEL = JudgedFile("demo-1.2.0-py3-none-any.whl", "bdist_wheel", "1" * 64, CAME)


def judged(gate: str, rules: dict[str, Any], *, file: JudgedFile = WHEEL, **facts: Any) -> Verdict:
    release = JudgedRelease("demo", "1.2.0", (file,), (), at=NOW, **facts)
    (found,) = judge_on_way(release, [JudgingIndex("stable", Rules((gate,), **rules))])
    assert found.lets_pass or found.next_step
    return found


def decided(kind: Any, person: str, *, gate: str = "approval", until: str | None = None) -> PersonalDecision:
    return PersonalDecision(kind, "demo", "1.2.0", "stable", gate, person, "seen", CAME, until)


def test_age_passes_when_its_hours_are_over_and_says_when_it_will() -> None:
    assert judged("age", {"minimum_age_hours": 24}).outcome == "pass"
    found = judged("age", {"minimum_age_hours": 25})
    assert (found.outcome, found.opens_at) == ("waiting", "2026-11-21T09:00:00.000000Z")
    assert (found.next_step or "").endswith(": conveyor why demo 1.2.0 --to stable")


@pytest.mark.parametrize(
    ("version", "others", "expected"),
    [
        ("1.0.0", [], (None, "major")),
        ("0.0.1", ["0.0.2"], (None, "major")),
        ("1.2.4", ["1.2.3", "1.1.9", "2.0.0"], ("1.2.3", "patch")),
        ("1.2.3.post1", ["1.2.3"], ("1.2.3", "patch")),
        ("1.3.0rc1", ["1.2.3", "1.3.0b1"], ("1.2.3", "minor")),
        ("2.0", ["1.9"], ("1.9", "major")),
        ("1!1.9", ["1.9"], ("1.9", "major")),
    ],
)
def test_change_of_a_version_is_measured_from_the_newest_final_below_it(
    version: str, others: list[str], expected: tuple[str | None, str]
) -> None:
    assert change_of(version, others) == expected


@pytest.mark.parametrize(
    ("approval", "before", "outcome"),
    [
        ("never", None, "pass"),
        ("minor", "1.2.0.dev1", "waiting"),  # no final release: the first one is major
        ("minor", "1.1.0", "waiting"),
        ("minor", "1.2", "waiting"),  # equal to it, so nothing is below
        ("minor", "1.2.0", "waiting"),
        ("major", "1.1.0", "pass"),
        ("always", "1.1.0", "waiting"),
    ],
)
def test_approval_is_asked_for_from_a_size_of_change_on(
    approval: str, before: str | None, outcome: str
) -> None:
    others = ((before, "stable"), ("1.1.9", "testing")) if before else ()
    assert judged("approval", {"approval": approval}, others=others).outcome == outcome


def test_patch_release_goes_on_without_a_person_where_the_policy_says_minor() -> None:
    release = JudgedRelease("demo", "1.2.1", (WHEEL,), (), at=NOW, others=(("1.2.0", "stable"),))
    (found,) = judge_on_way(release, [JudgingIndex("stable", Rules(("approval",), approval="minor"))])
    assert (found.outcome, found.reason) == (
        "pass",
        'a patch change after 1.2.0: "stable" asks nobody below a minor change',
    )


def test_approval_counts_different_people_for_this_index() -> None:
    facts = [decided("approval", "ada"), decided("approval", "ada")]
    found = judged("approval", {"approvals": 2}, decisions=tuple(facts))
    assert found.outcome == "waiting"
    assert found.reason == "a first release, which 2 people must approve, so far by ada"
    assert (found.next_step or "").endswith(": conveyor store approve demo 1.2.0 --to stable")
    found = judged("approval", {"approvals": 2}, decisions=(*facts, decided("approval", "bea")))
    assert (found.outcome, found.reason) == ("pass", "a first release, approved by ada, bea")


def test_docs_wait_until_they_come_and_fail_once_none_can() -> None:
    assert judged("docs", {}, has_docs=True).outcome == "pass"
    found = judged("docs", {})
    assert found.outcome == "waiting"
    assert (found.next_step or "").endswith(": conveyor store docs demo 1.2.0 docs.zip")
    assert judged("docs", {}, is_closed=True).outcome == "fail"


@pytest.mark.parametrize(
    ("metadata", "allowed", "expected"),
    [
        ("License-Expression: MIT", ["MIT"], True),
        ("License-Expression: mit OR gpl-3.0-only", ["MIT"], True),
        ("License-Expression: MIT AND GPL-3.0-only", ["MIT"], False),
        ("License-Expression: MIT AND (GPL-3.0-only OR BSD-3-Clause)", ["MIT", "BSD-3-Clause"], True),
        ("License-Expression: GPL-3.0-only OR MIT AND ISC", ["MIT"], False),
        ("License-Expression: Apache-2.0 WITH LLVM-exception AND MIT", ["Apache-2.0", "MIT"], True),
        ("License-Expression: Apache-2.0 WITH LLVM-exception", ["Apache-2.0 WITH LLVM-exception"], True),
        ("License-Expression: Apache-2.0", ["Apache-2.0 WITH LLVM-exception"], False),
        ("License-Expression: LicenseRef-Ours", ["LicenseRef-Ours"], True),
        ("Classifier: License :: OSI Approved :: MIT License", ["MIT"], True),
        (
            "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License",
            ["MIT"],
            True,
        ),
        ("Classifier: License :: OSI Approved :: BSD License", ["BSD-3-Clause"], False),
        ("Classifier: License :: OSI Approved :: BSD License", ["BSD-2-Clause", "BSD-3-Clause"], True),
        ("Classifier: License :: Other/Proprietary License", ["MIT"], None),
        ("License: MIT", ["MIT"], None),
        ("License-Expression: Whatever", ["MIT"], None),
        ("License-Expression: " + "(" * 50 + "MIT" + ")" * 50, ["MIT"], None),
        ("Keywords: none", ["MIT"], None),
    ],
)
def test_licence_of_metadata_is_allowed_forbidden_or_unknown(
    metadata: str, allowed: list[str], expected: bool | None
) -> None:
    text = f"Metadata-Version: 2.4\nName: demo\nVersion: 1\n{metadata}\n\nLicense-Expression: MIT\n"
    assert is_licence_allowed(read_licence(text.encode()), allowed) is expected


def test_licences_say_which_file_has_which_and_what_is_allowed() -> None:
    def of(licence: DeclaredLicence | None) -> Verdict:
        file = JudgedFile(WHEEL.filename, WHEEL.packagetype, WHEEL.sha256, CAME, licence)
        return judged("licences", {"licences": ("MIT", "ISC")}, file=file)

    assert of(DeclaredLicence("MIT")).reason == f"{WHEEL.filename}: MIT"
    found = of(DeclaredLicence("GPL-3.0-only"))
    assert found.outcome == "fail"
    assert found.reason == f'{WHEEL.filename}: GPL-3.0-only is not allowed in "stable", which allows MIT, ISC'
    found = of(None)
    assert found.outcome == "fail"
    assert found.reason.endswith("its licence is unknown, since its metadata says nothing of it")
    assert (found.next_step or "").endswith(": conveyor release patch")


# --- advisories -----------------------------------------------------------------------------------


def advisory(**changed: Any) -> Any:
    import json

    body = {
        "schema_version": "1.7.0",
        "id": "PYSEC-2026-1",
        "modified": "2026-01-01T00:00:00Z",
        "aliases": ["CVE-2026-1"],
        "summary": "reads what it should not",
        "affected": [
            {"package": {"ecosystem": "PyPI", "name": "Other_Package"}, **changed.pop("affected", {})},
            {"package": {"ecosystem": "npm", "name": "other-package"}, "versions": ["9.9"]},
        ],
        "references": [],
        **changed,
    }
    return read_advisory(json.dumps(body).encode(), what="the advisory")


def ranged(*events: dict[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": list(events)}]}


@pytest.mark.parametrize(
    ("affected", "hit", "missed"),
    [
        (ranged({"introduced": "0"}), ["0.dev1", "1.0", "1!0"], []),
        (
            ranged({"introduced": "1.2"}, {"fixed": "1.4.1"}),
            ["1.2", "1.4.1rc1", "1.3.post1"],
            ["1.1", "1.4.1", "2"],
        ),
        (ranged({"fixed": "1.4.1"}, {"introduced": "0"}), ["1.4"], ["1.4.1", "1.5"]),
        (ranged({"introduced": "1.0"}, {"last_affected": "1.4"}), ["1.4", "1.4+local.1"], ["1.4.1", "0.9"]),
        (
            ranged({"introduced": "1"}, {"fixed": "1.5"}, {"introduced": "2"}, {"fixed": "2.1"}),
            ["1.0", "2.0"],
            ["1.5", "1.9", "2.1"],
        ),
        (ranged({"introduced": "0"}, {"limit": "2"}), ["1.9"], ["2", "3"]),
        (ranged({"introduced": "0"}, {"fixed": "deadbeef"}, kind="GIT"), [], ["1.0"]),
        ({"versions": ["1.0", "not-a-version"]}, ["1.0", "1.0.0", "1.0+ours", "not-a-version"], ["1.1"]),
        (
            ranged({"introduced": "1.0"}, {"fixed": "1.1"}) | {"versions": ["3.0"]},
            ["1.0.5", "3.0"],
            ["1.1", "2"],
        ),
    ],
)
def test_versions_are_affected_as_osv_evaluates_ranges(
    affected: dict[str, Any], hit: list[str], missed: list[str]
) -> None:
    found = about_projects(advisory(affected=affected))
    assert list(found) == ["other-package"]
    assert [version for version in hit if not found["other-package"].affects(version)] == []
    assert [version for version in missed if found["other-package"].affects(version)] == []


def test_advisory_known_under_two_names_is_told_once() -> None:
    events = ranged({"introduced": "0"}, {"fixed": "2.0"})
    known = [
        *about_projects(advisory(affected=events)).values(),
        *about_projects(advisory(id="GHSA-x", aliases=["CVE-2026-1"], affected=events)).values(),
    ]
    assert [one.id for one in affecting(known, "other-package", "1.0")] == ["GHSA-x"]
    assert affecting(known, "other-package", "2.0") == affecting(known, "demo", "1.0") == []


def test_feed_is_reduced_to_python_packages_and_cut_into_requests() -> None:
    assert advisory(affected={"package": {"ecosystem": "Go", "name": "x"}}) is None
    for no_time in ("yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(InvalidInput, match="modified is not a time"):
            advisory(modified=no_time)
    many = [advisory(id=f"PYSEC-{number}", affected={"versions": ["1.0"] * 100}) for number in range(3)]
    groups = list(batches(many, most_bytes=1000))
    assert [len(group) for group in groups] == [1, 1, 1]
    assert [one.package.ecosystem for one in groups[0][0].affected if one.package] == ["PyPI"]


def test_advisories_gate_waits_for_a_first_import() -> None:
    found = judged("advisories", {})
    assert found.outcome == "waiting"
    assert (found.next_step or "").endswith(": conveyor store advisories import all.zip")
    own = tuple(
        about_projects(
            advisory(affected={"package": {"ecosystem": "PyPI", "name": "demo"}, "versions": ["1.2.0"]})
        ).values()
    )
    found = judged("advisories", {}, advisories=own)
    assert found.outcome == "fail"
    assert found.reason == "demo 1.2.0: PYSEC-2026-1, CVE-2026-1 (reads what it should not), not repaired yet"
    assert judged("advisories", {}, advisories=()).reason.startswith("no advisory affects it")


# --- overrides ------------------------------------------------------------------------------------


def test_override_opens_its_gate_until_it_ends_and_says_who_and_why() -> None:
    facts = (decided("override", "ada", gate="docs", until="2026-11-22T00:00:00.000000Z"),)
    found = judged("docs", {}, decisions=facts)
    assert found.outcome == "overridden"
    assert found.reason == (
        'ada overrode docs of "stable" until 2026-11-22T00:00:00.000000Z: seen (it has no documentation)'
    )
    over = (decided("override", "ada", gate="docs", until=NOW),)
    assert judged("docs", {}, decisions=over).outcome == "waiting"
    assert judged("age", {"minimum_age_hours": 99}, decisions=facts).outcome == "waiting"
    assert judged("docs", {}, decisions=facts, has_docs=True).outcome == "pass"


def test_override_opens_no_unknown_gate_and_no_release_without_files() -> None:
    until = "2026-11-22T00:00:00.000000Z"
    facts = tuple(decided("override", "ada", gate=gate, until=until) for gate in ("metrics", "docs"))
    assert judged("metrics", {}, decisions=facts).outcome == "fail"
    empty = JudgedRelease("demo", "1.2.0", (), (), at=NOW, decisions=facts)
    assert [one.outcome for one in judge_on_way(empty, [JudgingIndex("stable", Rules(("docs",)))])] == [
        "fail"
    ]


def test_overrides_are_refused_with_every_fault() -> None:
    now = datetime(2026, 11, 21, 8, tzinfo=UTC)
    rules = Rules(("docs",), override_days=7, override_by=("ada",))
    asked = NewOverride("stable", "docs", "x", "2026-11-27T00:00:00+00:00")
    assert end_of_override(asked, rules, now) == "2026-11-27T00:00:00.000000Z"
    for gate, until, faults in (
        ("names", "2026-11-20T00:00:00Z", ["has no gate", "is not a future time"]),
        ("docs", "2026-12-01T00:00:00Z", ["more than the 7 days"]),
        ("docs", "tomorrow", ["is not a future time"]),
    ):
        with pytest.raises(InvalidInput) as caught:
            end_of_override(NewOverride("stable", gate, "x", until), rules, now)
        assert len(caught.value.faults) == len(faults)
        assert all(part in fault for part, fault in zip(faults, caught.value.faults, strict=True))


def test_only_people_decide_and_only_named_ones_override() -> None:
    ada, bob = (Identity(name, frozenset({"promote"})) for name in ("ada", "bob"))
    must_be_a_person(ada, "stable", "demo", is_worker=False)
    with pytest.raises(Forbidden, match="is a worker"):
        must_be_a_person(ada, "stable", "demo", is_worker=True)
    rules = Rules(override_by=("ada",))
    may_override(ada, rules, "stable")
    may_override(Identity("admin", frozenset({"admin"})), Rules(), "stable")
    for asked, hint in ((rules, "ask ada, or an administrator"), (Rules(), "ask an administrator")):
        with pytest.raises(Forbidden) as caught:
            may_override(bob, asked, "stable")
        assert caught.value.hint == hint


# --- dependants -----------------------------------------------------------------------------------


def ran(*failures: str, passed: int = 3, before: tuple[int, tuple[str, ...]] | None = None) -> Evidence:
    predicate: dict[str, Any] = {
        "project": "demo",
        "version": "1.2.0",
        "index": "stable",
        "dependant": "user",
        "dependant_version": "2.0",
        "passed": passed,
        "failures": list(failures),
    }
    if before is not None:
        predicate["reference"] = {"version": "1.1.0", "passed": before[0], "failures": list(before[1])}
    return Evidence("dependants", WHEEL.sha256, None, "worker-1", NOW, True, predicate)


@pytest.mark.parametrize(
    ("facts", "outcome", "told"),
    [
        ([], "waiting", "the tests of user 2.0, which requires demo>=1, were not run with it"),
        ([ran()], "pass", "user 2.0: 3 passed"),
        ([ran("a", "b", before=(4, ("b",)))], "fail", "user 2.0: a failed, not so with 1.1.0"),
        ([ran("a", before=(4, ("a", "b")))], "pass", "user 2.0: 3 passed, 1 fail as before"),
        ([ran("a")], "fail", "user 2.0: a failed, not so"),
        ([ran("x", passed=0, before=(0, ("x",)))], "pass", "user 2.0: 0 passed, 1 fail as before"),
        ([ran("x", passed=0, before=(2, ("x",)))], "fail", "user 2.0: no test passed"),
        ([ran("a"), ran()], "pass", "user 2.0: 3 passed"),
    ],
)
def test_dependants_block_by_what_fails_anew(facts: list[Evidence], outcome: str, told: str) -> None:
    dependants = (
        Dependant("stable", "user", "2.0", "demo>=1", accepts=True),
        Dependant("stable", "older", "1.0", "demo<1", accepts=False),
        Dependant("testing", "elsewhere", "1.0", "demo", accepts=True),
    )
    release = JudgedRelease("demo", "1.2.0", (WHEEL,), tuple(facts), at=NOW, dependants=dependants)
    (found,) = judge_on_way(release, [JudgingIndex("stable", Rules(("dependants",)))])
    assert (found.outcome, found.reason.partition("; ")[0]) == (outcome, told)
    if outcome == "waiting":
        command = "conveyor pipeline test-dependants demo 1.2.0 --credentials worker.toml --to stable"
        assert (found.next_step or "").endswith(f": {command}")
    if outcome == "pass":
        assert found.reason.endswith("; older 1.0 does not accept it (demo<1)")


def test_release_that_nothing_requires_passes_for_its_dependants() -> None:
    assert judged("dependants", {}).reason == 'no release in "stable" requires it'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Requires-Dist: Demo_Pkg>=1,<2"], ("Demo_Pkg<2,>=1", True)),
        (["Requires-Dist: demo.pkg[x]<1; extra == 'more'"], ("demo.pkg<1", False)),
        (["Requires-Dist: demo-pkg<1; python_version < '3'", "Requires-Dist: demo-pkg"], ("demo-pkg", True)),
        (["Requires-Dist: demo-pkg @ https://packages.example/demo.whl"], ("demo-pkg", False)),
        (["Requires-Dist: demo-pkg-more", "Requires-Dist: not a requirement", "Keywords: demo-pkg"], None),
    ],
)
def test_dependant_is_found_by_its_metadata(lines: list[str], expected: tuple[str, bool] | None) -> None:
    text = "\n".join(
        ["Metadata-Version: 2.1", "Name: user", "Version: 1", *lines, "", "Requires-Dist: demo-pkg"]
    )
    found = dependant_of(
        text.encode(), index="stable", project="user", version="1", on=("demo-pkg", "1.5rc1")
    )
    assert (found and (found.requires, found.accepts)) == expected


def test_newest_final_release_of_a_project_counts() -> None:
    releases = [
        ("a", "1.0"),
        ("a", "1.10"),
        ("a", "1.9"),
        ("a", "2.0rc1"),
        ("b", "1.0.dev1"),
        ("b", "1.0rc1"),
    ]
    assert newest_of(releases) == {"a": "1.10", "b": "1.0rc1"}
    one = Dependant("stable", "user", "2.0", "demo>=1.2", accepts=True)
    assert Dependants("demo", "1.2.0", (one,), ("1.1", "1.0")).without_another(one)
    assert not Dependants("demo", "1.2.0", (one,), ("1.3", "1.0")).without_another(one)
