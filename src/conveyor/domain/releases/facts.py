"""Which evidence on a distribution counts, and what it says: the rule, and its only home.

The gates, the packaging and the testing job and the search for candidates ask here, so that what one of them
calls built or tested no other calls unbuilt or untested. Evidence counts when a registered, unrevoked worker
signed it and its facts can be read. Of test results the newest in each environment (index, Python without its
patch number, platform) counts, and a distribution is tested when there is a result and every environment of
its own passes (decisions 0006 and 0047). The newest is the one that was made last, whenever it came. The lock
of a test is given to readers for as long as the test passes.

What the job of a CI host tells, by the token of a trusted publisher, is kept with its name and counts
nowhere, except in an index whose policy says so (``admitted``); and it never counts as isolated.

Where isolation is required, a success that was found without it is set aside: the project's own programs
could have written it. A failure counts however it was found, until the tests pass in a jail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from packaging.version import InvalidVersion, Version

from conveyor.domain.releases.evidence import (
    facts_of_build,
    facts_of_dependants,
    facts_of_equivalence,
    facts_of_tests,
)
from conveyor.domain.releases.standing import farthest
from conveyor.domain.words.names import is_python, minor_of
from conveyor.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.releases.evidence import (
        Evidence,
        FactsOfBuild,
        FactsOfDependants,
        FactsOfEquivalence,
        FactsOfTests,
    )
    from conveyor.domain.releases.gates.rules import Rules

Facts = TypeVar("Facts")

_RELEASED = re.compile(r"[0-9]+(?:\.[0-9]+)*")
TestedEnvironment = tuple[str, str, str]
"""(index resolved against, Python without its patch number, platform)."""


@dataclass(frozen=True)
class Results:
    """The test results of one distribution."""

    newest: Mapping[TestedEnvironment, FactsOfTests]
    """The result that counts in each environment, in the order in which environments first appeared."""
    ignored_signers: frozenset[str]
    """Signers of results that do not count."""
    degraded: tuple[FactsOfTests, ...] = ()
    """Successes that were set aside, because they were found without isolation."""
    aside: tuple[FactsOfTests, ...] = ()
    """Results that are shown and block nothing: of an index elsewhere, of a Python that nobody asked for."""
    missing: tuple[TestedEnvironment, ...] = ()
    """Environments in which a testing job was to test the file, and has not yet."""

    @property
    def failing(self) -> tuple[FactsOfTests, ...]:
        """The results that count but are not good enough."""
        return tuple(facts for facts in self.newest.values() if faults_of(facts))

    @property
    def are_good(self) -> bool:
        """Whether the distribution is tested: there is a result, and every environment passes."""
        return bool(self.newest) and not self.failing and not self.missing


def admitted(
    evidence: Iterable[Evidence], *, workers: Collection[str] = (), takes_jobs: bool = False
) -> tuple[Evidence, ...]:
    """Evidence as an index takes it: of these workers only, if some are named; of jobs only if it takes them.

    What a job says of its isolation is shown, and not believed: its host could say anything.
    """
    found = []
    for one in evidence:
        if one.job is not None:
            counts = takes_jobs and one.job.is_registered
            made = {**(one.predicate.get("made") or {}), "isolation": "degraded"}
            taken = replace(one, is_signer_valid=True, predicate={**one.predicate, "made": made})
            found.append(
                taken if counts and one.predicate.get("made") else replace(one, is_signer_valid=counts)
            )
        elif workers and one.kind != "qa-signature" and one.signed_by not in workers:
            found.append(replace(one, is_signer_valid=False))
        else:
            found.append(one)
    return tuple(found)


def taken_by(rules: Rules, evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Evidence as the rules of an index take it."""
    return admitted(evidence, workers=rules.workers, takes_jobs=rules.ci_evidence == "counts")


