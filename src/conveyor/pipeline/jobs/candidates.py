"""A final release is its tested candidate: find it, take its payload, prove that the final is the same.

The tested wheel is downloaded by digest, the final is derived from it (``domain.distributions.equivalence``),
and the project's backend must build the same bytes from the commit. If a backend compresses in another way,
the members must be the same. Anything else fails the run and names the members. The derived wheel and the
rebuilt sdist are published.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from conveyor.domain.distributions.equivalence import (
    COMPILED,
    Difference,
    Proof,
    StatedLine,
    Versions,
    compare_sdists,
    compare_wheels,
    derive_wheel,
)
from conveyor.domain.releases.evidence import FactsOfEquivalence
from conveyor.domain.releases.facts import builds_of, results_of
from conveyor.domain.words.names import Version, parse_version
from conveyor.errors import EquivalenceFailed
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs.payloads import unpack
from conveyor.pipeline.jobs.sources import read_clone
from conveyor.project.archives import sha256_of_file
from conveyor.project.version_lines import version_line

if TYPE_CHECKING:
    from conveyor.domain.releases.standing import Release
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.pipeline.jobs.distributions import BuiltRelease
    from conveyor.pipeline.jobs.sources import Source
    from conveyor.project.settings import Project


@dataclass(frozen=True)
class Candidate:
    """A tested release candidate of the same commit; its files lie in the folder ``candidate``."""

    version: str
    wheel: str
    wheel_sha256: str
    sdist: str
    sdist_sha256: str
    payload: tuple[tuple[str, str], ...]
    """(path, SHA-256) of each trained file, as the candidate's build evidence states them."""


def find(worker: Keeper, place: Workplace, project: str, source: Source) -> Done[Candidate | None]:
    """The newest tested candidate of this commit and version, downloaded; ``None`` if there is none."""
    final = source.version
    found: dict[Version, Release] = {}
    for release in worker.client.releases.of_commit(project, source.commit):
        version = parse_version(release.version)
        if version.is_prerelease and not version.is_devrelease and version.base_version == final.base_version:
            found[version] = release
    for version in sorted(found, reverse=True):
        candidate = candidate_of(found[version])
        if candidate is not None:
            folder = place.fresh("candidate")
            for file in found[version].files:
                if file.filename in (candidate.wheel, candidate.sdist):
                    worker.client.files.download(file, folder)
            summary = f"{candidate.version} of this commit was tested: sha256 {candidate.wheel_sha256[:16]}…"
            return Done(candidate, summary, {"candidate": candidate.version})
    untested = ", ".join(str(version) for version in sorted(found))
    return Done(None, f"{untested} was never tested" if untested else "no release candidate of this commit")


def take_payload(place: Workplace, source: Source, candidate: Candidate) -> Done[None]:
    """Put the candidate's trained files into the checkout; each must have the digest in the evidence.

    Raises:
        EquivalenceFailed: the sdist lacks a file that the evidence names, or holds other bytes.
    """
    checkout = place.folder / "checkout" / source.folder
    if not candidate.payload:
        return Done(None, "the candidate has no trained files", is_skipped=True)
    unpack(place.folder / "candidate" / candidate.sdist, candidate.payload, checkout)
    names = ", ".join(PurePosixPath(path).name for path, _ in candidate.payload)
    return Done(None, f"{names} of {candidate.version}, by digest; nothing is trained again")


