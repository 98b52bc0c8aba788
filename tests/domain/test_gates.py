from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.releases import gates
from conveyor.domain.releases.evidence import Evidence, EvidenceKind, Isolation
from conveyor.domain.releases.gates import JudgedFile, JudgedRelease, JudgingIndex, judge, judge_on_way
from conveyor.domain.releases.gates.judged import Ties
from conveyor.domain.releases.gates.rules import NO_RULES, Rules
from conveyor.domain.releases.policy import read_policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.gates.judged import Verdict

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
COMMIT, OTHER_COMMIT = "c" * 40, "d" * 40
WHEEL = JudgedFile("demo-1.0-py3-none-any.whl", "bdist_wheel", "1" * 64)
BINARY = JudgedFile("demo-1.0-cp311-cp311-linux_x86_64.whl", "bdist_wheel", "2" * 64)
SDIST = JudgedFile("demo-1.0.tar.gz", "sdist", "3" * 64)
BY_BRANCH = "; or, on its branch and with a changelog: conveyor release rc"


def evidence(
    kind: EvidenceKind,
    sha256: str | None,
    predicate: dict[str, Any],
    *,
    by: str = "worker-1",
    is_valid: bool = True,
    commit: str | None = None,
) -> Evidence:
    return Evidence(
        kind=kind,
        sha256=sha256,
        commit_id=commit,
        predicate=predicate,
        signed_by=by,
        received_at="2026-11-21T08:00:00.000000Z",
        is_signer_valid=is_valid,
    )


def made(isolation: Isolation | None) -> dict[str, Any] | None:
    """When and how isolated; ``None``: as evidence of before, which does not say."""
    return None if isolation is None else {"at": "2026-11-21T08:00:00.000000Z", "isolation": isolation}


def with_tests(
    file: JudgedFile,
    *,
    passed: int = 3,
    failed: int = 0,
    errors: int = 0,
    modules_checked: int = 1,
    outside: Iterable[str] = (),
    python: str = "3.11.7",
    index: str = "testing",
    is_valid: bool = True,
    isolation: Isolation | None = None,
) -> Evidence:
    predicate = {
        "made": made(isolation),
        "project": "demo",
        "version": "1.0",
        "index": index,
        "passed": passed,
        "failed": failed,
        "errors": errors,
        "skipped": 0,
        "origin": {"modules_checked": modules_checked, "outside": list(outside)},
        "environment": {"python": python, "platform": "linux-x86_64"},
    }
    return evidence("tests", file.sha256, predicate, is_valid=is_valid)


def built(
    file: JudgedFile,
    *,
    commit: str = COMMIT,
    source: JudgedFile | None = None,
    tag: str | None = None,
    folder: str = ".",
    is_valid: bool = True,
    isolation: Isolation | None = None,
    by: str = "worker-1",
) -> Evidence:
    predicate = {
        "made": made(isolation),
        "tag": tag,
        "folder": folder,
        "project": "demo",
        "version": "1.0",
        "commit": commit,
        "filename": file.filename,
        "built_from": source.sha256 if source else None,
    }
    return evidence("build", file.sha256, predicate, commit=commit, is_valid=is_valid, by=by)


def signed(*, commit: str = COMMIT, tag: str = "v1.0", is_valid: bool = True) -> Evidence:
    return evidence(
        "qa-signature",
        None,
        {"tag": tag},
        by="qa@team.example",
        commit=commit,
        is_valid=is_valid,
    )


def verdict(gate: str, files: Iterable[JudgedFile], *facts: Evidence, version: str = "1.0") -> Verdict:
    release = JudgedRelease("demo", version, tuple(files), facts)
    (found,) = judge(release, [gate])
    assert found.gate == gate
    assert found.reason
    assert found.lets_pass or found.next_step
    return found


def asked(pythons: tuple[tuple[str, str], ...], *facts: Evidence, **rules: Any) -> Verdict:
    """The verdict of ``tests`` where each index of ``pythons`` asks for the Pythons that stand beside it."""
    release = JudgedRelease("demo", "1.0", (WHEEL, SDIST), (built(WHEEL, source=SDIST), *facts))
    way = [
        JudgingIndex(
            index, Rules(("tests",), pythons=tuple(one for name, one in pythons if name == index), **rules)
        )
        for index in dict.fromkeys(index for index, _ in pythons)
    ]
    (found,) = judge_on_way(release, way)
    return found


# --- tests ----------------------------------------------------------------------------------------


