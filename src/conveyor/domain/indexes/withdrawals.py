"""Withdrawals: files that new installations pass over (yanks, PEP 592), and files deleted permanently.

A yank applies to a file in an index and can be undone. In an index that accepts uploads, users who may upload
the project there may yank it; in a promotion-only index, users who may promote it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.people.access import may_promote, may_upload
from conveyor.domain.words.notation import Reason, Sha256
from conveyor.domain.words.records import Count, Given, Named, Record

if TYPE_CHECKING:
    from conveyor.domain.indexes.definitions import Index
    from conveyor.domain.people.access import Identity


@dataclass(frozen=True)
class NewYank(Record):
    """A yank to be made; a field that is null does not narrow it."""

    index: Annotated[IndexName | None, "Only in this index."] = None
    filename: Annotated[Annotated[str, Given(1000)] | None, "Only this file of the release."] = None
    reason: Annotated[Reason | None, "What installers and pages tell people."] = None


@dataclass(frozen=True)
class YankedFile(Record):
    """A file in an index that was yanked, or whose yank was undone."""

    index: str
    filename: str


@dataclass(frozen=True)
class Yank(Record):
    """The state of files of a release after they were yanked, or the yank was undone."""

    project: str
    version: str
    is_yanked: bool
    reason: str | None
    files: Annotated[
        tuple[YankedFile, ...], "By filename, then index; includes files that were in this state before."
    ]


def may_yank(identity: Identity, index: Index, project: str) -> None:
    """Allow yanking files of a project in an index, and undoing that.

    Raises:
        Unauthorized: the caller is anonymous.
        Forbidden: the caller may not upload there or, for a promotion-only index, not promote into it.
    """
    if index.mode == "promotion-only":
        may_promote(identity, index.name, project)
    else:
        may_upload(identity, index.name, project)


@dataclass(frozen=True)
class DeletedFile(Record):
    """A distribution that was deleted; its filename is never used again."""

    filename: str
    version: str
    sha256: Sha256
    size_bytes: Annotated[Count, Named("size"), "Bytes."]


@dataclass(frozen=True)
class Deletion(Record):
    """What was deleted of a project: of one release, or of all."""

    project: str
    size_bytes: Annotated[
        Count, Named("size"), "Bytes that garbage collection will free, because no other file holds them."
    ]
    files: Annotated[tuple[DeletedFile, ...], "By version as text, then filename."]
    waiting: Annotated[
        tuple[str, ...], "Names of files that waited to be published; they may be used again."
    ] = ()
    documented: Annotated[tuple[str, ...], "Versions whose documentation was deleted."] = ()
