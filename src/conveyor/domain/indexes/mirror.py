"""Mirrored projects: upstream's statements about its files, when to ask again, and which gaps to fill.

An upstream may say little (an HTML page without sizes, times or metadata files). Gaps on our pages are filled
from other sources, in this order:

- upload time: upstream's; else the ``Last-Modified`` of the file; else when the store first saw it, kept
  permanently and labelled;
- SHA-256: upstream's; else computed at the first download, and fixed from then on. Until then the file has no
  digest on our pages, and an address made of the hash that upstream does name, or of its own name. A known
  digest stays when upstream stops naming it;
- size: upstream's; else the length that the file's server states; unknown until then;
- metadata: every wheel has some, read out of the wheel if need be; its digest is known once it is read. An
  sdist has the metadata that upstream serves beside it, else its own, once it is stored and declared static.
  Metadata that was asked for and cannot be read is no longer advertised;
- provenance: upstream's, advertised at an address of ours and fetched when somebody asks for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from conveyor.domain.indexes.projects import ACTIVE
from conveyor.domain.indexes.simple_api import PageFile, version_in_filename, version_order
from conveyor.domain.words.notation import from_utc_text, utc_text
from conveyor.errors import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from packaging.utils import NormalizedName

    from conveyor.domain.indexes.projects import ProjectStatus

FRESH_FOR = timedelta(seconds=600)
"""How long a page counts as fresh: PyPI's own ``max-age``."""

PAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""How large a page may be, unpacked, unless the store says otherwise: 60,000 files have some 40 MB."""

ABSENT_FOR = timedelta(seconds=60)
"""How long "upstream has no such project" is cached: somebody may be waiting for the first release."""


UNHASHED = "unhashed"
"""First part of the address of a file for which upstream names no hash; the project's name follows."""


class Hash(Protocol):
    """A hash of hashlib, which has no public type for it."""

    @property
    def digest_size(self) -> int:
        """Size of the digest in bytes."""

    def update(self, data: bytes, /) -> None:
        """More bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


OTHER_HASHES: dict[str, Callable[[], Hash]] = {
    "sha512": hashlib.sha512,
    "sha384": hashlib.sha384,
    "sha3_512": hashlib.sha3_512,
    "sha3_384": hashlib.sha3_384,
    "sha3_256": hashlib.sha3_256,
    "blake2b": hashlib.blake2b,
    "blake2b_256": lambda: hashlib.blake2b(digest_size=32),
    "blake2_256": lambda: hashlib.blake2b(digest_size=32),
    "blake2s": hashlib.blake2s,
    "sha224": hashlib.sha224,
    "sha3_224": hashlib.sha3_224,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}
"""Hashes that an index may name instead of a SHA-256 (PEP 503: those always in hashlib), strongest first."""


def is_hash(name: str, digest: str) -> bool:
    """Whether a text can be a digest of the hash of that name; both in lower case."""
    make = OTHER_HASHES.get(name)
    return make is not None and len(digest) == 2 * make().digest_size and not set(digest) - _HEX


_HEX = frozenset("0123456789abcdef")


@dataclass
class Hashing:
    """The hashes of a file's bytes as they arrive: SHA-256, and the one that upstream names instead."""

    file: MirroredFile
    _sha256: Hash = field(default_factory=hashlib.sha256)
    _other: Hash | None = None
    _expected: str = ""

    def __post_init__(self) -> None:
        """Begin with the hash in the file's address, if there is one."""
        name, _, digest = (self.file.address or "").partition("/")
        if name in OTHER_HASHES:
            self._other, self._expected = OTHER_HASHES[name](), digest

    @property
    def is_checked(self) -> bool:
        """Whether the bytes are compared with a hash; otherwise only their size can be compared."""
        return self.file.sha256 is not None or self._other is not None

    def update(self, chunk: bytes) -> None:
        """More bytes."""
        self._sha256.update(chunk)
        if self._other is not None:
            self._other.update(chunk)

    def sha256(self) -> str:
        """The digest of the bytes.

        Raises:
            UpstreamFailed: they differ from the file that upstream's page named.
        """
        sha256, said = self._sha256.hexdigest(), self.file.sha256
        if said not in (None, sha256):
            source = "its page said" if self.file.address is None else "its first download had"
            raise _other_bytes(self.file.filename, f"SHA-256 {sha256}, {source} {said}")
        if self._other is not None and self._other.hexdigest() != self._expected:
            name = (self.file.address or "").partition("/")[0]
            found = f"{name} {self._other.hexdigest()}, its page says {self._expected}"
            raise _other_bytes(self.file.filename, found)
        return sha256


