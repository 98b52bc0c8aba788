"""Pages of the simple API as values, the choice of their form, and their rendering in JSON and HTML.

JSON is version 1.4 (PEP 691, 700, 714, 740, 792); HTML stands still at 1.4 (PEP 833) and has every value
escaped. Links are relative, so that a page works behind any proxy prefix; an index name with a team prefix
lies one folder deeper. Only links to provenance must be absolute (PEP 740, decision record 0011).

JSON pages omit ``dist-info-metadata``: pip 22.3 to 23.1 break on it, which is why PEP 714 renamed it; HTML
has the old attribute beside the new one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from packaging.version import Version

from conveyor.domain.indexes.projects import ACTIVE
from conveyor.domain.words.names import version_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conveyor.domain.indexes.projects import ProjectStatus

API_VERSION = "1.4"

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

MediaType = Literal["application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html", "text/html"]
JSON: MediaType = "application/vnd.pypi.simple.v1+json"
HTML: MediaType = "application/vnd.pypi.simple.v1+html"
TEXT_HTML: MediaType = "text/html"
MEDIA_TYPES: tuple[MediaType, ...] = (JSON, HTML, TEXT_HTML)
"""The forms that can be served, best first."""

_SPELLINGS: dict[str, MediaType] = {
    JSON: JSON,
    HTML: HTML,
    TEXT_HTML: TEXT_HTML,
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of a project page."""

    filename: str
    index: str
    """Name of the index that supplies it."""
    sha256: str | None
    """``None`` for a mirrored file whose upstream does not name it, until its first download."""
    version: str | None
    """Canonical; ``None`` if the filename has no version (an old ``.exe``)."""
    size_bytes: int | None
    """PEP 700; ``None`` for a mirrored file whose size is not known yet."""
    upload_time: str
    """PEP 700."""
    is_upload_time_first_seen: bool = False
    """Whether upstream named no time, so that it is when the store first saw the file."""
    requires_python: str | None = None
    is_yanked: bool = False
    """PEP 592."""
    yank_reason: str | None = None
    has_metadata: bool = False
    """PEP 658, 714: whether ``….metadata`` answers."""
    metadata_sha256: str | None = None
    """Its digest; ``None`` for a mirrored file whose metadata has not been read yet."""
    has_provenance: bool = False
    """PEP 740: whether ``….provenance`` answers."""
    address: str | None = None
    """Used in the file's URL while it has no SHA-256, such as ``md5/HEX``."""


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """The page of one project in one index; ``files`` are in the order they are shown."""

    project: str
    files: tuple[PageFile, ...]
    serial: int = 0
    """Serial of the newest change of the project."""
    status: ProjectStatus = ACTIVE
    """PEP 792; a quarantined project's page has no files."""


def negotiate(accept: str | None, *, format_parameter: str | None = None) -> MediaType | None:
    """The form of a page that a client prefers (PEP 691); ``None`` if it accepts no available form (406).

    ``?format=`` overrides the header. Of several forms preferred equally, the best one is chosen; a client
    that accepts anything (``*/*``, or no header) gets ``text/html``, for tools older than the JSON form.
    """
    if format_parameter is not None:
        # A plus that was not percent-encoded arrives as a space.
        return _SPELLINGS.get(format_parameter.strip().replace(" ", "+").lower())
    ranges = _parse_accept(accept) if accept is not None and accept.strip() else {"*/*": 1.0}
    names_one = any(
        quality and (name in _SPELLINGS or name == "application/*") for name, quality in ranges.items()
    )
    if not names_one and _quality(TEXT_HTML, ranges):
        return TEXT_HTML
    best = max(MEDIA_TYPES, key=lambda media: _quality(media, ranges))
    return best if _quality(best, ranges) else None


def _quality(media: MediaType, ranges: dict[str, float]) -> float:
    """The preference for a form: the most specific range that matches counts (RFC 9110, section 12.5.1)."""
    named = [
        ranges[spelling] for spelling, known in _SPELLINGS.items() if known == media and spelling in ranges
    ]
    if named:
        return max(named)
    main = media.partition("/")[0]
    return ranges.get(f"{main}/*", ranges.get("*/*", 0.0))


def _parse_accept(accept: str) -> dict[str, float]:
    """Media ranges with their q-values; other parameters are ignored, a q that is not a number is 0."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = _q_value(value)
        if name:
            ranges[name.lower()] = max(quality, ranges.get(name.lower(), 0.0))
    return ranges


def _q_value(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0


def accepts_encoding(accept_encoding: str, coding: str) -> bool:
    """Whether a client accepts a content coding such as ``zstd`` (RFC 9110, section 12.5.3)."""
    codings = _parse_accept(accept_encoding)
    return codings.get(coding, codings.get("*", 0.0)) > 0.0


def version_in_filename(filename: str) -> str | None:
    """The canonical version in a filename; ``None`` if the name is not that of a wheel or sdist.

    Only the version is read: the tags of a wheel cost ten times as much, and a page may have thousands.
    """
    if filename.endswith(".whl"):
        parts = filename[:-4].split("-")
        return _canonical_version(parts[1]) if len(parts) in (5, 6) else None
    for ending in (".tar.gz", ".zip"):
        if filename.endswith(ending):
            return _canonical_version(filename.removesuffix(ending).rpartition("-")[2])
    return None


@lru_cache(maxsize=16384)
def _canonical_version(text: str) -> str | None:
    version = version_or_none(text.replace("_", "-"))
    return None if version is None else str(version)


def versions_of(files: Iterable[PageFile]) -> list[str]:
    """The versions that files belong to, ascending, each once (PEP 700)."""
    return sorted({file.version for file in files if file.version is not None}, key=version_order)


@lru_cache(maxsize=16384)
def version_order(version: str | None) -> tuple[bool, Version]:
    """Sort key of a version's text; texts that are not versions come first."""
    found = version_or_none(version or "")
    return (False, Version("0")) if found is None else (True, found)