def prove(
    place: Workplace, source: Source, candidate: Candidate, built: BuiltRelease
) -> Done[tuple[BuiltRelease, dict[str, FactsOfEquivalence]]]:
    """Derive the final wheel, compare it with the rebuilt one, and put it in that one's place.

    Returns the files to publish and, by filename, the facts of their equivalence evidence.

    Raises:
        EquivalenceFailed: the rebuilt files differ in more than the version; names every member.
    """
    dist, rebuilt_folder = place.folder / "dist", place.folder / "rebuilt"
    if not rebuilt_folder.exists():  # a second attempt finds the rebuilt wheel here
        staging = place.fresh("rebuilt.part")
        shutil.copyfile(dist / built.wheel, staging / built.wheel)
        staging.rename(rebuilt_folder)
    rebuilt = rebuilt_folder / built.wheel
    project = read_clone(place, source, "source")
    versions = _versions(project, parse_version(candidate.version), parse_version(built.version))
    expected = candidate.wheel.replace(f"-{candidate.version}-", f"-{built.version}-", 1)
    if built.wheel != expected or source.version != versions.final:
        raise EquivalenceFailed(f"{candidate.wheel} became {built.wheel} when it was rebuilt, not {expected}")
    tested = place.folder / "candidate" / candidate.wheel
    derived = place.fresh("derived") / built.wheel
    with tested.open("rb") as old, derived.open("w+b") as new:
        derive_wheel(old, new, versions)
    proof = _compare(candidate, derived, rebuilt)
    with (
        (place.folder / "candidate" / candidate.sdist).open("rb") as old,
        (dist / built.sdist).open("rb") as new,
    ):
        _refuse(candidate.sdist, built.sdist, compare_sdists(old, new, versions))
    sdist_sha256 = sha256_of_file(dist / built.sdist)
    proofs = {
        built.wheel: FactsOfEquivalence(
            built.project, built.version, candidate.version, candidate.wheel_sha256,
            derived_sha256=sha256_of_file(derived), rebuilt_sha256=sha256_of_file(rebuilt), proof=proof,
            rc_filename=candidate.wheel,
        ),
        built.sdist: FactsOfEquivalence(
            built.project, built.version, candidate.version, candidate.sdist_sha256,
            derived_sha256=sdist_sha256, rebuilt_sha256=sdist_sha256, proof="members-identical",
            rc_filename=candidate.sdist,
        ),
    }  # fmt: skip
    derived.replace(dist / built.wheel)
    result = "the same bytes" if proof == "identical" else "the same members in another compression"
    summary = f"derived from {candidate.wheel}; a rebuild has {result}"
    final = replace(built, derived_from=candidate.wheel_sha256)
    return Done((final, proofs), summary, {"proof": proof})


def _versions(project: Project, candidate: Version, final: Version) -> Versions:
    """Where the version may stand: in generated files, or in the one line that the candidate's build set."""
    line = version_line(project)
    stated = StatedLine(line.path, line.stating(candidate), line.text) if line is not None else None
    return Versions(candidate, final, project.version_files, stated)


def _compare(candidate: Candidate, derived: Path, rebuilt: Path) -> Proof:
    if sha256_of_file(derived) == sha256_of_file(rebuilt):
        return "identical"
    with derived.open("rb") as one, rebuilt.open("rb") as other:
        _refuse(candidate.wheel, rebuilt.name, compare_wheels(one, other))
    return "members-identical"


def _refuse(old: str, new: str, differences: list[Difference]) -> None:
    if differences:
        listed = "".join(f"\n  - {one.member}: {one.change}" for one in differences)
        raise EquivalenceFailed(
            f"{new} is not {old} under another version; {len(differences)} members differ:{listed}",
            log=str([asdict(one) for one in differences]),
            hint=_HINT_FOR_COMPILED if any(one.member.endswith(COMPILED) for one in differences) else _HINT,
        )


_HINT = (
    "these members must not depend on the version or on the time of the build; "
    "read the version from the installed metadata instead"
)
_HINT_FOR_COMPILED = (
    "compiled modules must not hold the version or the time of the build, and need the same compiler and "
    "build requirements: pin those under [build-system] in pyproject.toml, and read the version in Python; a "
    "version in Cargo.toml is compiled in, so state it under [project] in pyproject.toml"
)


def candidate_of(release: Release) -> Candidate | None:
    """The release as a candidate; ``None`` if it lacks a tested wheel or the sdist it was built from."""
    for wheel in release.wheels:
        built = builds_of(release.evidence, wheel.sha256)
        if not built or not results_of(release.evidence, wheel.sha256).are_good:
            continue
        for sdist in release.sdists:
            if built[-1].built_from == sdist.sha256:
                return Candidate(
                    release.version,
                    wheel.filename,
                    wheel.sha256,
                    sdist.filename,
                    sdist.sha256,
                    built[-1].payload,
                )
    return None