def test_tested_wheel_passes() -> None:
    found = verdict("tests", [WHEEL], with_tests(WHEEL))
    assert found.outcome == "pass"
    assert "3 passed" in found.reason


def test_wheel_without_tests_waits_and_names_the_file_and_the_command() -> None:
    found = verdict("tests", [WHEEL], built(WHEEL))
    assert found.outcome == "waiting"
    assert found.reason == "no tests evidence for demo-1.0-py3-none-any.whl"
    assert (found.next_step or "").endswith(": conveyor pipeline test demo 1.0 --credentials worker.toml")


@pytest.mark.parametrize(
    ("python", "wanted", "passes"),
    [
        ("3.12.4", "3.12", True),
        ("3.12.4", "3.12.4", True),
        ("3.12.4", "3.12.1", False),
        ("3.12.4", "3.1", False),
        ("pypy3.9.16", "pypy3.9", True),
        ("pypy3.9.16", "3.9", False),
    ],
)
def test_python_of_an_index_needs_a_result_on_it(python: str, wanted: str, passes: bool) -> None:
    found = asked((("stable", wanted),), with_tests(WHEEL), with_tests(WHEEL, index="stable", python=python))
    assert found.outcome == ("pass" if passes else "waiting")


def test_missing_pythons_of_an_index_are_named_with_the_command() -> None:
    wanted = (("testing", "3.11"), ("stable", "3.12"), ("stable", "pypy3.9"))
    found = asked(wanted, with_tests(WHEEL, index="testing", python="3.12.4"), with_tests(WHEEL))
    assert found.outcome == "waiting"
    assert found.reason == 'no tests evidence on Python 3.12, pypy3.9, which "stable" asks for'
    command = "conveyor pipeline test demo 1.0 --credentials worker.toml --to stable"
    assert (found.next_step or "").endswith(f": {command}")


def test_environment_that_a_policy_does_not_name_is_shown_and_does_not_block() -> None:
    facts = (with_tests(WHEEL), with_tests(WHEEL, python="3.13.1", failed=2))
    found = asked((("testing", "3.11"),), *facts, other_environments="shown")
    assert found.outcome == "pass"
    assert "2 tests failed and 0 broke (Python 3.13.1" in found.reason
    assert "resolved against testing), which is not asked for; " in found.reason
    assert asked((("testing", "3.11"),), *facts).outcome == "fail"


def test_platform_of_a_policy_needs_a_result_on_it() -> None:
    for platform, outcome in (("linux-x86_64", "pass"), ("macosx-14.0-arm64", "waiting")):
        found = asked((("testing", "3.11"),), with_tests(WHEEL), platforms=(platform,))
        assert found.outcome == outcome
    assert "on a worker of that platform: conveyor pipeline test" in (found.next_step or "")


def test_evidence_of_workers_that_a_policy_does_not_name_does_not_count() -> None:
    found = asked((("testing", "3.11"),), with_tests(WHEEL), workers=("worker-2",))
    assert found.outcome == "waiting"
    assert "no tests evidence that counts (only by worker-1)" in found.reason
    assert asked((("testing", "3.11"),), with_tests(WHEEL), workers=("worker-1",)).outcome == "pass"


def test_signature_that_counts_is_an_approval_too() -> None:
    facts = (built(WHEEL), signed())
    assert verdict("approval", [WHEEL], *facts).reason == "a first release, approved by qa@team.example"
    for worse in (signed(is_valid=False), signed(commit=OTHER_COMMIT), signed(tag="v2.0")):
        assert verdict("approval", [WHEEL], built(WHEEL), worse).outcome == "waiting"


def test_one_verdict_per_gate_on_a_way_is_that_of_the_strictest_index() -> None:
    release = JudgedRelease("demo", "1.0", (WHEEL,), (with_tests(WHEEL),))
    way = [
        JudgingIndex("testing", Rules(("tests",))),
        JudgingIndex("stable", Rules(("tests", "final-version"), ("x",))),
    ]
    assert [(one.gate, one.outcome) for one in judge_on_way(release, way)] == [
        ("tests", "waiting"),
        ("final-version", "pass"),
    ]


def test_failure_on_a_python_of_an_index_is_no_result_and_fails() -> None:
    found = asked(
        (("stable", "3.12"),), with_tests(WHEEL), with_tests(WHEEL, index="stable", python="3.12.4", failed=1)
    )
    assert found.outcome == "fail"


