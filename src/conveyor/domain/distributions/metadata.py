"""Core metadata: a distribution's METADATA or PKG-INFO, parsed and checked, all faults at once.

``packaging.metadata`` parses; a newer minor version is read as the newest known one (the specification's
rule), and further requirements of indexes are in ``metadata_rules``. Fields are kept as the file has them;
the catalogue keeps them as JSON.

Sources: core metadata specification 2.6, PEP 639 (licences), PEP 685 (extras), PEP 794 (import names).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from packaging.metadata import InvalidMetadata, Metadata, RawMetadata, parse_email
from packaging.version import InvalidVersion, Version

from conveyor.domain.distributions.metadata_rules import rule_faults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from conveyor.domain.words.faults import Faults
    from conveyor.errors import Rule

METADATA_LIMIT_BYTES = 4 * 1024 * 1024
RESTRUCTURED_TEXT = "text/x-rst"
NEWEST_METADATA_VERSION = "2.6"
MOST_HEADERS = 20_000
MOST_HEADER_NAMES = 200
LONGEST_VALUE = 4096
"""Characters of any value except the description and the licence. The time of the parsers behind this grows
with the square of these numbers: without limits, four megabytes of headers are hours of work."""
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
_RESOLVED = frozenset({"provides-extra", "requires-dist", "requires-python"})
"""Fields that resolvers use."""
_USUAL_CONTENT_TYPES = frozenset({"text/markdown", "text/plain", "text/x-rst"})
"""Values that are always right; for each, packaging would build a message to look for parameters."""
_INDENTATIONS = (" " * 8, " " * 7 + "|")
PLACEHOLDER = "UNKNOWN"
"""The placeholder of distutils and setuptools below 62 for an unknown value; the public index ignores it."""


@dataclass(frozen=True)
class CoreMetadata:
    """The core metadata of a distribution; every field is checked."""

    name: str
    """As its author spells it."""
    version: Version
    metadata_version: str
    """As declared; may be newer than what is known here."""
    requires_python: str | None
    fields: dict[str, Any]
    """All fields by packaging's names (``requires_dist``, ``project_urls``, …), ready to be JSON."""

    @property
    def restructured_text(self) -> str | None:
        """The description if it is reStructuredText, which is also the default without a content type."""
        content_type = str(self.fields.get("description_content_type") or RESTRUCTURED_TEXT)
        if content_type.partition(";")[0].strip().lower() != RESTRUCTURED_TEXT:
            return None
        return str(self.fields.get("description") or "").strip() or None


def read_metadata(content: bytes, *, what: str, faults: Faults) -> CoreMetadata | None:
    """The core metadata in ``content``, of the file ``what``; ``None`` if its version cannot be read."""
    if fault := _fault_of_size(content):
        faults.add("metadata-size", f"{what}: {fault}")
        return None
    raw, unparsed = parse_email(content)
    if too_long := _too_long(raw):
        faults.add_each(
            "metadata-size", too_long, what + ": {} is longer than " + f"{LONGEST_VALUE} characters"
        )
        return None
    declared = raw.get("metadata_version", "")
    is_newer = _is_newer_minor(declared)
    for field, values in sorted(unparsed.items()):
        if field in _HEADERS:
            faults.add(
                "metadata-fields",
                f"{what}: {field} is there {len(values)} times, or is not UTF-8, or is malformed",
            )
        elif not is_newer:
            faults.add(
                "metadata-fields",
                f"{what}: {field} is not a field of core metadata {declared or '(no version)'}",
            )
    _drop_what_old_tools_write(raw)
    _unfold(raw, content)
    fields = dict(cast("dict[str, Any]", raw))
    if is_newer and unparsed:
        fields["unknown_fields"] = unparsed
    checked = cast(
        "RawMetadata", {**raw, "metadata_version": NEWEST_METADATA_VERSION if is_newer else declared}
    )
    found = {
        *_faults_by_packaging(checked, unparsed=unparsed),
        *rule_faults(raw),
    }
    for rule, fault in sorted(found, key=lambda found: found[1]):
        faults.add(rule, f"{what}: {fault}")
    try:
        version = Version(raw.get("version", ""))
    except ValueError as error:  # also for thousands of digits: packaging does not wrap that error
        if not isinstance(error, InvalidVersion):
            faults.add("metadata-syntax", f"{what}: the version is not one that can be read")
        return None
    return CoreMetadata(
        name=raw.get("name", ""),
        version=version,
        metadata_version=declared,
        requires_python=raw.get("requires_python") or None,
        fields=fields,
    )


