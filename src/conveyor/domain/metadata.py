"""Core metadata: a distribution's METADATA or PKG-INFO, parsed and checked, all faults at once.

``packaging.metadata`` parses; added here are the rules it leaves to indexes: a newer minor version is read as
the newest known one (the specification's rule), references leave the store by no side door, links and
addresses can be shown. Fields are kept as the file has them; the catalogue keeps them as JSON.

Sources: core metadata specification 2.6, PEP 639 (licences), PEP 685 (extras).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import getaddresses
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from packaging.metadata import InvalidMetadata, Metadata, RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from conveyor.domain.faults import Faults

METADATA_LIMIT_BYTES = 4 * 1024 * 1024
NEWEST_METADATA_VERSION = "2.6"
MOST_HEADERS = 20_000
MOST_HEADER_NAMES = 200
LONGEST_VALUE = 4096
"""Characters of any value but the description and the licence. The parsers behind take a time that grows
with the square of these numbers: without them, four megabytes of headers are hours of work."""
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n){2}")
_HEADER_NAME = re.compile(rb"(?:\A|[\r\n])([^\s:][^:\r\n]*):")
_VERSION_FORM = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_HEADERS = frozenset(name.replace("_", "-") for name in RawMetadata.__annotations__) | {
    "classifier",
    "import-name",
    "import-namespace",
    "license-file",
    "platform",
    "project-url",
    "supported-platform",
}
"""Every header of the specification; packaging has the repeatable ones in the plural."""
_LONGEST_SUMMARY = 512
_LONGEST_LABEL = 32
_PLACEHOLDER = "UNKNOWN"
"""What old setuptools wrote where nothing was known."""


@dataclass(frozen=True)
class CoreMetadata:
    """What a distribution says of itself; every field is checked."""

    name: str
    """As its author spells it."""
    version: Version
    metadata_version: str
    """As declared; may be newer than what is known here."""
    requires_python: str | None
    fields: dict[str, Any]
    """All fields by packaging's names (``requires_dist``, ``project_urls``, …), ready to be JSON."""


def read_metadata(content: bytes, *, what: str, faults: Faults) -> CoreMetadata | None:
    """The core metadata in ``content``, of the file ``what``; ``None`` when its version can not be read."""
    if fault := _fault_of_size(content):
        faults.add(f"{what}: {fault}")
        return None
    raw, unparsed = parse_email(content)
    if too_long := _too_long(raw):
        faults.add_each(too_long, what + ": {} is longer than " + f"{LONGEST_VALUE} characters")
        return None
    declared = raw.get("metadata_version", "")
    is_newer = _is_newer_minor(declared)
    for field, values in sorted(unparsed.items()):
        if field in _HEADERS:
            faults.add(f"{what}: {field} is there {len(values)} times, or is not UTF-8, or is malformed")
        elif not is_newer:
            faults.add(f"{what}: {field} is not a field of core metadata {declared or '(no version)'}")
    _drop_what_old_tools_write(raw)
    fields = dict(cast("dict[str, Any]", raw))
    if is_newer and unparsed:
        fields["unknown_fields"] = unparsed
    checked = cast(
        "RawMetadata", {**raw, "metadata_version": NEWEST_METADATA_VERSION if is_newer else declared}
    )
    found = {
        *_faults_by_packaging(checked, unparsed=unparsed),
        *_faults_of_requirements(raw),
        *_faults_of_texts(raw),
    }
    for fault in sorted(found):
        faults.add(f"{what}: {fault}")
    try:
        version = Version(raw.get("version", ""))
    except InvalidVersion:
        return None
    return CoreMetadata(
        name=raw.get("name", ""),
        version=version,
        metadata_version=declared,
        requires_python=raw.get("requires_python") or None,
        fields=fields,
    )