def test_wheel_of_an_unknown_commit_is_tested_with_its_sdist_or_with_a_repository_that_is_named() -> None:
    """The command without the options was refused: nothing said where the tests are."""
    command = "conveyor pipeline test demo 1.0 --credentials worker.toml"
    alone = verdict("tests", [WHEEL])
    assert (alone.next_step or "").endswith(f": {command} --repo URL --ref v1.0")
    with_sdist = verdict("tests", [WHEEL, SDIST])
    assert (with_sdist.next_step or "").endswith(f": {command}")


def test_every_wheel_must_be_tested() -> None:
    found = verdict("tests", [WHEEL, BINARY], with_tests(WHEEL))
    assert found.outcome == "waiting"
    assert found.reason == f"no tests evidence for {BINARY.filename}"


@pytest.mark.parametrize(
    "facts",
    [
        {"failed": 1},
        {"errors": 1},
        {"passed": 0},
        {"modules_checked": 0},
        {"outside": ["demo (imported from the checkout)"]},
    ],
)
def test_tests_that_are_not_good_enough_fail(facts: dict[str, Any]) -> None:
    assert verdict("tests", [WHEEL], with_tests(WHEEL, **facts)).outcome == "fail"


def test_tests_of_a_revoked_worker_count_for_nothing() -> None:
    found = verdict("tests", [WHEEL], with_tests(WHEEL, is_valid=False))
    assert found.outcome == "waiting"
    assert "only by worker-1" in found.reason


def test_later_failure_is_not_outvoted_by_an_earlier_success() -> None:
    found = verdict("tests", [WHEEL], with_tests(WHEEL), with_tests(WHEEL, failed=1))
    assert found.outcome == "fail"
    assert verdict("tests", [WHEEL], with_tests(WHEEL, failed=1), with_tests(WHEEL)).outcome == "pass"


def test_failure_on_another_python_is_not_hidden_by_a_success() -> None:
    failing = with_tests(WHEEL, failed=1, python="3.12.1")
    found = verdict("tests", [WHEEL], failing, with_tests(WHEEL))
    assert found.outcome == "fail"
    assert (found.next_step or "").endswith("--to testing --python 3.12"), "it is not repeated there"
    assert (
        verdict("tests", [WHEEL], failing, with_tests(WHEEL), with_tests(WHEEL, python="3.12.2")).outcome
        == "pass"
    )


def test_failure_of_a_revoked_worker_does_not_block() -> None:
    found = verdict("tests", [WHEEL], with_tests(WHEEL), with_tests(WHEEL, failed=1, is_valid=False))
    assert found.outcome == "pass"


def test_sdist_passes_with_a_tested_wheel_that_was_built_from_it() -> None:
    found = verdict("tests", [WHEEL, SDIST], with_tests(WHEEL), built(WHEEL, source=SDIST))
    assert found.outcome == "pass"
    assert "demo-1.0.tar.gz" in found.reason


def test_sdist_beside_an_unrelated_wheel_waits() -> None:
    for link in (built(WHEEL), built(WHEEL, source=SDIST, is_valid=False)):
        found = verdict("tests", [WHEEL, SDIST], with_tests(WHEEL), link)
        assert found.outcome == "waiting"
        assert "demo-1.0.tar.gz" in found.reason


def test_sdist_passes_by_tests_of_its_own() -> None:
    assert verdict("tests", [SDIST], with_tests(SDIST)).outcome == "pass"


def test_failing_tests_of_an_sdist_are_not_healed_by_its_wheel() -> None:
    facts = (with_tests(WHEEL), built(WHEEL, source=SDIST), with_tests(SDIST, failed=1))
    assert verdict("tests", [WHEEL, SDIST], *facts).outcome == "fail"


def test_evidence_on_other_bytes_of_the_same_name_counts_for_nothing() -> None:
    other = JudgedFile(WHEEL.filename, "bdist_wheel", "9" * 64)
    assert verdict("tests", [WHEEL], with_tests(other)).outcome == "waiting"


# --- qa-signature ---------------------------------------------------------------------------------


def test_signature_on_the_commit_of_every_wheel_passes() -> None:
    found = verdict("qa-signature", [WHEEL, BINARY], built(WHEEL), built(BINARY), signed())
    assert found.outcome == "pass"
    assert "qa@team.example" in found.reason


