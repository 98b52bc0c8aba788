"""Mirrored projects: what an upstream says of its files, when to ask again, and what to fill in.

An upstream may say little (an HTML page without sizes, times or metadata files). What a page of ours shows is
filled in from what can be known, in this order:

- upload time: upstream's; else the ``Last-Modified`` of the file; else when the store first saw it, kept for
  ever and labelled;
- size: upstream's; else what the file's server says of its length; unknown until then;
- metadata: every wheel has some, read out of the wheel if need be; its digest is known once it was read. An
  sdist has what upstream has beside it, else what stands in it, once it is stored and says that it is static.
  What was asked for and cannot be read is no longer advertised;
- provenance: upstream's, advertised at an address of ours and fetched when somebody asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from conveyor.domain.indexes.projects import ACTIVE
from conveyor.domain.indexes.simple_api import PageFile, version_in_filename, version_order
from conveyor.domain.words.notation import from_utc_text, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.projects import ProjectStatus

FRESH_FOR = timedelta(seconds=600)
"""How long a page counts as fresh: PyPI's own ``max-age``."""

PAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""How large a page may be, unpacked, unless the store says otherwise: 60,000 files have some 40 MB."""

ABSENT_FOR = timedelta(seconds=60)
"""How long "upstream has no such project" is believed: somebody may be waiting for the first release."""


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file as an upstream's page describes it; ``None`` where the page is silent."""

    filename: str
    url: str
    sha256: str
    size_bytes: int | None = None
    upload_time: str | None = None
    requires_python: str | None = None
    is_yanked: bool = False
    yank_reason: str | None = None
    has_metadata: bool = False
    metadata_sha256: str | None = None
    provenance_url: str | None = None
    """Of the provenance object (PEP 740)."""


@dataclass(frozen=True, slots=True)
class UpstreamPage:
    """A project page as upstream has it now."""

    files: tuple[UpstreamFile, ...]
    etag: str
    """Upstream's validator; where it gives none, ``body:`` and the digest of the page's bytes."""
    status: ProjectStatus = ACTIVE
    """PEP 792."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Upstream's page is still the one whose validator was sent."""


@dataclass(frozen=True, slots=True)
class MirroredFile:
    """A file of an upstream, as the store remembers it."""

    index: str
    project: str
    filename: str
    sha256: str
    url: str
    size_bytes: int | None
    upload_time: str
    is_upload_time_first_seen: bool
    requires_python: str | None
    is_yanked: bool
    yank_reason: str | None
    upstream_has_metadata: bool
    metadata_sha256: str | None
    """As upstream says, or of what was read; ``None``: neither."""
    is_stored: bool
    is_metadata_unreadable: bool = False
    """Whether it was asked for and could not be read."""
    provenance_url: str | None = None
    """Where upstream serves the provenance object (PEP 740)."""
    provenance_sha256: str | None = None
    """``None`` until it was read."""

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel, which always carries metadata."""
        return self.filename.endswith(".whl")

    @property
    def has_metadata(self) -> bool:
        """Whether its metadata can be had: from upstream, out of the wheel, or because it was read before."""
        is_known = self.is_wheel or self.upstream_has_metadata or self.metadata_sha256 is not None
        return is_known and not self.is_metadata_unreadable


@dataclass(frozen=True, slots=True)
class MirroredProject:
    """What the store remembers of a project in a mirror."""

    index: str
    project: str
    is_present: bool
    """False: upstream has no such project."""
    etag: str | None
    """Validator of the page as it was fetched (see ``UpstreamPage``)."""
    fetched_at: str
    status: ProjectStatus = ACTIVE
    """As upstream says (PEP 792)."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the server of a file says of it without sending it."""

    filename: str
    sha256: str
    size_bytes: int | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class FileChanges:
    """Which files of a mirrored project a new page of its upstream adds, changes and removes."""

    added: tuple[MirroredFile, ...]
    changed: tuple[MirroredFile, ...]
    removed: tuple[str, ...]
    """Filenames."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing that a page shows changes."""
        return not (self.added or self.changed or self.removed)


def is_due(known: MirroredProject | None, now: datetime) -> bool:
    """Whether upstream is to be asked (again)."""
    return known is None or now >= due_at(known)


def due_at(known: MirroredProject) -> datetime:
    """When what is known stops being fresh."""
    return from_utc_text(known.fetched_at) + (FRESH_FOR if known.is_present else ABSENT_FOR)


