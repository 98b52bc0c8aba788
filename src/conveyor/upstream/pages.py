"""Reads project pages of other indexes: JSON and HTML (PEP 503, 592, 629, 658, 691, 700, 714, 740, 792).

A page is foreign: an odd or missing statement about a file costs only that statement, or that file; a page of
another major version, or a document that is not a page at all, is refused. Any minor version of JSON is read,
and the additions of newer ones are ignored (PEP 629). HTML has the same facts in attributes and ``<meta>``
tags.
"""

from __future__ import annotations

from codecs import getincrementaldecoder, lookup
from collections import deque
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urldefrag, urlsplit

from conveyor.domain.indexes.mirror import (
    OTHER_HASHES,
    UpstreamFile,
    UpstreamPage,
    is_hash,
    is_sound_filename,
)
from conveyor.domain.indexes.projects import status_from
from conveyor.domain.words.names import version_or_none
from conveyor.domain.words.notation import is_sha256, utc_text
from conveyor.errors import UpstreamFailed
from conveyor.upstream.connections import joined
from conveyor.upstream.documents import EndlessDocument, HtmlPage, JsonObject

if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conveyor.domain.indexes.projects import ProjectStatus

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
API_MAJOR = 1
LARGEST_SIZE_BYTES = 2**63 - 1
"""Limit of a row."""
MOST_FILES = 100_000
"""Files of one page. The largest projects have some 40,000."""

_IS_INDEX = "is the store's upstream a Python package index?"


class PageReader:
    """Reads one page as it arrives, and keeps its files."""

    def __init__(self, url: str, *, content_type: str, charset: str | None) -> None:
        """``url``: the final address of the page, to which its links are relative.

        Raises:
            UpstreamFailed: its charset is unknown.
        """
        self._url = url
        self._read: _JsonPage | _HtmlPage
        self._decoder: IncrementalDecoder
        with self._refusing():
            if content_type.endswith("json"):
                self._decoder = getincrementaldecoder("utf-8-sig")("surrogatepass")
                self._read = _JsonPage(url)
            else:
                self._decoder = _decoder(charset)
                self._read = _HtmlPage(url)

    def feed(self, content: bytes, *, is_last: bool = False) -> None:
        """Read on, some 64 KB at a time.

        Raises:
            UpstreamFailed: it is not a page of this API, is of another major version, or does not end.
        """
        with self._refusing():
            self._read.feed(self._decoder.decode(content, is_last), is_last=is_last)

    def page(self, etag: str) -> UpstreamPage:
        """The parsed page, after its last byte; files that cannot be served are left out.

        A page whose links are all left out is not a page of this API (but a login form, say): it must not
        pass for a project without files.

        Raises:
            UpstreamFailed: it is not a page of this API.
        """
        with self._refusing():
            kept, status = tuple(self._read.files()), self._read.status()
        if self._read.found and not kept:
            raise UpstreamFailed(f"{self._url} names no file that installers know", hint=_IS_INDEX)
        return UpstreamPage(files=kept, etag=etag, status=status)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except UpstreamFailed:
            raise
        except EndlessDocument as error:
            raise UpstreamFailed(f"{self._url} has {error}", hint=_IS_INDEX) from error
        except Exception as error:  # any error of a parser on foreign bytes
            raise UpstreamFailed(
                f"{self._url} is not a page of the simple API: {type(error).__name__}", hint=_IS_INDEX
            ) from error


def _decoder(charset: str | None) -> IncrementalDecoder:
    """Reads text in pieces; raises LookupError for a name that is not that of a charset.

    The time to read names of internationalised hosts grows with the square of their length.
    """
    name = charset or "utf-8-sig"
    if lookup(name).name in ("idna", "punycode"):
        raise LookupError(name)
    b"?".decode(name, "replace")  # also refuses codecs that are not of text
    return getincrementaldecoder(name)("replace")


def size_or_none(size_bytes: object) -> int | None:
    """A size that a file can have and a row can hold; any other counts as missing."""
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool):
        return None
    return size_bytes if 0 <= size_bytes <= LARGEST_SIZE_BYTES else None


# --- JSON --------------------------------------------------------------------------------------------------


class _JsonPage:
    """A page in JSON, as far as it has been read."""

    def __init__(self, url: str) -> None:
        self.found = 0
        self._url = url
        self._document = JsonObject(self._note, self._list)
        self._status: Mapping[str, Any] = {}
        self._files: list[UpstreamFile] | None = None

    def feed(self, text: str, *, is_last: bool) -> None:
        self._document.feed(text, is_last=is_last)

    def files(self) -> list[UpstreamFile]:
        if self._files is None:
            raise ValueError("it has no list of files")
        return self._files

    def status(self) -> ProjectStatus:
        return status_from(_text(self._status.get("status")), _text(self._status.get("reason")))

    def _note(self, key: str, value: object) -> None:
        if key == "meta":
            _check_version(_object(value).get("api-version"), self._url)
        elif key == "project-status":
            self._status = _object(value)
        elif key == "files":
            self._files = None

    def _list(self, key: str) -> Callable[[Any], None] | None:
        if key != "files":
            return None
        files = self._files = []

        def keep(entry: object) -> None:
            self.found = _one_more(self.found, self._url)
            file = _json_file(_object(entry), self._url)
            if file is not None and _is_servable(file):
                files.append(file)

        return keep