@pytest.mark.parametrize(
    ("of_build", "of_signature", "outcome"),
    [
        ("demo/v1.0", "demo/v1.0", "pass"),
        ("release-1.0", "release-1.0", "pass"),
        ("v1.0", "1.0", "pass"),
        ("v1.0", "other-v1.0", "fail"),
        ("demo/v1.0", "other/v1.0", "fail"),
        ("demo/v1.0", "v1.0", "fail"),  # in a repository of several projects it could mean another one
        ("v1.0rc1", "v1.0rc1", "fail"),
    ],
)
def test_signed_tag_is_that_of_this_release_and_of_no_other_project(
    of_build: str, of_signature: str, outcome: str
) -> None:
    found = verdict("qa-signature", [WHEEL], built(WHEEL, tag=of_build), signed(tag=of_signature))
    assert found.outcome == outcome
    assert found.lets_pass or of_signature in found.reason


def test_prefix_of_the_build_is_that_of_the_tag_to_sign() -> None:
    found = verdict("qa-signature", [WHEEL], built(WHEEL, tag="demo/v1.0rc1"), version="1.0rc1")
    assert (found.next_step or "").endswith(": git checkout -q demo/v1.0rc1 && conveyor release final")
    lightly = verdict("qa-signature", [WHEEL], built(WHEEL, tag="demo/v1.0a1"), version="1.0a1")
    command = f'tag -s -m "demo 1.0" demo/v1.0 {COMMIT[:12]} && git push origin demo/v1.0'
    assert (lightly.next_step or "").endswith(command)


def test_names_that_come_from_a_repository_are_quoted_in_commands() -> None:
    evidence = built(WHEEL, tag="$(id)/v1.0rc1", folder="a b;c")
    found = verdict("qa-signature", [WHEEL], evidence, version="1.0rc1")
    command = "git checkout -q '$(id)/v1.0rc1' && conveyor release final --project 'a b;c'"
    assert (found.next_step or "").endswith(command)


def test_release_that_nobody_signed_waits_and_says_how_to_sign() -> None:
    found = verdict("qa-signature", [WHEEL], built(WHEEL))
    assert found.outcome == "waiting"
    assert "git -c gpg.format=ssh -c user.signingkey=KEY tag" in (found.next_step or "")
    made = f'tag -f -s -m "demo 1.0" v1.0 {COMMIT[:12]}'
    assert (found.next_step or "").endswith(f"{made} && git push --force origin v1.0")


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("1.0rc1", 'tag -s -m "demo 1.0" v1.0 {commit} && git push origin v1.0'),
        ("1.0rc1.post1", 'tag -s -m "demo 1.0" v1.0 {commit} && git push origin v1.0'),
        ("1.0+ours", 'tag -s -m "demo 1.0" v1.0 {commit} && git push origin v1.0'),
        (
            "1.0.post1",
            'tag -f -s -m "demo 1.0.post1" v1.0.post1 {commit} && git push --force origin v1.0.post1',
        ),
        ("1.0.dev3+g1234567", "git tag v1.0.0rc1 {commit} && git push origin v1.0.0rc1"),
        ("1.2.3.dev3+g1234567", "git tag v1.2.3rc1 {commit} && git push origin v1.2.3rc1"),
        ("1.2.3rc2.dev3+g1234567", "git tag v1.2.3rc2 {commit} && git push origin v1.2.3rc2"),
        ("1.2.3rc2.post1.dev3+g1234567", "git tag v1.2.3rc3 {commit} && git push origin v1.2.3rc3"),
        ("1.2.3.post1.dev3+g1234567", "git tag v1.2.4rc1 {commit} && git push origin v1.2.4rc1"),
    ],
)
def test_qa_is_asked_to_sign_the_final_of_the_commit_never_a_candidate(version: str, command: str) -> None:
    for gate in ("qa-signature", "final-version"):
        found = verdict(gate, [WHEEL], built(WHEEL), version=version)
        if not found.lets_pass:
            step = (found.next_step or "").removesuffix(BY_BRANCH)
            assert step.endswith(command.format(commit=COMMIT[:12]))
            assert (step != found.next_step) is (".dev" in version)


def test_candidate_of_an_unknown_commit_is_named_by_its_tag() -> None:
    found = verdict("final-version", [WHEEL], version="1.0rc1")
    assert (found.next_step or "").endswith('v1.0 "v1.0rc1^{commit}" && git push origin v1.0')


