"""Upload forms: their statements about a file, compared with the file itself.

The artefact is the truth: nothing of the form is stored. But a form that disagrees was made for another file,
or by a faulty tool, and its uploader wants to know. Empty fields and unknown fields are ignored. Some fields
are not compared, because honest clients send them in another form than the file: the description and the
licence text (each client folds lines in its own way), the keywords (joined in two ways), the licence files
(old tools wrote them before they were standardised), ``metadata_version`` (flit always says 2.3).

Source: the upload API that twine, uv, flit, hatch, pdm and poetry speak ("legacy API").
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conveyor.domain.distributions.metadata import LONGEST_VALUE, PLACEHOLDER
from conveyor.domain.distributions.metadata_rules import read_requirement
from conveyor.domain.words.names import version_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conveyor.domain.distributions.filenames import DistributionFilename
    from conveyor.domain.distributions.metadata import CoreMetadata
    from conveyor.domain.words.faults import Faults

FILE_OPEN = "file_open"
"""The value of ``:action``, ours alone, that puts a file into an open release: a store that does not know it
refuses the form, where it would ignore an unknown field and show the file."""

_DIGESTS = ("sha256_digest", "blake2_256_digest", "md5_digest")
_ONCE = (":action", "protocol_version", "filetype", "pyversion", "name", "version", *_DIGESTS)
"""Fields besides those of the metadata whose first or last value different readers could take."""
_LONGEST_COMPARED = 2 * LONGEST_VALUE
"""Longest part of a form's value that is compared: no file's value is longer, and parsing takes time."""


@dataclass(frozen=True)
class Digests:
    """Digests of a file's bytes, lower case hex, all computed while it was received."""

    sha256: str
    blake2b_256: str
    md5: str | None = None
    """Only compared, never stored; ``None`` if the form does not contain it."""


@dataclass(frozen=True)
class UploadForm:
    """The fields of an upload form, except the file itself."""

    fields: Mapping[str, Sequence[str]]

    def value(self, name: str) -> str:
        """The first value of a field that is not empty; else an empty text."""
        values = self.values(name)
        return values[0] if values else ""

    def values(self, name: str) -> list[str]:
        """All values of a field that are not empty."""
        found = [value[:_LONGEST_COMPARED].strip() for value in self.fields.get(name, ())]
        return [value for value in found if value not in ("", PLACEHOLDER)]


def check_request(form: UploadForm, faults: Faults) -> None:
    """Check that the form asks for an upload, in the only protocol there is."""
    if (action := form.value(":action")) not in ("file_upload", FILE_OPEN):
        faults.add("form-protocol", f"the form field :action is {action!r}; only 'file_upload' is known")
    if (protocol := form.value("protocol_version")) not in ("", "1"):
        faults.add("form-protocol", f"the form field protocol_version is {protocol!r}; only '1' is known")
    repeated = [name for name in (*_ONCE, *_SINGLE) if len(set(form.values(name))) > 1]
    faults.add_each("form-repeated", repeated, "the form field {} is there more than once")


def check_digests(form: UploadForm, digests: Digests, faults: Faults) -> None:
    """Compare every digest in the form with that of the bytes received; at least one is required."""
    received = dict(zip(_DIGESTS, (digests.sha256, digests.blake2b_256, digests.md5), strict=True))
    given = {name: form.value(name) for name in received if form.value(name)}
    if not given:
        faults.add("form-digest", f"the form has no digest of the file ({', '.join(received)})")
    for name, value in given.items():
        if not hmac.compare_digest(value.lower().encode(), (received[name] or "").encode()):
            faults.add(
                "form-digest",
                f"the form field {name} is {value[:140]!r}, but the file received has {received[name]}",
            )