def _json_file(entry: Mapping[str, Any], base_url: str) -> UpstreamFile | None:
    hashes = _hashes((name, value) for name, value in _object(entry.get("hashes")).items())
    if hashes is None:
        return None
    yanked = entry.get("yanked")
    metadata = entry.get("core-metadata", entry.get("dist-info-metadata"))
    return UpstreamFile(
        filename=_text(entry.get("filename")) or "",
        url=_link(entry.get("url"), base_url) or "",
        sha256=hashes.sha256,
        other_hash=hashes.other,
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


class _HtmlPage:
    """A page in HTML, as far as it has been read; links wait, because a ``<base>`` may follow them."""

    def __init__(self, url: str) -> None:
        self.found = 0
        self._url = url
        self._document = HtmlPage(url, attributes=_LINK_ATTRIBUTES, metas=_METAS, on_link=self._keep)
        self._links: deque[tuple[str, Mapping[str, str]]] = deque()

    def feed(self, text: str, *, is_last: bool) -> None:
        self._document.read(text)
        if is_last:
            self._document.finish()

    def files(self) -> Iterator[UpstreamFile]:
        _check_version(self._document.meta.get("pypi:repository-version"), self._url)
        while self._links:
            file = _html_file(*self._links.popleft(), self._document.base_url)
            if file is not None and _is_servable(file):
                yield file

    def status(self) -> ProjectStatus:
        meta = self._document.meta
        return status_from(
            _text(meta.get("pypi:project-status")), _text(meta.get("pypi:project-status-reason"))
        )

    def _keep(self, text: str, link: Mapping[str, str]) -> None:
        if "href" in link:
            self.found = _one_more(self.found, self._url)
            self._links.append((text, link))


_METAS = frozenset({"pypi:repository-version", "pypi:project-status", "pypi:project-status-reason"})
_LINK_ATTRIBUTES = frozenset(
    {
        "href",
        "data-core-metadata",
        "data-dist-info-metadata",
        "data-upload-time",
        "data-requires-python",
        "data-yanked",
        "data-provenance",
    }
)


def _html_file(text: str, link: Mapping[str, str], base_url: str) -> UpstreamFile | None:
    address, fragment = urldefrag(link["href"])
    hashes = _hashes(parse_qsl(fragment))
    if hashes is None:
        return None
    metadata = link.get("data-core-metadata", link.get("data-dist-info-metadata"))
    return UpstreamFile(
        filename=text if text.endswith(_ENDINGS) else _last_segment(address) or text,
        url=_link(address, base_url) or "",
        sha256=hashes.sha256,
        other_hash=hashes.other,
        upload_time=_time(link.get("data-upload-time")),  # not in a standard, but some indexes have it
        requires_python=_text(link.get("data-requires-python")),
        is_yanked="data-yanked" in link,
        yank_reason=_text(link.get("data-yanked")),
        has_metadata=metadata is not None and (metadata.lower() == "true" or "=" in metadata),
        metadata_sha256=_digest((metadata or "").removeprefix("sha256=")),
        provenance_url=_link(link.get("data-provenance"), base_url),
    )


# --- values ------------------------------------------------------------------------------------------------


_ENDINGS = (".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".egg", ".exe")
"""Endings of files that installers know, or knew."""


def _is_servable(file: UpstreamFile) -> bool:
    """Whether it has an address and a name; without a hash, only its name tells it from any other link."""
    is_told_apart = file.sha256 or file.other_hash or file.filename.endswith(_ENDINGS)
    return bool(file.url and is_told_apart) and is_sound_filename(file.filename)


def _last_segment(address: str) -> str | None:
    """The filename at the end of an address, if it is one: listings of a folder shorten their texts."""
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    return name if name.endswith(_ENDINGS) else None


class _Hashes(NamedTuple):
    """The hashes of a file that a page names."""

    sha256: str | None
    other: str | None
    """The strongest other hash, as ``md5/HEX``; ``None`` also if there is a SHA-256."""


def _hashes(named: Iterable[tuple[object, object]]) -> _Hashes | None:
    """The hashes of a file; ``None`` if one of them is malformed, which must not pass for a missing hash.

    Unknown names are ignored (PEP 503: any hash of hashlib).
    """
    found = {str(name).lower(): str(value).lower() for name, value in named}
    sha256 = found.get("sha256")
    known = [name for name in OTHER_HASHES if name in found]
    if (sha256 is not None and not is_sha256(sha256)) or not all(
        is_hash(name, found[name]) for name in known
    ):
        return None
    return _Hashes(sha256, f"{known[0]}/{found[known[0]]}" if known and sha256 is None else None)


def _one_more(found: int, url: str) -> int:
    """The number of files with one more; raises UpstreamFailed when a page has too many."""
    if found >= MOST_FILES:
        raise UpstreamFailed(f"{url} names more than {MOST_FILES:,} files", hint=_IS_INDEX)
    return found + 1


def _check_version(declared: object, url: str) -> None:
    """Refuse a page of another major version (PEP 629); a page without a version is of the first one."""
    version = version_or_none(str(declared))
    if declared is not None and (version is None or version.major != API_MAJOR):
        raise UpstreamFailed(
            f'{url} is a page of version "{str(declared)[:40]}" of the simple API; known are those of '
            f"version {API_MAJOR}",
            hint="a newer conveyor may read it",
        )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Text that every database can hold as UTF-8, whatever escapes the upstream's JSON had."""
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
    """A moment with a time zone; ``None`` for other text, or a date that does not exist."""
    try:
        moment = datetime.fromisoformat(str(value))
        return utc_text(moment) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