def test_development_version_of_an_unknown_commit_is_named_by_the_commit_in_it() -> None:
    found = verdict("final-version", [WHEEL], version="1.0.dev3+g1234567")
    step = (found.next_step or "").removesuffix(BY_BRANCH)
    assert step.endswith("git tag v1.0.0rc1 1234567 && git push origin v1.0.0rc1")


@pytest.mark.parametrize(
    ("version", "ref"),
    [("1.0", "v1.0"), ("1.0.dev3+g1234567", "1234567"), ("1.0.dev3+g1234567.d2026", "1234567")],
)
def test_missing_build_is_asked_for_by_tag_or_commit(version: str, ref: str) -> None:
    found = verdict("qa-signature", [WHEEL], version=version)
    assert "unless that builds the same bytes" in (found.next_step or "")  # else the file is refused
    assert (found.next_step or "").endswith(
        f": conveyor pipeline package --ref {ref} --credentials worker.toml"
    )


def test_signature_on_another_commit_fails() -> None:
    found = verdict("qa-signature", [WHEEL], built(WHEEL), signed(commit=OTHER_COMMIT))
    assert found.outcome == "fail"
    assert OTHER_COMMIT[:12] in found.reason
    assert COMMIT[:12] in found.reason


def test_signature_of_a_revoked_signer_fails() -> None:
    assert verdict("qa-signature", [WHEEL], built(WHEEL), signed(is_valid=False)).outcome == "fail"


def test_signature_on_a_tag_of_another_version_fails() -> None:
    for wrong in (signed(tag="v9.9.9"), signed(tag="v1.0.0"), signed(tag="nightly")):
        assert verdict("qa-signature", [WHEEL], built(WHEEL), wrong).outcome == "fail"


def test_one_good_signature_among_bad_ones_is_enough() -> None:
    facts = (built(WHEEL), signed(), signed(commit=OTHER_COMMIT), signed(is_valid=False))
    assert verdict("qa-signature", [WHEEL], *facts).outcome == "pass"


def test_wheel_that_nobody_says_was_built_from_the_commit_waits() -> None:
    found = verdict("qa-signature", [WHEEL, BINARY], built(WHEEL), signed())
    assert found.outcome == "waiting"
    assert BINARY.filename in found.reason


def test_build_evidence_of_a_revoked_worker_counts_for_nothing() -> None:
    assert verdict("qa-signature", [WHEEL], built(WHEEL, is_valid=False), signed()).outcome == "waiting"


def test_release_whose_wheels_come_from_two_commits_fails() -> None:
    facts = (built(WHEEL), built(BINARY, commit=OTHER_COMMIT), signed())
    assert verdict("qa-signature", [WHEEL, BINARY], *facts).outcome == "fail"


def test_release_of_an_sdist_alone_needs_build_evidence_too() -> None:
    assert verdict("qa-signature", [SDIST], signed()).outcome == "waiting"
    assert verdict("qa-signature", [SDIST], built(SDIST), signed()).outcome == "pass"


def test_sdist_is_known_through_a_wheel_that_was_built_from_it() -> None:
    assert verdict("qa-signature", [WHEEL, SDIST], built(WHEEL), signed()).outcome == "waiting"
    linked = built(WHEEL, source=SDIST)
    assert verdict("qa-signature", [WHEEL, SDIST], linked, signed()).outcome == "pass"


# --- final-version --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.0.post1", "2!1.0"])
def test_final_and_post_releases_pass(version: str) -> None:
    assert verdict("final-version", [WHEEL], version=version).outcome == "pass"


@pytest.mark.parametrize(
    ("version", "what"),
    [
        ("1.0rc1", "pre-release"),
        ("1.0a1", "pre-release"),
        ("1.0.dev3", "development version"),
        ("1.0rc1.dev2", "development version"),
        ("1.0+g1a2b3c4", "local version"),
        ("nonsense", "not a version"),
    ],
)
def test_other_versions_fail(version: str, what: str) -> None:
    found = verdict("final-version", [WHEEL], version=version)
    assert found.outcome == "fail"
    assert what in found.reason


# --- all gates ------------------------------------------------------------------------------------


def test_gate_that_nobody_knows_is_shut() -> None:
    found = verdict("metrics", [WHEEL])
    assert found.outcome == "fail"
    assert "metrics" in found.reason


@pytest.mark.parametrize("gate", list(gates.GATES))
def test_release_without_files_passes_no_gate(gate: str) -> None:
    assert verdict(gate, []).outcome == "fail"