def is_sound_filename(filename: str) -> bool:
    """Whether a foreign filename can be a row and a part of a URL here: printable, no slash, not too long."""
    return (
        0 < len(filename) <= 512
        and filename.isprintable()
        and not set(filename) & {"/", "\\"}
        and not filename.startswith(".")
    )


def merge(
    known: Mapping[str, MirroredFile],
    offered: Iterable[UpstreamFile],
    *,
    index: str,
    project: NormalizedName,
    now: datetime,
) -> FileChanges:
    """What a new page changes: what was filled in stays as long as the bytes are the same."""
    added: list[MirroredFile] = []
    changed: list[MirroredFile] = []
    seen: set[str] = set()
    for file in offered:
        if file.filename in seen:
            continue
        seen.add(file.filename)
        before = known.get(file.filename)
        if before is None:
            added.append(_row(file, index=index, project=project, now=now))
        else:
            after = _updated(before, file, now=now)
            if after != before:
                changed.append(after)
    removed = tuple(filename for filename in known if filename not in seen)
    return FileChanges(added=tuple(added), changed=tuple(changed), removed=removed)


def _row(file: UpstreamFile, *, index: str, project: str, now: datetime) -> MirroredFile:
    return MirroredFile(
        index=index,
        project=project,
        filename=file.filename,
        sha256=file.sha256,
        url=file.url,
        size_bytes=file.size_bytes,
        upload_time=file.upload_time or utc_text(now),
        is_upload_time_first_seen=file.upload_time is None,
        requires_python=file.requires_python,
        is_yanked=file.is_yanked,
        yank_reason=file.yank_reason,
        upstream_has_metadata=file.has_metadata,
        metadata_sha256=file.metadata_sha256,
        is_stored=False,
        provenance_url=file.provenance_url,
    )


def _updated(before: MirroredFile, file: UpstreamFile, *, now: datetime) -> MirroredFile:
    fresh = _row(file, index=before.index, project=before.project, now=now)
    if before.sha256 != file.sha256:
        return fresh
    is_same_metadata = file.has_metadata == before.upstream_has_metadata and (
        file.metadata_sha256 in (None, before.metadata_sha256)
    )
    return replace(
        fresh,
        size_bytes=fresh.size_bytes if fresh.size_bytes is not None else before.size_bytes,
        upload_time=file.upload_time or before.upload_time,
        is_upload_time_first_seen=file.upload_time is None and before.is_upload_time_first_seen,
        metadata_sha256=fresh.metadata_sha256 or before.metadata_sha256,
        is_stored=before.is_stored,
        is_metadata_unreadable=before.is_metadata_unreadable and is_same_metadata,
        provenance_sha256=before.provenance_sha256 if file.provenance_url == before.provenance_url else None,
    )


def with_facts(file: MirroredFile, facts: FileFacts) -> MirroredFile:
    """The file with what its server said filled into what is not known better."""
    if facts.sha256 != file.sha256:
        return file
    known_time = file.is_upload_time_first_seen and facts.last_modified is not None
    return replace(
        file,
        size_bytes=file.size_bytes if file.size_bytes is not None else facts.size_bytes,
        upload_time=facts.last_modified or file.upload_time if known_time else file.upload_time,
        is_upload_time_first_seen=file.is_upload_time_first_seen and not known_time,
    )


def page_file(file: MirroredFile) -> PageFile:
    """The file as a project page shows it."""
    return PageFile(
        filename=file.filename,
        index=file.index,
        sha256=file.sha256,
        version=version_in_filename(file.filename),
        size_bytes=file.size_bytes,
        upload_time=file.upload_time,
        is_upload_time_first_seen=file.is_upload_time_first_seen,
        requires_python=file.requires_python,
        is_yanked=file.is_yanked,
        yank_reason=file.yank_reason,
        has_metadata=file.has_metadata,
        metadata_sha256=file.metadata_sha256 if file.has_metadata else None,
        has_provenance=file.provenance_url is not None,
    )


def unsized(files: Iterable[MirroredFile]) -> list[MirroredFile]:
    """Files whose size is not known, newest version first: that is what most installers want."""
    missing = [file for file in files if file.size_bytes is None]
    return sorted(missing, key=lambda file: version_order(version_in_filename(file.filename)), reverse=True)
