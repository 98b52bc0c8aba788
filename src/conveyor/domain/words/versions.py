"""Versions: parsed, canonical, equal under another spelling (PEP 440)."""

from __future__ import annotations

from packaging.version import Version

from conveyor.errors import InvalidVersion

__all__ = ["Version", "canonical_version", "equal_spellings", "final_of", "is_final", "parse_version"]

MOST_RELEASE_NUMBERS = 8
"""How many numbers a release segment is looked for with (``1.0`` up to ``1.0.0.0.0.0.0.0``)."""


def parse_version(text: str) -> Version:
    """The version that ``text`` spells; raises InvalidVersion when it is not PEP 440."""
    try:
        return Version(text)
    except ValueError as error:  # also of thousands of digits
        raise InvalidVersion(
            f"{text[:100]!r} is not a version",
            hint="write versions as PEP 440 does, such as 1.2.0 or 1.2.0rc1",
        ) from error


def canonical_version(text: str) -> str:
    """The canonical spelling of a version: ``1.0-RC1`` becomes ``1.0rc1``; raises InvalidVersion."""
    return str(parse_version(text))


def equal_spellings(version: Version) -> tuple[str, ...]:
    """Every canonical spelling of the same version with up to eight release numbers, shortest first.

    PEP 440 holds 1.0 and 1.0.0 for equal, so no installer could tell two such releases apart.
    """
    numbers = list(version.release)
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    written, shortest = ".".join(map(str, version.release)), ".".join(map(str, numbers))
    before = f"{version.epoch}!" if version.epoch else ""
    after = str(version)[len(before + written) :]
    zeros = range(max(MOST_RELEASE_NUMBERS - len(numbers), 0) + 1)
    return tuple(f"{before}{shortest}{'.0' * count}{after}" for count in zeros)


def is_final(version: Version) -> bool:
    """Whether this is a release for everybody: no pre-release, no development release, no local version."""
    return not version.is_prerelease and version.local is None


def final_of(version: Version) -> Version:
    """The release for everybody that this one leads to: 1.0 of 1.0rc1, 1.0.post1 of 1.0.post1.dev2."""
    if version.post is None or version.pre is not None:
        return Version(version.base_version)
    return Version(f"{version.base_version}.post{version.post}")