def _other_bytes(filename: str, found: str) -> UpstreamFailed:
    return UpstreamFailed(
        f"upstream sent other bytes for {filename}: {found}",
        hint="nothing was stored; is a proxy in between, or was the file replaced?",
    )


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file as an upstream's page describes it; ``None`` where the page is silent."""

    filename: str
    url: str
    sha256: str | None
    size_bytes: int | None = None
    upload_time: str | None = None
    requires_python: str | None = None
    is_yanked: bool = False
    yank_reason: str | None = None
    has_metadata: bool = False
    metadata_sha256: str | None = None
    provenance_url: str | None = None
    """URL of the provenance object (PEP 740)."""
    other_hash: str | None = None
    """The strongest hash named instead of a SHA-256, as ``md5/HEX``."""


@dataclass(frozen=True, slots=True)
class UpstreamPage:
    """A project page as upstream serves it now."""

    files: tuple[UpstreamFile, ...]
    etag: str
    """Upstream's validator; if it sends none, ``body:`` and the digest of the page's bytes."""
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
    sha256: str | None
    """``None`` until the first download, if upstream does not name it."""
    url: str
    size_bytes: int | None
    upload_time: str
    is_upload_time_first_seen: bool
    requires_python: str | None
    is_yanked: bool
    yank_reason: str | None
    upstream_has_metadata: bool
    metadata_sha256: str | None
    """As upstream states, or computed from the metadata read; ``None`` before either is known."""
    is_stored: bool
    is_metadata_unreadable: bool = False
    """Whether it was asked for and could not be read."""
    provenance_url: str | None = None
    """URL of the provenance object at upstream (PEP 740)."""
    provenance_sha256: str | None = None
    """``None`` until the object has been read."""
    address: str | None = None
    """``md5/HEX`` (or another hash) or ``unhashed/PROJECT``, if upstream named no SHA-256."""

    @property
    def place(self) -> str:
        """The first part of its address: the digest as soon as it is known."""
        return self.sha256 or self.address or ""

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel, which always carries metadata."""
        return self.filename.endswith(".whl")

    @property
    def has_metadata(self) -> bool:
        """Whether its metadata is available: from upstream, from the wheel, or because it was read before."""
        is_known = self.is_wheel or self.upstream_has_metadata or self.metadata_sha256 is not None
        return is_known and not self.is_metadata_unreadable


@dataclass(frozen=True, slots=True)
class MirroredProject:
    """A mirrored project as the store remembers it."""

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
    """Facts about a file that its server states without sending it."""

    filename: str
    place: str
    """The file that was asked about (see ``MirroredFile``)."""
    size_bytes: int | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class FileChanges:
    """The files of a mirrored project that a new page of its upstream adds, changes and removes."""

    added: tuple[MirroredFile, ...]
    changed: tuple[MirroredFile, ...]
    removed: tuple[str, ...]
    """Filenames."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing shown on a page changes."""
        return not (self.added or self.changed or self.removed)


MOST_NEW_VERSIONS = 20


def new_versions(known: Mapping[str, MirroredFile], added: Iterable[MirroredFile]) -> tuple[str, ...]:
    """The versions of files that a page adds, of which no file was known; the newest, at most a few."""
    before = {version_in_filename(name) for name in known}
    found = {version_in_filename(file.filename) for file in added if not file.is_yanked} - before
    return tuple(sorted((one for one in found if one), key=version_order, reverse=True)[:MOST_NEW_VERSIONS])


def is_due(known: MirroredProject | None, now: datetime) -> bool:
    """Whether upstream is to be asked (again)."""
    return known is None or now >= due_at(known)