def root_of(index: str) -> str:
    """The relative path from a project page to the root of the store: ``../../../`` for ``stable``."""
    return "../" * (3 + index.count("/"))


def file_path(file: PageFile) -> str:
    """The path of a file below the root of the store, percent-encoded."""
    return f"packages/{file.sha256 or file.address}/{quote(file.filename)}"


def render_project_json(page: ProjectPage, *, index: str, public_url: str) -> bytes:
    """The project page in JSON, as seen in ``index`` of the store at ``public_url``."""
    root = root_of(index)
    status: dict[str, str] = {"status": page.status.name}
    if page.status.reason is not None:
        status["reason"] = page.status.reason
    body = {
        "meta": {"api-version": API_VERSION, "_last-serial": page.serial},
        "name": page.project,
        "project-status": status,
        "versions": versions_of(page.files),
        "files": [_file_json(file, root, public_url) for file in page.files],
    }
    return _to_json(body).encode()


def _file_json(file: PageFile, root: str, public_url: str) -> dict[str, Any]:
    path = file_path(file)
    rendered: dict[str, Any] = {
        "filename": file.filename,
        "url": root + path,
        "hashes": {"sha256": file.sha256} if file.sha256 else {},
        "requires-python": file.requires_python,
        "size": file.size_bytes,
        "upload-time": file.upload_time,
        "yanked": (file.yank_reason or True) if file.is_yanked else False,
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata_sha256 else file.has_metadata,
        "provenance": f"{public_url}{path}.provenance" if file.has_provenance else None,
    }
    if file.size_bytes is None:
        del rendered["size"]
    if file.requires_python is None:
        del rendered["requires-python"]
    if file.sha256 is None:
        rendered["_sha256-is-computed-at-first-download"] = True
    if file.is_upload_time_first_seen:
        rendered["_upload-time-is-first-seen"] = True
    return rendered


def render_project_html(page: ProjectPage, *, index: str, public_url: str) -> bytes:
    """The same in HTML; every value is escaped here and nowhere else."""
    root = root_of(index)
    head = [f'<meta name="pypi:project-status" content="{escape(page.status.name)}">']
    if page.status.reason is not None:
        head.append(f'<meta name="pypi:project-status-reason" content="{escape(page.status.reason)}">')
    links = [_file_html(file, root, public_url) for file in page.files]
    return _document(f"Links for {page.project}", head, links)


def _file_html(file: PageFile, root: str, public_url: str) -> str:
    path = file_path(file)
    fragment = f"#sha256={escape(file.sha256)}" if file.sha256 else ""
    attributes = [f'href="{escape(root + path)}{fragment}"']
    if file.requires_python is not None:
        attributes.append(f'data-requires-python="{escape(file.requires_python)}"')
    if file.is_yanked:
        attributes.append(f'data-yanked="{escape(file.yank_reason or "")}"')
    if file.has_metadata:
        digest = f"sha256={escape(file.metadata_sha256)}" if file.metadata_sha256 else "true"
        attributes.append(f'data-core-metadata="{digest}" data-dist-info-metadata="{digest}"')
    if file.has_provenance:
        attributes.append(f'data-provenance="{escape(public_url + path)}.provenance"')
    return f"<a {' '.join(attributes)}>{escape(file.filename)}</a><br>"


def render_list_json(projects: Sequence[str], *, serial: int) -> bytes:
    """The list of an index's projects in JSON.

    Encoded name by name: the encoder blocks all other threads while it runs, and there may be 100,000 names.
    """
    meta = _to_json({"api-version": API_VERSION, "_last-serial": serial})
    listed = ",".join([f'{{"name":{_to_json(name)}}}' for name in projects])
    return f'{{"meta":{meta},"projects":[{listed}]}}'.encode()


def render_list_html(projects: Sequence[str]) -> bytes:
    """The list of an index's projects in HTML."""
    return _document(
        "Projects", [], [f'<a href="{quote(name)}/">{escape(name)}</a><br>' for name in projects]
    )


def _document(title: str, head: Sequence[str], links: Sequence[str]) -> bytes:
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta name="pypi:repository-version" content="{API_VERSION}">',
        *head,
        f"<title>{escape(title)}</title>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *links,
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines).encode()
