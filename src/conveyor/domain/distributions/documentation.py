"""Archives of built documentation: a zip or a gzipped tar, checked like a distribution before it is kept.

Nothing in it is unpacked here. What will be shown must mean the same to every reader, and must not leave its
folder: so there are no links at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from conveyor.domain.distributions.archives import Unreadable
from conveyor.domain.distributions.tars import read_tar_gz
from conveyor.domain.distributions.zips import ZipArchive
from conveyor.domain.words.faults import Faults
from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.domain.distributions.archives import ArchiveLimits

DocsFormat = Literal["zip", "tar.gz"]
DOC_UPLOAD = "doc_upload"
"""The value of ``:action`` in a form with documentation, as setuptools, devpi and others send it."""
INDEX_PAGE = "index.html"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class ArrivedArchive:
    """An archive that has arrived whole but has not been examined."""

    stream: BinaryIO
    """Open for reading and seeking."""
    size_bytes: int
    sha256: str
    store: Callable[[], None]
    """Makes its bytes a durable blob."""


_PACK_INSIDE = "pack what is in the built folder, not the folder: cd html && zip -r ../docs.zip ."
_PACK_AGAIN = "pack the pages of a fresh build, without links and without names that lead out of its folder"


def check_documentation(stream: BinaryIO, *, size_bytes: int, limits: ArchiveLimits) -> DocsFormat:
    """The format of an archive of documentation that can be kept; the stream must be seekable.

    Raises:
        InvalidDistribution: it has at least one fault; ``faults`` has a sentence for each.
    """
    stream.seek(0)
    is_tar = stream.read(2) == _GZIP
    stream.seek(0)
    faults = Faults()
    files = (_files_of_tar if is_tar else _files_of_zip)(stream, size_bytes, limits, faults)
    sentences = list(faults.sentences)
    has_index = files is None or INDEX_PAGE in files
    if not has_index:
        sentences.append(f"it has no {INDEX_PAGE} at its top, where readers begin")
    if sentences:
        raise InvalidDistribution(
            f"the documentation is refused: {sentences[0]}",
            faults=tuple(sentences),
            hint=_PACK_AGAIN if has_index else _PACK_INSIDE,
        )
    return "tar.gz" if is_tar else "zip"


def _files_of_zip(
    stream: BinaryIO, size_bytes: int, limits: ArchiveLimits, faults: Faults
) -> set[str] | None:
    archive = ZipArchive.of(stream, size_bytes=size_bytes, limits=limits, faults=faults)
    if archive is None:
        return None
    for member in archive.members.values():
        try:
            for _ in archive.chunks(member):  # sizes and checksums are verified on the way
                pass
        except Unreadable as unreadable:
            unreadable.add_to(faults, otherwise="zip-structure")
    return set(archive.members)


def _files_of_tar(
    stream: BinaryIO, size_bytes: int, limits: ArchiveLimits, faults: Faults
) -> set[str] | None:
    archive = read_tar_gz(
        stream,
        size_bytes=size_bytes,
        limits=limits,
        faults=faults,
        wanted=lambda _: False,
        wanted_limit_bytes=0,
    )
    if archive is None:
        return None
    links = [member.path for member in archive.members if member.kind in ("symlink", "hardlink")]
    faults.add_each("tar-links", links, "{} is a link, and documentation has none")
    # ``tar -C html .`` writes every path with ./ before it, which has been refused as a path already.
    return {member.path for member in archive.members if member.kind == "file"}