def results_of(
    evidence: Iterable[Evidence],
    sha256: str,
    *,
    is_isolated: bool = False,
    route: Collection[str] | None = None,
    asked: Collection[str] = (),
) -> Results:
    """The results of the distribution with that digest; ``evidence`` is that of its release, oldest first.

    Args:
        evidence: what is known of the release.
        sha256: the distribution's digest.
        is_isolated: only those count that were found in a jail, and failures.
        route: only those count that were resolved against one of these indexes; ``None``: against any.
        asked: Pythons that an index asks for, besides those that the testing jobs name.
    """
    newest: dict[TestedEnvironment, FactsOfTests] = {}
    elsewhere: dict[TestedEnvironment, FactsOfTests] = {}
    named: dict[tuple[str, str], set[TestedEnvironment]] = {}
    ignored: set[str] = set()
    degraded: list[FactsOfTests] = []
    for one in evidence:
        if one.kind != "tests" or one.sha256 != sha256:
            continue
        facts = _counting(one, facts_of_tests)
        if facts is None:
            ignored.add(one.signed_by)
        elif is_isolated and is_degraded(facts) and not faults_of(facts):
            degraded.append(facts)
        elif route is not None and facts.index not in route:
            elsewhere[facts.environment] = facts
        else:
            newest[facts.environment] = facts
            if facts.pythons:
                place = (facts.index, facts.on.platform)
                named[place] = {(facts.index, python, facts.on.platform) for python in facts.pythons}
    aside = {
        environment: facts
        for environment, facts in newest.items()
        if not _is_named(environment, named) and not any(is_python(facts.on.python, one) for one in asked)
    }
    return Results(
        {environment: facts for environment, facts in newest.items() if environment not in aside},
        frozenset(ignored),
        tuple(degraded),
        aside=(*elsewhere.values(), *aside.values()),
        missing=tuple(sorted(set().union(*named.values()) - newest.keys())),
    )


def _is_named(
    environment: TestedEnvironment, named: Mapping[tuple[str, str], Collection[TestedEnvironment]]
) -> bool:
    """Whether the newest testing job for that index and platform asked for it, or did not say."""
    index, _, platform = environment
    return environment in named.get((index, platform), (environment,))


def is_tested_for(
    evidence: Collection[Evidence],
    digests: Collection[str],
    index: str,
    blocks: Callable[[FactsOfTests], bool] = lambda _: True,
) -> bool:
    """Whether a worker whose word counts has tested files for an index, as far as its job went, with success.

    The store moves only such releases by itself: they are on the way of a run, or somebody put them there.
    ``blocks`` tells of a failure whether the index does more than show it.
    """
    found = [results_of(evidence, sha256, route=(index,)) for sha256 in digests]
    has_failed = any(one.missing or any(map(blocks, one.failing)) for one in found)
    return any(one.newest for one in found) and not has_failed


def is_failed_for(
    evidence: Collection[Evidence],
    digests: Collection[str],
    index: str,
    blocks: Callable[[FactsOfTests], bool] = lambda _: True,
) -> bool:
    """Whether a worker whose word counts has tested files for an index, and some failed; see above."""
    found = [results_of(evidence, sha256, route=(index,)) for sha256 in digests]
    return any(any(map(blocks, one.failing)) for one in found)


def told_by_jobs(evidence: Iterable[Evidence], filenames: Mapping[str, str]) -> list[str]:
    """A sentence for each fact that a job of a CI host told; ``filenames`` by digest."""
    sentences = []
    for one in evidence:
        if one.job is None:
            continue
        claims = {name: str(value) for name, value in one.job.claims.items()}
        told = [claims.get("repository", "?")]
        told += [f"{name} {claims[name]}" for name in ("ref", "run_id", "job_id") if name in claims]
        what = filenames.get(str(one.sha256), str(one.sha256))
        isolation = (one.predicate.get("made") or {}).get("isolation")
        said = f"{one.kind} of {what}{_counts_told(one)}"
        said += f", isolation as it says: {isolation}" if isolation else ""
        gone = "" if one.job.is_registered else ", which is registered no more"
        sentences.append(f"{one.job.publisher}{gone} ({', '.join(told)}) told {said}; unsigned")
    return sentences


def _counts_told(one: Evidence) -> str:
    try:
        facts = facts_of_tests(one.predicate) if one.kind == "tests" else None
    except InvalidInput:
        return ", unreadable"
    if facts is None:
        return ""
    return f": {facts.passed} passed, {facts.failed} failed, {facts.errors} broke on Python {facts.on.python}"


def is_degraded(facts: FactsOfTests | FactsOfBuild | FactsOfDependants | FactsOfEquivalence) -> bool:
    """Whether the programs of the project were not in a whole jail; so counts what does not say how."""
    return facts.made is None or facts.made.isolation != "jail"


def passing_results(evidence: Iterable[Evidence]) -> list[tuple[Evidence, FactsOfTests]]:
    """Of each distribution the result that counts in each environment, where it is good; oldest first."""
    newest: dict[tuple[str | None, TestedEnvironment], tuple[Evidence, FactsOfTests]] = {}
    for one in evidence:
        facts = _counting(one, facts_of_tests) if one.kind == "tests" else None
        if facts is not None:
            newest[one.sha256, facts.environment] = (one, facts)
    return [(one, facts) for one, facts in newest.values() if not faults_of(facts)]


