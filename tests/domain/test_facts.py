"""Which test results count: the newest per environment, and every environment must pass (decision 0006)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.releases.evidence import facts_of_tests
from conveyor.domain.releases.facts import faults_of, results_of
from domain.test_gates import BINARY, WHEEL, with_tests

if TYPE_CHECKING:
    from conveyor.domain.releases.evidence import Evidence

OLDER, NEWER = ("testing", "3.11", "linux-x86_64"), ("testing", "3.12", "linux-x86_64")


@pytest.mark.parametrize(
    ("evidence", "are_good"),
    [
        ([], False),
        ([with_tests(WHEEL)], True),
        ([with_tests(WHEEL), with_tests(WHEEL, failed=1)], False),
        ([with_tests(WHEEL, failed=1), with_tests(WHEEL)], True),
        ([with_tests(WHEEL, failed=1), with_tests(WHEEL, python="3.12.1")], False),
        ([with_tests(WHEEL, failed=1), with_tests(WHEEL, index="stable")], False),
        ([with_tests(WHEEL), with_tests(WHEEL, failed=1, is_valid=False)], True),
        ([with_tests(WHEEL, is_valid=False)], False),
        ([with_tests(BINARY)], False),
    ],
)
def test_newest_result_of_each_environment_counts(evidence: list[Evidence], are_good: bool) -> None:
    assert results_of(evidence, WHEEL.sha256).are_good is are_good


def test_results_name_their_environments_and_who_is_ignored() -> None:
    unreadable = replace(with_tests(WHEEL), predicate={"passed": 1}, signed_by="old worker")
    evidence = [with_tests(WHEEL, passed=1), with_tests(WHEEL, python="3.12.1"), unreadable]
    found = results_of([*evidence, with_tests(WHEEL, passed=2, python="3.11.9")], WHEEL.sha256)
    assert list(found.newest) == [OLDER, NEWER]
    assert found.newest[OLDER].passed == 2
    assert found.ignored_signers == {"old worker"}


def test_result_is_good_only_with_tests_that_ran_on_installed_modules() -> None:
    good = facts_of_tests(with_tests(WHEEL).predicate)
    assert faults_of(good) == ()
    assert faults_of(replace(good, failed=1)) == ("1 tests failed and 0 broke",)
    assert faults_of(replace(good, passed=0)) == ("not one test passed",)
    assert faults_of(replace(good, origin=replace(good.origin, outside=("demo: elsewhere",)))) == (
        "the tests did not test the installed file: demo: elsewhere came from elsewhere",
    )
    assert faults_of(replace(good, origin=replace(good.origin, modules_checked=0))) == (
        "the tests imported no module of the installed file",
    )