def due_at(known: MirroredProject) -> datetime:
    """When the remembered state stops being fresh."""
    return from_utc_text(known.fetched_at) + (FRESH_FOR if known.is_present else ABSENT_FOR)


def is_sound_filename(filename: str) -> bool:
    """Whether a foreign filename can be a row and a part of a URL here: printable, no slash, not too long."""
    return (
        0 < len(filename) <= 512
        and filename.isprintable()
        and not set(filename) & {"/", "\\"}
        and not filename.startswith(".")
    )


def address_of(file: UpstreamFile, project: str) -> str | None:
    """The address of a file without a SHA-256 from upstream; ``None`` if upstream names one."""
    return None if file.sha256 is not None else file.other_hash or f"{UNHASHED}/{project}"


def merge(
    known: Mapping[str, MirroredFile],
    offered: Iterable[UpstreamFile],
    *,
    index: str,
    project: NormalizedName,
    now: datetime,
    first_digests: Mapping[tuple[str, str], str] | None = None,
) -> FileChanges:
    """The changes made by a new page; facts that were filled in are kept while the bytes are the same.

    ``first_digests``: the digests computed at first downloads, by (address, filename).
    """
    added: list[MirroredFile] = []
    changed: list[MirroredFile] = []
    seen: set[str] = set()
    for file in offered:
        if file.filename in seen:
            continue
        seen.add(file.filename)
        address = address_of(file, project)
        before = known.get(file.filename)
        if address is not None and before is not None and _is_still(before, address):
            file, address = replace(file, sha256=before.sha256), before.address  # noqa: PLW2901
        elif address is not None and first_digests:
            file = replace(file, sha256=first_digests.get((address, file.filename)))  # noqa: PLW2901
        if before is None:
            added.append(_row(file, address, index=index, project=project, now=now))
        else:
            after = _updated(before, file, address, now=now)
            if after != before:
                changed.append(after)
    removed = tuple(filename for filename in known if filename not in seen)
    return FileChanges(added=tuple(added), changed=tuple(changed), removed=removed)


def _is_still(before: MirroredFile, address: str) -> bool:
    """Whether a file that upstream names without a SHA-256 is the one whose SHA-256 is known.

    Only another digest of the same kind says that it is another file: an upstream that stops naming a hash
    must not be able to replace the bytes.
    """
    kind, is_same = address.partition("/")[0], before.address == address
    is_of_kind = (before.address or "").partition("/")[0] == kind
    return before.sha256 is not None and (is_same or not is_of_kind)


def _row(file: UpstreamFile, address: str | None, *, index: str, project: str, now: datetime) -> MirroredFile:
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
        address=address,
    )


def _updated(before: MirroredFile, file: UpstreamFile, address: str | None, *, now: datetime) -> MirroredFile:
    fresh = _row(file, address, index=before.index, project=before.project, now=now)
    was_without_digest = before.sha256 is None and before.address == address
    if before.place != fresh.place and not was_without_digest:
        return fresh
    is_same_metadata = file.has_metadata == before.upstream_has_metadata and (
        file.metadata_sha256 in (None, before.metadata_sha256)
    )
    return replace(
        fresh,
        size_bytes=before.size_bytes if before.is_stored or fresh.size_bytes is None else fresh.size_bytes,
        upload_time=file.upload_time or before.upload_time,
        is_upload_time_first_seen=file.upload_time is None and before.is_upload_time_first_seen,
        metadata_sha256=fresh.metadata_sha256 or before.metadata_sha256,
        is_stored=before.is_stored,
        is_metadata_unreadable=before.is_metadata_unreadable and is_same_metadata,
        provenance_sha256=before.provenance_sha256 if file.provenance_url == before.provenance_url else None,
    )


def with_facts(file: MirroredFile, facts: FileFacts) -> MirroredFile:
    """The file, with its gaps filled by the facts that its server stated."""
    if facts.place != file.place:
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
        address=file.address,
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
    """Files of unknown size, newest version first: most installers want that one."""
    missing = [file for file in files if file.size_bytes is None]
    return sorted(missing, key=lambda file: version_order(version_in_filename(file.filename)), reverse=True)