@pytest.mark.parametrize("gate", ["tests", "qa-signature"])
@pytest.mark.parametrize("predicate", [{}, {"passed": "many"}, {"tag": None}, {"environment": []}])
def test_evidence_that_cannot_be_read_opens_no_gate(gate: str, predicate: dict[str, Any]) -> None:
    facts = [
        evidence("tests", WHEEL.sha256, predicate),
        evidence("build", WHEEL.sha256, predicate),
        evidence("qa-signature", None, predicate, commit=COMMIT),
    ]
    assert not verdict(gate, [WHEEL], *facts).lets_pass


def test_gate_that_breaks_stays_shut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(release: JudgedRelease) -> Verdict:
        raise ZeroDivisionError

    monkeypatch.setitem(gates.GATES, "broken", gates.Gate(broken, "it never does"))
    found = verdict("broken", [WHEEL])
    assert found.outcome == "fail"
    assert "ZeroDivisionError" in found.reason


def test_there_is_one_verdict_per_gate_in_the_order_asked() -> None:
    release = JudgedRelease("demo", "1.0", (WHEEL,), ())
    asked = ["final-version", "tests", "unknown"]
    found = judge(release, asked)
    assert [one.gate for one in found] == asked
    assert "upgrade conveyor" in (found[-1].next_step or "")  # no command changes the gates of an index


# --- isolation, and builds that contradict each other -----------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "outcome", "told"),
    [
        ((built(WHEEL, isolation="jail"), with_tests(WHEEL, isolation="jail")), "pass", "3 passed"),
        ((built(WHEEL, isolation="jail"), with_tests(WHEEL)), "waiting", "was tested without isolation"),
        (
            (built(WHEEL, isolation="jail"), with_tests(WHEEL, isolation="degraded")),
            "waiting",
            "was tested without isolation",
        ),
        ((built(WHEEL), with_tests(WHEEL, isolation="jail")), "waiting", "was built without isolation"),
        (  # a later success in a jail counts, whatever came before it
            (
                built(WHEEL, isolation="jail"),
                with_tests(WHEEL, isolation="degraded"),
                with_tests(WHEEL, isolation="jail"),
            ),
            "pass",
            "3 passed",
        ),
        (  # a success without isolation does not outvote a failure
            (
                built(WHEEL, isolation="jail"),
                with_tests(WHEEL, isolation="jail", failed=1),
                with_tests(WHEEL, isolation="degraded"),
            ),
            "fail",
            "1 tests failed",
        ),
        (
            (built(WHEEL, isolation="jail"), with_tests(WHEEL, isolation="degraded", failed=1)),
            "fail",
            "1 tests failed",
        ),
    ],
)
def test_index_that_requires_isolation_sets_aside_what_was_found_without_it(
    facts: tuple[Evidence, ...], outcome: str, told: str
) -> None:
    release = JudgedRelease("demo", "1.0", (WHEEL,), facts, index="stable", rules=Rules(isolation="required"))
    (found,) = judge(release, ["tests"])
    assert found.outcome == outcome
    assert told in found.reason
    if outcome == "waiting":
        assert 'which "stable" does not accept' in found.reason
        assert (found.next_step or "").endswith(": conveyor store index set stable --isolation any")


def test_isolation_that_the_policy_asks_for_is_accepted_in_the_policy() -> None:
    """The setting of the index would change nothing: the policy decides before it."""
    policy = read_policy(
        'schema = 1\n[index."risk/stable"]\nisolation = "required"\n'
        '[index."risk/stable".project."de*"]\ngates = ["tests"]\nisolation = "required"\n'
    )
    assert policy.deciding("isolation", "risk/stable", "other") == '[index."risk/stable"]'
    assert policy.deciding("isolation", "stable", "demo") is None
    title = policy.deciding("isolation", "risk/stable", "demo")
    assert title == '[index."risk/stable".project."de*"]'
    facts = (built(WHEEL, isolation="jail"), with_tests(WHEEL, isolation="degraded"))
    rules = Rules(("tests",), isolation="required")
    station = JudgingIndex("risk/stable", rules, isolation_by=title)
    (found,) = judge_on_way(JudgedRelease("demo", "1.0", (WHEEL,), facts), [station])
    step = str(found.next_step)
    assert f'isolation = "any" below {title} in the policy' in step
    assert step.endswith(": conveyor store policy apply policy.toml --reason TEXT")
    assert "index set" not in step


