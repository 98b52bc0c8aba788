"""Checks an sdist from the inside: its archive, its one top folder, its PKG-INFO.

Sources: source distribution format (PEP 517, 625, 643, 721), PEP 639 (licence files).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from packaging.utils import canonicalize_name

from conveyor.domain.distributions.metadata import METADATA_LIMIT_BYTES
from conveyor.domain.distributions.tars import read_tar_gz
from conveyor.domain.words.names import version_or_none

if TYPE_CHECKING:
    from conveyor.domain.distributions.archives import ArchiveLimits
    from conveyor.domain.distributions.filenames import DistributionFilename
    from conveyor.domain.words.faults import Faults


def read_sdist(
    stream: BinaryIO,
    filename: DistributionFilename,
    *,
    size_bytes: int,
    limits: ArchiveLimits,
    faults: Faults,
) -> tuple[bytes, frozenset[str]] | None:
    """(PKG-INFO, paths of all files below the top folder) of an sdist; ``None`` if it cannot be examined.

    Every fault of the archive goes to ``faults``; the contents of PKG-INFO are not checked here.
    """
    archive = read_tar_gz(
        stream,
        size_bytes=size_bytes,
        limits=limits,
        faults=faults,
        wanted=_is_package_info,
        wanted_limit_bytes=METADATA_LIMIT_BYTES,
    )
    if archive is None:
        return None
    tops = sorted({member.path.split("/", 1)[0] for member in archive.members})
    if len(tops) != 1 or not _is_stem(tops[0], filename):
        faults.add(
            "sdist-folder",
            f"the sdist must have one top folder, {filename.stem}; it has: {', '.join(tops[:5]) or 'none'}",
        )
    contents = list(archive.contents.values())
    if len(contents) != 1:
        faults.add(
            "sdist-pkg-info", f"the sdist must have one {filename.stem}/PKG-INFO; it has {len(contents)}"
        )
        return None
    return contents[0], frozenset(
        member.path.split("/", 1)[1]
        for member in archive.members
        if member.kind != "folder" and "/" in member.path
    )


def _is_stem(folder: str, filename: DistributionFilename) -> bool:
    """Whether a folder is named after the project and version of the file, in any spelling."""
    name, _, version = folder.rpartition("-")
    return canonicalize_name(name) == filename.project and version_or_none(version) == filename.version


def _is_package_info(path: str) -> bool:
    return path.count("/") == 1 and path.endswith("/PKG-INFO")