def check_filename_fields(form: UploadForm, filename: DistributionFilename, faults: Faults) -> None:
    """Compare the fields that are also in the filename: the type, the Python tag, name and version."""
    if (filetype := form.value("filetype")) != filename.packagetype:
        faults.add(
            "form-filename",
            f"the form field filetype is {filetype!r}, but {filename.text} is a {filename.packagetype}",
        )
    pyversion = form.value("pyversion")
    if pyversion and _tags(pyversion) != _tags(filename.python_tag):
        faults.add(
            "form-filename",
            f"the form field pyversion is {pyversion!r}, but the filename says {filename.python_tag!r}",
        )
    for field, said, known in (
        ("name", canonicalize_name(form.value("name")), str(filename.project)),
        ("version", _version(form.value("version")), str(filename.version)),
    ):
        if not form.value(field):
            faults.add("form-filename", f"the form field {field} is missing")
        elif said != known:
            faults.add(
                "form-filename",
                f"the form field {field} is {form.value(field)!r}, but the filename says {known!r}",
            )


def check_metadata_fields(form: UploadForm, metadata: CoreMetadata, faults: Faults) -> None:
    """Compare the core metadata in the form with that in the file."""
    for field, (key, normalized) in _SINGLE.items():
        said, known = form.value(field), metadata.fields.get(key) or ""
        if said and said != known and normalized(said) != normalized(known):
            faults.add(
                "form-metadata",
                f"the form field {field} is {said[:200]!r}, but the file says {known[:200]!r}",
            )
    for field, (key, normalized) in _MULTIPLE.items():
        said_all = {normalized(value) for name in {field, key} for value in form.values(name)}
        if not said_all:
            continue
        known_all = {normalized(value) for value in _listed(metadata.fields.get(key))}
        if said_all != known_all:
            extra = min(said_all ^ known_all)
            faults.add(
                "form-metadata", f"the form field {field} differs from the file, first in {extra[:200]!r}"
            )


def _words(text: str) -> str:
    return " ".join(text.split())


def _people(text: str) -> str:
    """Names and addresses as they are read: some clients decode what a header encodes (RFC 2047)."""
    try:
        return _words(str(make_header(decode_header(text))))
    except (HeaderParseError, LookupError, ValueError):
        return _words(text)


def _version(text: str) -> str:
    return str(version_or_none(text) or text)


def _specifier(text: str) -> str:
    try:
        return str(SpecifierSet(text))
    except ValueError:  # also for thousands of digits
        return text


def _requirement(text: str) -> str:
    requirement = read_requirement(text)
    return text if requirement is None else requirement.canonical


def _extra(text: str) -> str:
    return str(canonicalize_name(text))


def _link(text: str) -> str:
    return ",".join(part.strip() for part in text.split(",", 1))


def _tags(text: str) -> set[str]:
    return set(re.split(r"[.\s]+", text))


def _listed(value: object) -> list[str]:
    """A field with several values, as the form would carry it."""
    if isinstance(value, dict):
        return [f"{label},{url}" for label, url in value.items()]
    return list(value) if isinstance(value, list) else []


_SINGLE: dict[str, tuple[str, Callable[[str], str]]] = {
    "summary": ("summary", _words),
    "home_page": ("home_page", _words),
    "download_url": ("download_url", _words),
    "author": ("author", _people),
    "author_email": ("author_email", _people),
    "maintainer": ("maintainer", _people),
    "maintainer_email": ("maintainer_email", _people),
    "license_expression": ("license_expression", _words),
    "requires_python": ("requires_python", _specifier),
    "description_content_type": ("description_content_type", _words),
}
"""Form field → key of the metadata and the form in which it is compared."""

_MULTIPLE: dict[str, tuple[str, Callable[[str], str]]] = {
    "requires_dist": ("requires_dist", _requirement),
    "provides_extra": ("provides_extra", _extra),
    "classifiers": ("classifiers", _words),
    "project_urls": ("project_urls", _link),
    "requires_external": ("requires_external", _words),
    "provides_dist": ("provides_dist", _requirement),
    "obsoletes_dist": ("obsoletes_dist", _requirement),
    "platform": ("platforms", _words),
    "supported_platform": ("supported_platforms", _words),
    "import_name": ("import_names", _words),
    "import_namespace": ("import_namespaces", _words),
    "dynamic": ("dynamic", str.lower),
}