def test_two_builds_of_one_file_that_name_two_commits_fail_every_gate_that_asks_and_name_both() -> None:
    other = built(WHEEL, commit=OTHER_COMMIT, by="worker-2")
    for gate in ("tests", "qa-signature"):
        found = verdict(gate, [WHEEL], built(WHEEL), other, with_tests(WHEEL), signed())
        assert found.outcome == "fail"
        assert f"{COMMIT} (says worker-1) and from {OTHER_COMMIT} (says worker-2)" in found.reason
        again = verdict(gate, [WHEEL], built(WHEEL), built(WHEEL, by="worker-2"), with_tests(WHEEL), signed())
        assert again.outcome == "pass"


def test_wheel_and_the_sdist_that_it_is_built_from_name_one_commit() -> None:
    facts = (built(SDIST), built(WHEEL, commit=OTHER_COMMIT, source=SDIST), signed(commit=OTHER_COMMIT))
    assert verdict("qa-signature", [WHEEL, SDIST], *facts).outcome == "fail"


# --- whose signature, and about which project -------------------------------------------------------------

TIED = Ties(is_registered=None, is_shared=False, others=frozenset())
AUTHOR = "ada@team.example"


def judged_signature(*facts: Evidence, ties: Ties | None = TIED, rules: Rules = NO_RULES) -> Verdict:
    """The verdict of "stable" on a wheel that was built from ``COMMIT``."""
    release = JudgedRelease(
        "demo", "1.0", (WHEEL,), (built(WHEEL), *facts), index="stable", rules=rules, ties=ties
    )
    (found,) = judge(release, ["qa-signature"])
    return found


@pytest.mark.parametrize(
    ("tag", "message", "ties", "passes"),
    [
        ("v1.0", "Demo 1.0", replace(TIED, is_shared=True, is_registered=False), True),
        ("demo/v1.0", "", replace(TIED, is_shared=True), True),
        ("libs/demo-v1.0", "", replace(TIED, is_shared=True), True),
        ("v1.0", "release 1.0", replace(TIED, is_registered=True, is_shared=True), True),
        ("v1.0", "release 1.0", replace(TIED, is_registered=False), False),
        ("v1.0", "release 1.0", TIED, True),
        ("v1.0", "release 1.0", replace(TIED, is_shared=True), False),
        ("v1.0", "other 1.0", replace(TIED, is_registered=True, others=frozenset({"other"})), False),
        ("v1.0", "other and demo 1.0", replace(TIED, others=frozenset({"other"})), True),
        ("v1.0", "release 1.0", None, True),  # a bundle says nothing about other projects
    ],
)
def test_signed_tag_is_tied_to_the_project(tag: str, message: str, ties: Ties | None, passes: bool) -> None:
    """Else a signature on the release of one project opens another one's that claims the same commit."""
    one = replace(signed(tag=tag), predicate={"tag": tag, "message": message})
    of_tag = built(WHEEL, tag=tag)
    release = JudgedRelease("demo", "1.0", (WHEEL,), (of_tag, one), index="stable", ties=ties)
    (found,) = judge(release, ["qa-signature"])
    assert found.lets_pass is passes
    if not passes:
        assert "which does not say that it is for demo" in found.reason
        assert (found.next_step or "").endswith(": conveyor approve demo 1.0 --key FILE")


def approved(*files: JudgedFile, by: str = "qa@team.example") -> Evidence:
    predicate = {"approval": "…", "files": {file.filename: file.sha256 for file in files}}
    return evidence("qa-signature", None, predicate, by=by)


@pytest.mark.parametrize(
    ("facts", "rules", "outcome", "told"),
    [
        ((approved(WHEEL),), NO_RULES, "pass", "qa@team.example signed its files"),
        ((approved(WHEEL, SDIST),), NO_RULES, "pass", ""),
        ((approved(replace(WHEEL, sha256="9" * 64)),), NO_RULES, "fail", "approved other files than it has"),
        ((approved(SDIST),), NO_RULES, "fail", "approved other files than it has"),
        ((signed(),), Rules(signers=2), "waiting", "qa@team.example signed it, and 1 more must"),
        ((signed(), approved(WHEEL)), Rules(signers=2), "waiting", "and 1 more must"),
        (
            (signed(), approved(WHEEL, by="second@team.example")),
            Rules(signers=2),
            "pass",
            "second@team.example and qa@team.example signed",
        ),
        (
            (approved(WHEEL),),
            Rules(not_author=True),
            "fail",
            "no build evidence says that somebody else wrote",
        ),
        ((replace(signed(), signer_indexes=("stable",)),), NO_RULES, "pass", ""),
        (
            (replace(signed(), signer_indexes=("risk/stable",)),),
            NO_RULES,
            "fail",
            'may not sign for "stable"',
        ),
    ],
)
def test_signers_have_a_reach_a_number_and_distance(
    facts: tuple[Evidence, ...], rules: Rules, outcome: str, told: str
) -> None:
    found = judged_signature(*facts, rules=rules)
    assert found.outcome == outcome
    assert told in found.reason
    assert found.lets_pass or found.next_step


