"""Advisories: known vulnerabilities of packages, in the form of OSV, and the versions that they affect.

Only what an advisory says of the ecosystem PyPI is kept. A version is affected if the advisory lists it, or
if it lies in one of its ranges; versions are compared as PEP 440 does. A local version counts as the public
one that it was made from.

Source: OSV schema 1.7, "affected[].ranges[]" and "Evaluation".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from packaging.utils import canonicalize_name
from packaging.version import Version

from conveyor.domain.words.names import version_or_none
from conveyor.domain.words.notation import Moment, read_json, utc_text
from conveyor.domain.words.records import Count, Given, Record, ShortText, as_json, read_record, readable_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ECOSYSTEM = "PyPI"
MAX_ADVISORY_BYTES = 4 * 1024 * 1024
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""The limit of a request that brings advisories; a batch may hold one of the largest."""
_COMPARED = ("ECOSYSTEM", "SEMVER")


def _store_time(text: str) -> str:
    """A time in the store's form; one without a zone is in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    try:
        return utc_text(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except OverflowError as error:  # in UTC it is before the year 1 or after 9999
        raise ValueError(text) from error


@dataclass(frozen=True)
class OsvEvent(Record):
    """An end of a range."""

    is_open = True
    introduced: ShortText | None = None
    fixed: ShortText | None = None
    last_affected: ShortText | None = None
    limit: ShortText | None = None


@dataclass(frozen=True)
class OsvRange(Record):
    """A range of versions."""

    is_open = True
    type: ShortText
    events: tuple[OsvEvent, ...]


@dataclass(frozen=True)
class OsvPackage(Record):
    """A package."""

    is_open = True
    ecosystem: ShortText
    name: ShortText


@dataclass(frozen=True)
class OsvAffected(Record):
    """What an advisory says of one package."""

    is_open = True
    package: OsvPackage | None = None
    ranges: tuple[OsvRange, ...] = ()
    versions: tuple[ShortText, ...] = ()


@dataclass(frozen=True)
class OsvAdvisory(Record):
    """An advisory, as OSV spells it."""

    is_open = True
    id: Annotated[str, Given(100)]
    modified: Annotated[Moment, readable_by(_store_time, "is not a time")]
    withdrawn: Annotated[Moment, readable_by(_store_time, "is not a time")] | None = None
    summary: Annotated[str, "One line."] = ""
    aliases: tuple[ShortText, ...] = ()
    affected: tuple[OsvAffected, ...] = ()

    @property
    def modified_at(self) -> str:
        """When this state of it was written, in the store's form."""
        return _store_time(self.modified)


@dataclass(frozen=True)
class NewAdvisories(Record):
    """Advisories to be kept."""

    advisories: tuple[OsvAdvisory, ...]


@dataclass(frozen=True)
class TakenAdvisories(Record):
    """What became of advisories that were handed in."""

    new: Count
    changed: Count
    unchanged: Annotated[Count, "Known already in this state, or in a newer one."]


@dataclass(frozen=True)
class AdvisoryOfProject(Record):
    """What an advisory that holds says of one project."""

    id: str
    project: Annotated[str, "Normalized."]
    summary: str
    aliases: tuple[str, ...]
    ranges: tuple[OsvRange, ...]
    versions: tuple[str, ...]

    def affects(self, version: str) -> bool:
        """Whether it affects a version; one that is not PEP 440 only by being listed."""
        if version in self.versions:
            return True
        number = version_or_none(version)
        if number is None:
            return False
        public = Version(number.public)
        return any(_same(public, one) for one in self.versions) or any(
            _is_within(public, one) for one in self.ranges
        )

    @property
    def fixed_in(self) -> tuple[str, ...]:
        """The versions that repair it, lowest first."""
        found = {event.fixed for one in self.ranges if one.type in _COMPARED for event in one.events}
        known = [(number, text) for text in found if text and (number := version_or_none(text)) is not None]
        return tuple(text for _, text in sorted(known))