def _fault_of_size(content: bytes) -> str | None:
    """Too many headers to be read in sensible time, or ``None``."""
    head = _BLANK_LINE.split(content, maxsplit=1)[0]
    names = _HEADER_NAME.findall(head)
    if len(names) > MOST_HEADERS or len(set(names)) > MOST_HEADER_NAMES:
        return f"there are more than {MOST_HEADERS} lines or {MOST_HEADER_NAMES} different fields"
    return None


def _too_long(raw: RawMetadata) -> set[str]:
    """Names of the fields with a value that no honest project has."""
    return {
        field
        for field, value in raw.items()
        if field not in ("description", "license") and _longest(value) > LONGEST_VALUE
    }


def _longest(value: object) -> int:
    """Characters of the longest text in a value of any field."""
    if isinstance(value, dict):
        return max((len(label) + len(url) for label, url in value.items()), default=0)
    return max(
        (len(text) for text in ([value] if isinstance(value, str) else cast("list[str]", value))), default=0
    )


def _is_newer_minor(declared: str) -> bool:
    """Whether this is 2.x with an x not known yet, which the specification lets us read as the newest."""
    found = _VERSION_FORM.fullmatch(declared)
    major, minor = (int(number) for number in NEWEST_METADATA_VERSION.split("."))
    return found is not None and int(found[1]) == major and int(found[2]) > minor


def _drop_what_old_tools_write(raw: RawMetadata) -> None:
    """License-File before 2.4 (setuptools below 77) and the placeholder for nothing (setuptools below 62)."""
    version = _VERSION_FORM.fullmatch(raw.get("metadata_version", ""))
    if version and (int(version[1]), int(version[2])) < (2, 4):
        raw.pop("license_files", None)
    for field in ("home_page", "download_url", "author", "author_email", "license", "summary", "description"):
        if raw.get(field) == _PLACEHOLDER:
            del raw[field]  # type: ignore[misc]  # all of these keys are optional


def _faults_by_packaging(raw: RawMetadata, *, unparsed: Collection[str]) -> Iterator[str]:
    if not raw["metadata_version"]:
        if "metadata-version" not in unparsed:
            yield "metadata-version is missing"
        raw = {**raw, "metadata_version": NEWEST_METADATA_VERSION}
    try:
        Metadata.from_raw(raw)
    except RecursionError:
        yield "a field is nested too deeply"
    except ExceptionGroup as group:
        for error in group.exceptions:
            # Requirements are looked at one by one below; what could not be parsed has its fault already.
            if not (isinstance(error, InvalidMetadata) and error.field in {"requires-dist", *unparsed}):
                yield str(error)


def _faults_of_requirements(raw: RawMetadata) -> Iterator[str]:
    for text in raw.get("requires_dist", []):
        try:
            requirement = Requirement(text)
        except (InvalidRequirement, RecursionError):
            yield f"{text!r} is invalid for 'requires-dist'"
        else:
            if requirement.url is not None:
                yield (
                    f"{text!r} depends on a URL, which no index can check or keep; "
                    "upload that dependency and name its version"
                )


def _faults_of_texts(raw: RawMetadata) -> Iterator[str]:
    if len(raw.get("summary", "")) > _LONGEST_SUMMARY:
        yield f"the summary is longer than {_LONGEST_SUMMARY} characters"
    for field, addresses in (
        ("author-email", raw.get("author_email")),
        ("maintainer-email", raw.get("maintainer_email")),
    ):
        if addresses and not all(_is_address(address) for _, address in getaddresses([addresses])):
            yield f"{addresses!r} is invalid for {field!r}: not a list of mail addresses"
    links = [("home-page", raw.get("home_page")), ("download-url", raw.get("download_url"))]
    for label, url in raw.get("project_urls", {}).items():
        links.append(("project-url", url or "(nothing)"))
        if not label or len(label) > _LONGEST_LABEL:
            yield f"the label {label!r} of a 'project-url' must have 1 to {_LONGEST_LABEL} characters"
    for field, link in links:
        if link and not _is_link(link):
            yield f"{link!r} is invalid for {field!r}: not an http or https URL"


def _is_address(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None


def _is_link(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not re.search(r"\s", text)
