"""A distribution: one wheel or sdist, read and checked as a whole, with all its faults named at once.

``read_distribution`` is the only entry: a distribution that it returns may be stored. Its steps:

1. the filename, in its one correct spelling;
2. the form: the request, the digests, the fields that are also in the filename;
3. the archive: structure, members, RECORD;
4. the core metadata: that it agrees with the filename, and that its description can be rendered;
5. the form against the metadata;
6. the attestations that came with the form, which must be about this file.

Each step adds its faults and the next goes on where it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from packaging.utils import canonicalize_name

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.attestations import FIELD, Attestation, read_attestations
from conveyor.domain.distributions.filenames import DistributionFilename, PackageType, distribution_filename
from conveyor.domain.distributions.forms import (
    Digests,
    UploadForm,
    check_digests,
    check_filename_fields,
    check_metadata_fields,
    check_request,
)
from conveyor.domain.distributions.metadata import CoreMetadata, is_static, read_metadata
from conveyor.domain.distributions.sdists import read_sdist
from conveyor.domain.distributions.wheels import read_wheel
from conveyor.domain.words.faults import Faults
from conveyor.errors import InvalidDistribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.domain.words.names import NormalizedName

__all__ = ["ArchiveLimits", "Digests", "Distribution", "LibraryChecks", "UploadForm", "read_distribution"]


@dataclass(frozen=True)
class Distribution:
    """A sound wheel or sdist, as the catalogue will describe it."""

    filename: str
    project: NormalizedName
    display_name: str
    """The project's name as its author spells it."""
    version: str
    """Canonical."""
    packagetype: PackageType
    size_bytes: int
    digests: Digests
    requires_python: str | None
    metadata: bytes
    """METADATA or PKG-INFO, byte by byte, as served beside the file (PEP 658)."""
    core_metadata: dict[str, Any]
    """The same, parsed."""
    attestations: tuple[Attestation, ...] = ()
    notes: tuple[str, ...] = ()
    """Oddities of the file that are accepted nonetheless, a sentence each."""

    @property
    def is_metadata_static(self) -> bool:
        """Whether a resolver may rely on the metadata without building: true of every wheel."""
        return self.packagetype == "bdist_wheel" or is_static(self.core_metadata)


@dataclass(frozen=True)
class LibraryChecks:
    """Checks by libraries that this room does not import.

    Each returns what is wrong, as a part of a sentence; empty if nothing is.
    """

    rendering_fault: Callable[[str], str]
    """Check a text that should be reStructuredText."""
    signature_fault: Callable[[Attestation], str]


def read_distribution(
    stream: BinaryIO,
    *,
    filename: str,
    size_bytes: int,
    digests: Digests,
    form: UploadForm,
    limits: ArchiveLimits,
    checks: LibraryChecks,
) -> Distribution:
    """Read a distribution from a seekable stream and check it with its upload form.

    Raises:
        InvalidDistribution: it has at least one fault; ``faults`` has a sentence for each.
    """
    faults = Faults()
    # 1. the filename
    name = _filename(filename, faults)
    # 2. the form
    check_request(form, faults)
    check_digests(form, digests, faults)
    if name is not None:
        check_filename_fields(form, name, faults)
    # 3. and 4. the archive, its metadata
    found = _read_inside(stream, name, size_bytes, limits, faults) if name is not None else None
    if found is not None and (fault := _description_fault(found[1], checks.rendering_fault)):
        faults.add("description-rendering", fault)
    # 5. the form against the metadata
    if found is not None:
        check_metadata_fields(form, found[1], faults)
    # 6. attestations
    attestations = read_attestations(
        form.fields.get(FIELD, ()), filename=filename, sha256=digests.sha256, faults=faults
    )
    for attestation in attestations:
        if reason := checks.signature_fault(attestation):
            faults.add("attestations", f"the attestation of the kind {attestation.kind}: {reason}")
    if faults or name is None or found is None:
        raise _invalid(filename, faults)
    content, metadata = found
    return Distribution(
        filename=name.text,
        project=name.project,
        display_name=metadata.name,
        version=str(name.version),
        packagetype=name.packagetype,
        size_bytes=size_bytes,
        digests=digests,
        requires_python=metadata.requires_python,
        metadata=content,
        core_metadata=metadata.fields,
        attestations=attestations,
        notes=faults.notes,
    )


def _filename(text: str, faults: Faults) -> DistributionFilename | None:
    try:
        return distribution_filename(text)
    except InvalidDistribution as error:
        advice = f"; {error.hint}" if error.hint else ""
        faults.add(error.rule or "filename", f"{error.message}{advice}")
        return None


def _read_inside(
    stream: BinaryIO, name: DistributionFilename, size_bytes: int, limits: ArchiveLimits, faults: Faults
) -> tuple[bytes, CoreMetadata] | None:
    is_wheel = name.packagetype == "bdist_wheel"
    read = read_wheel if is_wheel else read_sdist
    stream.seek(0)
    inside = read(stream, name, size_bytes=size_bytes, limits=limits, faults=faults)
    if inside is None:
        return None
    content, licences = inside
    what = "METADATA" if is_wheel else "PKG-INFO"
    metadata = read_metadata(content, what=what, faults=faults)
    if metadata is None:
        return None
    if metadata.name and canonicalize_name(metadata.name) != name.project:
        faults.add(
            "metadata-filename",
            f"{what}: the name is {metadata.name!r}, but the filename says {str(name.project)!r}",
        )
    if str(metadata.version) != str(name.version):
        faults.add(
            "metadata-filename",
            f"{what}: the version is {str(metadata.version)!r}, but the filename says {str(name.version)!r}",
        )
    missing = set(metadata.fields.get("license_files", ())) - licences
    faults.add_each("licence-files", missing, what + ": the licence file {} is not in the archive")
    return content, metadata


def _description_fault(metadata: CoreMetadata, rendering_fault: Callable[[str], str]) -> str:
    text = metadata.restructured_text
    if text is None or not (reason := rendering_fault(text)):
        return ""
    advice = "fix it"
    if "description_content_type" not in metadata.fields:
        advice = "fix it, or say with description-content-type what else it is, such as text/markdown"
    return f"the description does not render as reStructuredText: {reason.rstrip('.')}; {advice}"


def _invalid(filename: str, faults: Faults) -> InvalidDistribution:
    sentences = faults.sentences
    shown = repr(filename[:200])[1:-1]
    if len(sentences) == 1:
        return InvalidDistribution(f"{shown} is refused: {sentences[0]}", faults=sentences)
    return InvalidDistribution(f"{shown} is refused for {len(sentences)} faults", faults=sentences)
