"""Publications: a release made visible whole, and the question whether it could be.

Also the answer about documentation, which belongs to a release and not to one of its files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from conveyor.domain.distributions.documentation import DocsFormat
from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.words.notation import Moment, Sha256
from conveyor.domain.words.records import Count, Judged, Named, Record, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_FILES = 1000
"""Of one release; a package with binaries for every platform has some two hundred."""


def _fault_of_files(files: Sequence[Any]) -> str | None:
    if not 1 <= len(files) <= MOST_FILES:
        return f"names {len(files)} files, not 1 to {MOST_FILES}"
    names = [one.get("filename") for one in files if isinstance(one, dict)]
    return "names a file twice" if len({str(name) for name in names}) < len(names) else None


@dataclass(frozen=True)
class FileToPublish(Record):
    """A file of an open release."""

    filename: Text
    sha256: Annotated[Sha256, "Digest of the file that is meant: another one under its name is refused."]


@dataclass(frozen=True)
class NewPublication(Record):
    """A release to be made visible."""

    index: Annotated[IndexName, "Where it enters; the files were uploaded for it."]
    files: Annotated[tuple[FileToPublish, ...], Judged(_fault_of_files), "All of its files."]


@dataclass(frozen=True)
class Publication(Record):
    """A release that is visible."""

    project: str
    version: str
    index: str
    files: Annotated[tuple[str, ...], "Their names."]
    is_new: Annotated[bool, "False: it was visible before this call."]


@dataclass(frozen=True)
class PublishingCheck(Record):
    """Leave to publish a version, as things are now; without it the answer is the error of the upload."""

    project: str
    version: str
    index: str
    is_claimed: Annotated[bool, "Whether the name is claimed; if not, publishing claims it."]


@dataclass(frozen=True)
class DocsArchive(Record):
    """The documentation of a release: one archive."""

    project: str
    version: str
    sha256: Sha256
    size_bytes: Annotated[Count, Named("size"), "Bytes."]
    format: DocsFormat
    url: Annotated[str, "Path on the store."]
    uploaded_at: Moment
    uploaded_by: str
