"""Bundles: everything that proves a release, in one document, and the chain that is read from it offline.

The chain of a file has four links: the bytes are those that the release names; they were tested as published;
they were built from a commit; a signer signed that commit as this version. What counts as tested, built and
signed is judged by the gates themselves (``gates``), so that a promotion and a proof never disagree.

A bundle holds statements as they were signed, with the public keys that the store knows. It is not signed as
a whole: whoever makes one can put other keys in, so a reader pins the keys (``--trust``) or compares their
fingerprints. Nor can a reader see what was left out, such as a later failure.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.people.keys import Signer, Worker, fingerprint
from conveyor.domain.releases.evidence import Base64, Evidence, EvidenceKind
from conveyor.domain.releases.facts import builds_of, results_of
from conveyor.domain.releases.gates.finals import judge_qa_signature
from conveyor.domain.releases.gates.judged import JudgedFile, JudgedRelease, Verdict, commits_of
from conveyor.domain.releases.gates.tests import judge_tests
from conveyor.domain.words.notation import Moment, Sha256
from conveyor.domain.words.records import Count, Named, Record, Text
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

LinkName = Literal["file", "tested", "built", "signed"]
LinkState = Literal["verified", "missing", "wrong"]
MAX_BUNDLE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class BundledFile(Record):
    """A distribution of the release."""

    filename: Text
    sha256: Sha256
    size_bytes: Annotated[Count, Named("size"), "Bytes."]


@dataclass(frozen=True)
class BundledEvidence(Record):
    """What somebody signed, as the store received it."""

    kind: EvidenceKind
    content: Annotated[Base64, "The DSSE envelope; of a QA signature the tag object or the approval."]
    received_at: Moment

    @property
    def signed(self) -> bytes:
        """The envelope, the tag object or the approval itself."""
        return base64.b64decode(self.content)


@dataclass(frozen=True)
class Bundle(Record):
    """A release with everything that proves it."""

    form: Annotated[Literal["urn:conveyor:bundle:1"], Named("bundle"), "The form of this document."]
    project: Text
    version: Text
    exported_at: Moment
    files: tuple[BundledFile, ...]
    evidence: Annotated[tuple[BundledEvidence, ...], "In the order of receipt."]
    workers: Annotated[tuple[Worker, ...], "Those whose keys the evidence names."]
    signers: Annotated[tuple[Signer, ...], "Those whose keys the evidence names."]

    def judged(self, evidence: tuple[Evidence, ...]) -> JudgedRelease:
        """The release as gates see it, with the evidence that is genuine."""
        files = tuple(_judged_file(one) for one in self.files)
        return JudgedRelease(self.project, self.version, files, evidence)


@dataclass(frozen=True)
class Rejected:
    """A piece of evidence that proves nothing."""

    kind: EvidenceKind
    sha256: str | None
    """The distribution that it names; ``None`` if it names none or cannot be read."""
    reason: str


@dataclass(frozen=True)
class Link:
    """One link of a file's chain."""

    name: LinkName
    state: LinkState
    detail: str
    """The evidence, or what is missing or wrong."""


@dataclass(frozen=True)
class Chain:
    """The chain of one file."""

    filename: str
    sha256: str
    links: tuple[Link, ...]

    @property
    def broken(self) -> tuple[Link, ...]:
        """The links that are missing or wrong."""
        return tuple(link for link in self.links if link.state != "verified")


def chain_of(
    bundle: Bundle,
    file: BundledFile,
    *,
    evidence: tuple[Evidence, ...],
    rejected: Sequence[Rejected],
    has_bytes: bool,
) -> Chain:
    """The chain of a file of the bundle.

    Args:
        bundle: the bundle.
        file: the file.
        evidence: the genuine evidence in it, in the order of receipt.
        rejected: what is not genuine, and why.
        has_bytes: whether the digest was computed from the file itself.
    """
    release = bundle.judged(evidence)
    this = _judged_file(file)
    sources = (this, *release.wheels) if this in release.sources else (this,)
    judged = JudgedRelease(bundle.project, bundle.version, sources, evidence)
    said = f"its SHA-256 is {file.sha256}" + (
        "" if has_bytes else ", as the release names it; no file was given"
    )
    return Chain(
        file.filename,
        file.sha256,
        (
            Link("file", "verified", said),
            _link("tested", judge_tests(judged), _told_of_tests(release, this), "tests", rejected, file),
            _built(judged, this, rejected, file),
            _link("signed", judge_qa_signature(judged), "", "qa-signature", rejected, file),
        ),
    )


