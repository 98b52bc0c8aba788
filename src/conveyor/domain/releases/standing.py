"""The releases of a project: the indexes that hold each, its files and the evidence on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.indexes.definitions import resolution_order
from conveyor.domain.releases.evidence import Evidence
from conveyor.domain.words.notation import Moment, Sha256
from conveyor.domain.words.records import Count, Named, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conveyor.domain.indexes.definitions import Index


@dataclass(frozen=True)
class ReleaseSummary(Record):
    """One release in the list of a project."""

    version: str
    indexes: tuple[str, ...]
    file_count: Annotated[Count, Named("files"), "Number of its files, in all of these indexes."]


@dataclass(frozen=True)
class ProjectReleases(Record):
    """A project and its releases, as far as the caller may see them."""

    name: str
    display_name: str
    claimed_by: str | None
    releases: Annotated[tuple[ReleaseSummary, ...], "Newest version first."]


@dataclass(frozen=True)
class ReleaseFile(Record):
    """One distribution of a release."""

    filename: str
    packagetype: Literal["bdist_wheel", "sdist"]
    sha256: Sha256
    size_bytes: Annotated[Count, Named("size"), "Bytes."]
    url: Annotated[str, "Path on the store."]
    uploaded_at: Moment
    uploaded_by: str
    requires_python: str | None
    is_yanked: bool = False
    yank_reason: str | None = None


@dataclass(frozen=True)
class Release(Record):
    """One release, as far as the caller may see it."""

    project: str
    version: str
    index: Annotated[str, "Its index; of several, the one that the others lead to."]
    indexes: tuple[str, ...]
    is_closed: Annotated[bool, "Whether no further file may join it."]
    files: Annotated[tuple[ReleaseFile, ...], "Each file once."]
    evidence: Annotated[tuple[Evidence, ...], "On these files and on the release as a whole, oldest first."]

    @property
    def wheels(self) -> tuple[ReleaseFile, ...]:
        """Its wheels."""
        return tuple(file for file in self.files if file.packagetype == "bdist_wheel")

    @property
    def sdists(self) -> tuple[ReleaseFile, ...]:
        """Its sdists."""
        return tuple(file for file in self.files if file.packagetype == "sdist")


def farthest(present: Collection[str], indexes: Mapping[str, Index]) -> str:
    """The index that most of the others lead to: the farthest that a release in all of them has come."""
    return max(
        present,
        key=lambda name: (sum(name in resolution_order(other, indexes) for other in present), name),
    )