def read_fields(content: bytes) -> dict[str, Any]:
    """The fields of core metadata that has been checked, by packaging's names."""
    raw, _ = parse_email(content)
    _unfold(raw, content)
    return dict(raw)


def is_static(fields: Mapping[str, Any]) -> bool:
    """Whether building an sdist with these fields cannot change the values that a resolver uses (PEP 643).

    True for version 2.2 or newer if dependencies, extras and ``Requires-Python`` are not declared dynamic.
    pip compares these three between the metadata beside a file and that of the wheel built from it.
    """
    found = _VERSION_FORM.fullmatch(str(fields.get("metadata_version", "")))
    if found is None or (int(found[1]), int(found[2])) < (2, 2):
        return False
    return _RESOLVED.isdisjoint(name.lower() for name in fields.get("dynamic", ()))


def _fault_of_size(content: bytes) -> str | None:
    """The fault of too many headers to be read in reasonable time, or ``None``."""
    head = _BLANK_LINE.split(content, maxsplit=1)[0]
    names = _HEADER_NAME.findall(head)
    if len(names) > MOST_HEADERS or len(set(names)) > MOST_HEADER_NAMES:
        return f"there are more than {MOST_HEADERS} lines or {MOST_HEADER_NAMES} different fields"
    return None


def _too_long(raw: RawMetadata) -> set[str]:
    """Names of the fields with a value too long for any honest project."""
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
    """Whether this is 2.x with an unknown x, which the specification lets us read as the newest."""
    found = _VERSION_FORM.fullmatch(declared)
    major, minor = (int(number) for number in NEWEST_METADATA_VERSION.split("."))
    return found is not None and int(found[1]) == major and int(found[2]) > minor


def _drop_what_old_tools_write(raw: RawMetadata) -> None:
    """License-File before 2.4 (setuptools below 77) and placeholders for unknown values."""
    version = _VERSION_FORM.fullmatch(raw.get("metadata_version", ""))
    if version and (int(version[1]), int(version[2])) < (2, 4):
        raw.pop("license_files", None)
    for field in [field for field, value in raw.items() if _is_placeholder(value)]:
        del raw[field]  # type: ignore[misc]  # a field that is missing has a fault of its own


def _is_placeholder(value: object) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text.strip() == PLACEHOLDER for text in texts)


def _unfold(raw: RawMetadata, content: bytes) -> None:
    """Remove the indentation of header lines from a description and a licence of several lines.

    distutils and setuptools wrote both into headers until 2022, with eight spaces before each line after the
    first; the core metadata specification names an older form, seven spaces and ``|``.
    """
    head = _BLANK_LINE.split(content, maxsplit=1)[0]
    fields: tuple[Literal["description", "license"], ...] = ("description", "license")
    for field in fields:
        text = raw.get(field)
        if text is None or re.search(rb"(?mi)^" + field.encode() + rb":", head) is None:
            continue
        first, *rest = text.split("\n")
        for indentation in _INDENTATIONS:
            if rest and all(not line.strip() or line.startswith(indentation) for line in rest):
                lines = [line[len(indentation) :] if line.strip() else "" for line in rest]
                raw[field] = "\n".join([first, *lines])
                break


def _faults_by_packaging(raw: RawMetadata, *, unparsed: Collection[str]) -> Iterator[tuple[Rule, str]]:
    if not raw["metadata_version"]:
        if "metadata-version" not in unparsed:
            yield "metadata-version", "metadata-version is missing"
        raw = {**raw, "metadata_version": NEWEST_METADATA_VERSION}
    if "requires_dist" in raw:  # each of them is checked in ``metadata_rules``
        raw = {**raw, "requires_dist": []}
    is_since_2_1 = raw["metadata_version"].startswith("2.")  # before, the field itself is a fault
    if is_since_2_1 and raw.get("description_content_type") in _USUAL_CONTENT_TYPES:
        raw = {**raw}
        del raw["description_content_type"]
    try:
        Metadata.from_raw(raw)
    except RecursionError:
        yield "metadata-syntax", "a field is nested too deeply"
    except ExceptionGroup as group:
        for error in group.exceptions:
            # Fields that could not be parsed have their fault already.
            if not (isinstance(error, InvalidMetadata) and error.field in unparsed):
                is_of_version = getattr(error, "field", "") == "metadata-version"
                yield "metadata-version" if is_of_version else "metadata-syntax", str(error)