def read_trust(text: str) -> frozenset[tuple[str, str, str]]:
    """The pinned keys of a trust file: (``worker`` or ``signer``, name, key) of each line.

    A line is what ``trust_lines`` writes; empty lines and what follows ``#`` are passed over.

    Raises:
        InvalidInput: a line is something else; all such lines are named.
    """
    found = set()
    faults = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if len(words) == 3 and words[0] in ("worker", "signer"):
            found.add((words[0], words[1], words[2]))
        elif words:
            faults.append(f"line {number} is not a role, a name and a key: {line[:80]}")
    if faults or not found:
        raise InvalidInput(
            "the file of trusted keys cannot be used: " + (faults[0] if faults else "it names no key"),
            faults=faults,
            hint="each line is: worker NAME KEY, or: signer NAME FINGERPRINT, as verify --keys writes them",
        )
    return frozenset(found)


def trust_lines(bundle: Bundle) -> tuple[str, ...]:
    """The keys of a bundle as lines of a trust file, in the order of the bundle."""
    workers = [f"worker {one.name} {one.key_id}" for one in bundle.workers]
    return (*workers, *(f"signer {one.principal} {fingerprint(one.public_key)}" for one in bundle.signers))


def _judged_file(file: BundledFile) -> JudgedFile:
    return JudgedFile(
        file.filename, "bdist_wheel" if file.filename.endswith(".whl") else "sdist", file.sha256
    )


def _link(
    name: LinkName,
    verdict: Verdict,
    told: str,
    kind: EvidenceKind,
    rejected: Sequence[Rejected],
    file: BundledFile,
) -> Link:
    reasons = [one.reason for one in rejected if one.kind == kind and one.sha256 in (None, file.sha256)]
    if verdict.outcome == "pass":
        return Link(name, "verified", told or verdict.reason)
    state: LinkState = "wrong" if verdict.outcome == "fail" or reasons else "missing"
    return Link(name, state, "; ".join([verdict.reason, *dict.fromkeys(reasons)]))


def _told_of_tests(release: JudgedRelease, file: JudgedFile) -> str:
    """Results of the file's own tests with their worker; empty for an sdist that was tested by its wheel."""
    signed = {one.signed_by for one in release.evidence if one.kind == "tests" and one.sha256 == file.sha256}
    results = results_of(release.evidence, file.sha256).newest.values()
    if not results:
        return ""
    said = "; ".join(
        f"{one.passed} passed on Python {one.on.python}, {one.on.platform}, against {one.index}"
        for one in results
    )
    return f"{said}; said by {', '.join(sorted(signed))}"


def _built(
    release: JudgedRelease, file: JudgedFile, rejected: Sequence[Rejected], named: BundledFile
) -> Link:
    commits = commits_of(release, file)
    if not commits:
        reasons = [
            one.reason for one in rejected if one.kind == "build" and one.sha256 in (None, named.sha256)
        ]
        said = "no build evidence says which commit it was built from"
        return Link("built", "wrong" if reasons else "missing", "; ".join([said, *dict.fromkeys(reasons)]))
    signed = sorted(
        {one.signed_by for one in release.evidence if one.kind == "build" and one.commit_id in commits}
    )
    facts = builds_of(release.evidence, file.sha256)
    places = sorted({one.repository for one in facts if one.repository})
    derived = sorted({one.derived_from for one in facts if one.derived_from})
    said = f"from commit {' or '.join(sorted(commits))}"
    said += f" of {', '.join(places)}" if places else ""
    said += f", derived from the tested candidate {', '.join(derived)}" if derived else ""
    return Link("built", "verified", f"{said}; said by {', '.join(signed)}")
