"""Dependants: projects of the store whose releases require another project, and what their tests say of it.

The newest release of each project in an index counts: the newest final one, else the newest. A requirement
counts whatever its extra or marker: nobody knows who installs it where. One that does not accept a version
does not depend on it: an installer would choose another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conveyor.domain.runs.repositories import Repository
from conveyor.domain.words.names import is_final
from conveyor.domain.words.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Dependant(Record):
    """A release that requires a project."""

    index: str
    project: str
    version: str
    requires: Annotated[str, "Its requirement, as its metadata says."]
    accepts: Annotated[bool, "Whether the requirement accepts the version in question."]


@dataclass(frozen=True)
class Dependants(Record):
    """What depends on a release."""

    project: str
    version: str
    dependants: Annotated[tuple[Dependant, ...], "The newest releases that require its project."]
    remaining: Annotated[
        tuple[str, ...],
        "Other versions that are not yanked, in that index or those of the release and their bases; newest "
        "first.",
    ] = ()
    repositories: Annotated[
        tuple[Repository, ...],
        "Those that are registered for the dependants; only workers are told, which read the tests there.",
    ] = ()

    def without_another(self, dependant: Dependant) -> bool:
        """Whether a dependant accepts this release and none of the others."""
        specifier = Requirement(dependant.requires).specifier
        return dependant.accepts and not any(
            specifier.contains(one, prereleases=True) for one in self.remaining
        )


def newest_of(releases: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Project → its newest final version among (project, version) pairs, else its newest."""
    found: dict[str, Version] = {}
    for project, text in releases:
        version, before = Version(text), found.get(project)
        if before is None or (is_final(version), version) > (is_final(before), before):
            found[project] = version
    return {project: str(version) for project, version in found.items()}


def requirement_on(metadata: bytes, project: str) -> Requirement | None:
    """The requirement on a project in core metadata, its parts joined; ``None`` if there is none."""
    from packaging.metadata import parse_email

    found = []
    for line in parse_email(metadata)[0].get("requires_dist", ()):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == project:
            found.append(requirement)
    if not found:
        return None
    # Several lines hold in different environments: what any of them accepts is accepted.
    return min(found, key=lambda one: len(one.specifier))


def dependant_of(
    metadata: bytes, *, index: str, project: str, version: str, on: tuple[str, str]
) -> Dependant | None:
    """What the metadata of a release says of ``on``, a project and its version; ``None``: nothing."""
    requirement = requirement_on(metadata, on[0])
    if requirement is None:
        return None
    accepts = requirement.url is None and requirement.specifier.contains(on[1], prereleases=True)
    told = f"{requirement.name}{requirement.specifier}"
    return Dependant(index, project, version, told, accepts)