def test_author_of_the_commit_is_no_signer_of_it_where_the_rules_say_so() -> None:
    by_author = replace(built(WHEEL), predicate={**built(WHEEL).predicate, "author": AUTHOR.title()})
    for signer, outcome in ((AUTHOR, "fail"), ("qa@team.example", "pass")):
        facts = (by_author, approved(WHEEL, by=signer))
        release = JudgedRelease("demo", "1.0", (WHEEL,), facts, rules=Rules(not_author=True))
        (found,) = judge(release, ["qa-signature"])
        assert found.outcome == outcome
        assert found.lets_pass or "is the author of its commit" in found.reason


def test_approval_needs_no_build_evidence_for_it_names_the_files() -> None:
    assert verdict("qa-signature", [WHEEL], approved(WHEEL)).outcome == "pass"
    contradicting = (built(WHEEL), built(WHEEL, commit=OTHER_COMMIT), approved(WHEEL))
    assert verdict("qa-signature", [WHEEL], *contradicting).outcome == "fail"


def proved(
    file: JudgedFile, *, of: str = "1.0rc1", derived: str | None = None, is_valid: bool = True,
    isolation: Isolation | None = None,
) -> Evidence:  # fmt: skip
    predicate = {
        "project": "demo", "version": "1.0", "rc_version": of, "rc_sha256": "9" * 64,
        "derived_sha256": derived or file.sha256, "rebuilt_sha256": file.sha256, "proof": "identical",
        "made": made(isolation),
    }  # fmt: skip
    return evidence("equivalence", file.sha256, predicate, is_valid=is_valid)


def test_final_whose_files_are_all_proved_equal_to_its_candidate_passes() -> None:
    found = verdict("equivalence", [WHEEL, SDIST], proved(WHEEL), proved(SDIST))
    assert found.outcome == "pass"
    assert "is that of 1.0rc1 but for its version; a rebuild has the same bytes" in found.reason
    assert verdict("equivalence", [WHEEL], version="1.0rc1").outcome == "pass"


@pytest.mark.parametrize(
    ("facts", "outcome", "told"),
    [
        ([], "waiting", "no worker has proved that demo-1.0-py3-none-any.whl equals a tested candidate"),
        ([proved(WHEEL, is_valid=False)], "waiting", "no worker has proved"),
        ([proved(SDIST)], "waiting", "no worker has proved"),
        ([proved(WHEEL), proved(WHEEL, of="0.9rc1")], "fail", "to 0.9rc1, which is no candidate of 1.0"),
        ([proved(WHEEL, of="0.9")], "fail", "to 0.9, which is no candidate of 1.0"),
        ([proved(WHEEL, of="1.0.dev3")], "fail", "to 1.0.dev3, which is no candidate of 1.0"),
        ([proved(WHEEL, derived="8" * 64)], "fail", "is about another file, sha256 8888888888888888"),
    ],
)  # fmt: skip
def test_final_that_is_not_proved_to_be_its_candidate_is_held(
    facts: list[Evidence], outcome: str, told: str
) -> None:
    found = verdict("equivalence", [WHEEL], *facts)
    assert (found.outcome, told in found.reason) == (outcome, True), found.reason
    assert (found.next_step or "").endswith(": conveyor release rc && conveyor release final")


def test_proof_that_was_found_without_isolation_counts_where_none_is_required() -> None:
    def outcome(isolation: Isolation, required: bool) -> str:
        release = JudgedRelease("demo", "1.0", (WHEEL,), (proved(WHEEL, isolation=isolation),))
        rules = Rules(("equivalence",), isolation="required" if required else "any")
        (found,) = judge_on_way(release, [JudgingIndex("stable", rules)])
        return found.outcome

    assert outcome("degraded", required=False) == outcome("jail", required=True) == "pass"
    assert outcome("degraded", required=True) == "waiting"