def _same(number: Version, text: str) -> bool:
    other = version_or_none(text)
    return other is not None and Version(other.public) == number


def _is_within(number: Version, affected: OsvRange) -> bool:
    """The evaluation that OSV describes: the events in order of their versions switch it on and off."""
    if affected.type not in _COMPARED:
        return False
    limits = [event.limit for event in affected.events if event.limit is not None]
    if limits and not any(one == "*" or _is_below(number, one) for one in limits):
        return False
    switches: list[tuple[Version, int, bool]] = []
    for event in affected.events:
        for text, is_inclusive, turns_on in (
            (event.introduced, True, True),
            (event.fixed, True, False),
            (event.last_affected, False, False),
        ):
            at = None if text is None else version_or_none("0.dev0" if text == "0" else text)
            if at is not None:
                switches.append((at, 0 if is_inclusive else 1, turns_on))
    is_affected = False
    for at, is_after, turns_on in sorted(switches, key=lambda one: one[:2]):
        if number > at or (number == at and not is_after):
            is_affected = turns_on
    return is_affected


def _is_below(number: Version, text: str) -> bool:
    limit = version_or_none(text)
    return limit is not None and number < limit


def affecting(advisories: Iterable[AdvisoryOfProject], project: str, version: str) -> list[AdvisoryOfProject]:
    """The advisories that affect a version of a project, by id; of those with a common alias the first."""
    found: list[AdvisoryOfProject] = []
    named: set[str] = set()
    for one in sorted(advisories, key=lambda one: one.id):
        if one.project == project and one.affects(version):
            if not named & {one.id, *one.aliases}:
                found.append(one)
            named |= {one.id, *one.aliases}
    return found


def about_projects(advisory: OsvAdvisory) -> dict[str, AdvisoryOfProject]:
    """Normalized project → what the advisory says of it, as far as it is about PyPI."""
    merged: dict[str, AdvisoryOfProject] = {}
    for one in advisory.affected:
        if one.package is None or one.package.ecosystem.partition(":")[0] != ECOSYSTEM:
            continue
        project = str(canonicalize_name(one.package.name))
        before = merged.get(project)
        merged[project] = AdvisoryOfProject(
            advisory.id,
            project,
            advisory.summary[:500],
            advisory.aliases,
            (before.ranges if before else ()) + one.ranges,
            (before.versions if before else ()) + one.versions,
        )
    return merged


def read_advisory(content: bytes, *, what: str) -> OsvAdvisory | None:
    """The advisory in a file; ``None`` if it is not about PyPI. Raises InvalidInput, naming ``what``."""
    value = read_json(content, what=what)
    advisory = read_record(OsvAdvisory, value, what=what)
    return advisory if about_projects(advisory) or advisory.withdrawn else None


def batches(
    advisories: Iterable[OsvAdvisory], *, most_bytes: int = MAX_BATCH_BYTES // 2
) -> Iterator[tuple[OsvAdvisory, ...]]:
    """Advisories, reduced to what a store keeps, in groups of so many bytes, which fit a request each."""
    group: list[OsvAdvisory] = []
    size_bytes = 0
    for one in map(trimmed, advisories):
        more = len(json.dumps(as_json(one)))
        if group and size_bytes + more > most_bytes:
            yield tuple(group)
            group, size_bytes = [], 0
        group.append(one)
        size_bytes += more
    if group:
        yield tuple(group)


def trimmed(advisory: OsvAdvisory) -> OsvAdvisory:
    """The advisory with nothing but what the store keeps, so that a whole feed fits a few requests."""
    about = tuple(
        OsvAffected(OsvPackage(ECOSYSTEM, project), one.ranges, one.versions)
        for project, one in about_projects(advisory).items()
    )
    return OsvAdvisory(
        advisory.id, advisory.modified, advisory.withdrawn, advisory.summary[:500], advisory.aliases, about
    )
