"""Reads project pages of other indexes: JSON and HTML (PEP 503, 592, 629, 658, 691, 700, 714, 740, 792).

A page is foreign: what it says of one file may be odd or missing and costs only that statement, or that file;
a page of another major version, or one that is no page at all, is refused. Of JSON any minor version is read:
what a newer one adds is ignored (PEP 629). HTML says the same in attributes and ``<meta>`` tags.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urldefrag, urljoin, urlsplit

from packaging.version import Version

from conveyor.domain.indexes.mirror import UpstreamFile, UpstreamPage, is_sound_filename
from conveyor.domain.indexes.projects import status_from
from conveyor.domain.words.notation import is_sha256, utc_text
from conveyor.errors import UpstreamFailed
from conveyor.upstream.connections import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conveyor.domain.indexes.projects import ProjectStatus

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
API_MAJOR = 1
LARGEST_SIZE_BYTES = 2**63 - 1
"""What a row can hold."""


@dataclass(frozen=True)
class ReceivedPage:
    """A page as it was received, and where it came from in the end: its links are relative to that."""

    body: bytes
    content_type: str
    charset: str | None
    url: str
    etag: str


def parse_page(received: ReceivedPage) -> UpstreamPage:
    """What a page says; files without a SHA-256 cannot be served by digest and are left out.

    A page on which every link is left out is somebody's page, but not of this API (a login form, say): it
    must not pass for a project without files.

    Raises:
        UpstreamFailed: it is no page of this API, or one of another major version.
    """
    try:
        read = _read_json if received.content_type.endswith("json") else _read_html
        found, status = read(received)
    except UpstreamFailed:
        raise
    except Exception as error:  # whatever a parser says of foreign bytes
        raise UpstreamFailed(
            f"{received.url} is no page of the simple API: {type(error).__name__}",
            hint="is the store's upstream a Python package index?",
        ) from error
    kept = tuple(file for file in found if _is_servable(file))
    if found and not kept:
        raise UpstreamFailed(
            f"{received.url} names no file with a SHA-256", hint="is it a Python package index?"
        )
    return UpstreamPage(files=kept, etag=received.etag, status=status)


def size_or_none(size_bytes: object) -> int | None:
    """A size that a file can have and a row can hold; any other is as good as none."""
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool):
        return None
    return size_bytes if 0 <= size_bytes <= LARGEST_SIZE_BYTES else None


# --- JSON --------------------------------------------------------------------------------------------------


def _read_json(received: ReceivedPage) -> tuple[list[UpstreamFile], ProjectStatus]:
    document = json.loads(received.body)
    _check_version(_object(document.get("meta")).get("api-version"), received.url)
    status = _object(document.get("project-status"))
    files = [_json_file(_object(entry), received.url) for entry in document["files"]]
    return files, status_from(_text(status.get("status")), _text(status.get("reason")))


def _json_file(entry: Mapping[str, Any], base_url: str) -> UpstreamFile:
    yanked = entry.get("yanked")
    metadata = entry.get("core-metadata", entry.get("dist-info-metadata"))
    return UpstreamFile(
        filename=_text(entry.get("filename")) or "",
        url=_link(entry.get("url"), base_url) or "",
        sha256=_digest(_object(entry.get("hashes")).get("sha256")) or "",
        size_bytes=size_or_none(entry.get("size")),
        upload_time=_time(entry.get("upload-time")),
        requires_python=_text(entry.get("requires-python")),
        is_yanked=bool(yanked),
        yank_reason=_text(yanked),
        has_metadata=metadata is True or isinstance(metadata, dict),
        metadata_sha256=_digest(_object(metadata).get("sha256")),
        provenance_url=_link(entry.get("provenance"), base_url),
    )


# --- HTML --------------------------------------------------------------------------------------------------


def _read_html(received: ReceivedPage) -> tuple[list[UpstreamFile], ProjectStatus]:
    reader = _HtmlReader(received.url)
    text = received.body.decode(received.charset or "utf-8-sig", "replace")
    # A tag without an end has the parser search the rest of the page for one, at each "<" anew.
    reader.feed(text[: text.rfind(">") + 1])
    reader.close()
    _check_version(reader.meta.get("pypi:repository-version"), received.url)
    status = _text(reader.meta.get("pypi:project-status"))
    reason = _text(reader.meta.get("pypi:project-status-reason"))
    files = [_html_file(text, link, reader.base_url) for text, link in reader.links()]
    return files, status_from(status, reason)


class _HtmlReader(HTMLParser):
    """Collects the links of a page with their attributes and texts, and its ``<meta>`` tags."""

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base_url = url
        self.meta: dict[str, str] = {}
        self._links: list[tuple[list[str], dict[str, str]]] = []
        self._has_base = self._is_in_link = False

    def links(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(text, attributes) of each link that leads somewhere."""
        for pieces, attributes in self._links:
            if "href" in attributes:
                yield "".join(pieces).strip(), attributes

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that opens."""
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._links.append(([], attributes))
            self._is_in_link = True
        elif tag == "meta" and "name" in attributes:
            self.meta.setdefault(attributes["name"], attributes.get("content", ""))
        elif tag == "base" and "href" in attributes and not self._has_base:
            self.base_url = urljoin(self.base_url, attributes["href"])
            self._has_base = True

    def handle_endtag(self, tag: str) -> None:
        """A tag that closes."""
        if tag == "a":
            self._is_in_link = False

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if self._is_in_link:
            self._links[-1][0].append(data)


def _html_file(text: str, link: Mapping[str, str], base_url: str) -> UpstreamFile:
    address, fragment = urldefrag(link["href"])
    metadata = link.get("data-core-metadata", link.get("data-dist-info-metadata"))
    return UpstreamFile(
        filename=text,
        url=_link(address, base_url) or "",
        sha256=_digest(parse_qs(fragment).get("sha256", [""])[0]) or "",
        upload_time=_time(link.get("data-upload-time")),  # no standard, but some indexes give it
        requires_python=_text(link.get("data-requires-python")),
        is_yanked="data-yanked" in link,
        yank_reason=_text(link.get("data-yanked")),
        has_metadata=metadata is not None and (metadata.lower() == "true" or "=" in metadata),
        metadata_sha256=_digest((metadata or "").removeprefix("sha256=")),
        provenance_url=_link(link.get("data-provenance"), base_url),
    )


# --- values ------------------------------------------------------------------------------------------------


def _is_servable(file: UpstreamFile) -> bool:
    return bool(file.url and file.sha256) and is_sound_filename(file.filename)


def _check_version(declared: object, url: str) -> None:
    """Refuse a page of another major version (PEP 629); a page without a version is of the first one."""
    try:
        is_readable = declared is None or Version(str(declared)).major == API_MAJOR
    except ValueError:  # also of thousands of digits
        is_readable = False
    if not is_readable:
        raise UpstreamFailed(
            f'{url} is a page of version "{str(declared)[:40]}" of the simple API; known are those of '
            f"version {API_MAJOR}",
            hint="a newer conveyor may read it",
        )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Text that every database can hold as UTF-8, whatever escapes the upstream's JSON held."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "?")


def _digest(value: object) -> str | None:
    digest = value.lower() if isinstance(value, str) else ""
    return digest if is_sha256(digest) else None


def _link(value: object, base_url: str) -> str | None:
    """An address that can be asked, absolute."""
    if not isinstance(value, str) or not value:
        return None
    try:
        url = joined(base_url, value)
        is_http = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        return None
    return url if is_http and url.isprintable() else None


def _time(value: object) -> str | None:
    """A moment with a time zone; ``None`` for what is none, or what no calendar has."""
    try:
        moment = datetime.fromisoformat(str(value))
        return utc_text(moment) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