def runs_of_dependants(
    evidence: Iterable[Evidence], *, is_isolated: bool = False
) -> dict[tuple[str, str, str], FactsOfDependants]:
    """(index, dependant, its version) → the newest result that counts of its tests with the release."""
    newest: dict[tuple[str, str, str], FactsOfDependants] = {}
    for one in evidence:
        facts = _counting(one, facts_of_dependants) if one.kind == "dependants" else None
        if facts is not None and not (is_isolated and is_degraded(facts) and facts.is_good):
            newest[facts.index, facts.dependant, facts.dependant_version] = facts
    return newest


def builds_of(evidence: Iterable[Evidence], sha256: str, *, is_isolated: bool = False) -> list[FactsOfBuild]:
    """What the distribution with that digest was built from, oldest first; asked as ``results_of``."""
    builds = [one for one in evidence if one.kind == "build" and one.sha256 == sha256]
    counting = [facts for one in builds if (facts := _counting(one, facts_of_build)) is not None]
    return [facts for facts in counting if not (is_isolated and is_degraded(facts))]


def proofs_of(
    evidence: Iterable[Evidence], sha256: str, *, is_isolated: bool = False
) -> list[FactsOfEquivalence]:
    """By which proofs the file with that digest equals one of a candidate; asked as ``results_of``."""
    about = [one for one in evidence if one.kind == "equivalence" and one.sha256 == sha256]
    counting = [facts for one in about if (facts := _counting(one, facts_of_equivalence)) is not None]
    return [facts for facts in counting if not (is_isolated and is_degraded(facts))]


def _counting(one: Evidence, read: Callable[[dict[str, Any]], Facts]) -> Facts | None:
    """What the evidence says; ``None`` when it does not count."""
    try:
        return read(one.predicate) if one.is_signer_valid else None
    except InvalidInput:
        return None


def faults_of(facts: FactsOfTests) -> tuple[str, ...]:
    """The faults of a result that is not good enough, each once; empty if it is good."""
    faults = []
    if facts.failed or facts.errors:
        faults.append(f"{facts.failed} tests failed and {facts.errors} broke")
    elif facts.passed < 1:
        faults.append("not one test passed")
    if facts.passed and facts.origin.modules_checked < 1:
        faults.append("the tests imported no module of the installed file")
    if facts.origin.outside:
        listed = ", ".join(facts.origin.outside[:3])
        faults.append(f"the tests did not test the installed file: {listed} came from elsewhere")
    return tuple(faults)


@dataclass(frozen=True)
class TestedLock:
    """A lock in which tests passed."""

    sha256: str
    index: str
    """The index that its environment was resolved against."""
    python: str
    received_at: str

    @property
    def minor(self) -> str:
        """The Python without its patch number."""
        return minor_of(self.python)


def tested_locks(
    evidence: Collection[Evidence], *, stored: Collection[str], readable: Collection[str]
) -> list[TestedLock]:
    """The locks of the tests that count and pass, against an index that the reader may see.

    A later failure in an environment takes back what passed there before.
    """
    return [
        TestedLock(str(facts.on.lock_sha256), facts.index, facts.on.python, one.received_at)
        for one, facts in passing_results(evidence)
        if facts.on.lock_sha256 in stored and facts.index in readable
    ]


def choose_lock(
    locks: Collection[TestedLock],
    indexes: Mapping[str, Index],
    *,
    release: str,
    python: str | None,
    index: str | None,
) -> TestedLock:
    """The newest lock on the newest Python, in the most mature index; or on this Python, in this index.

    The most mature index is the one that most of the others lead to. ``python`` may leave out the patch
    number.

    Raises:
        NotFound: there is no such lock; the hint names those that there are.
    """
    matching = [
        lock
        for lock in locks
        if index in (None, lock.index) and (python is None or f"{lock.python}.".startswith(f"{python}."))
    ]
    if not matching:
        asked = "".join((f" on Python {python}" if python else "", f' in "{index}"' if index else ""))
        there = sorted({f"?python={lock.minor}&index={lock.index}" for lock in locks})
        hint = f"there are {', '.join(there)}" if there else "its next testing job leaves one"
        raise NotFound(f"{release} has no lock{asked}", hint=hint)
    index = farthest({lock.index for lock in matching}, indexes)
    return max(
        (lock for lock in matching if lock.index == index),
        key=lambda lock: (_order(lock.python), lock.received_at),
    )


def _order(python: str) -> tuple[int, Version]:
    """CPython before others, then by version."""
    number = _RELEASED.search(python)
    try:
        version = Version(number[0] if number else "0")
    except InvalidVersion:
        version = Version("0")
    return (1 if python[:1].isdigit() else 0, version)
