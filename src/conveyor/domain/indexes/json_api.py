"""The JSON API of a project, as the public index answers it; Dependabot and others still ask for it.

It is not a standard: its shape is that of PyPI's documentation ("JSON API"). Fields that only PyPI can fill
(download counts, own pages) are present but empty, because clients index into them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.version import Version

from conveyor.domain.indexes.simple_api import file_path, versions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conveyor.domain.indexes.simple_api import PageFile, ProjectPage

_TEXTS = (
    "author",
    "author_email",
    "description",
    "description_content_type",
    "download_url",
    "home_page",
    "license",
    "maintainer",
    "maintainer_email",
    "summary",
)
"""Fields of core metadata that are text, empty if missing."""


def chosen_version(files: Sequence[PageFile]) -> str | None:
    """The version shown for a project: the newest final one that is not yanked, else the newest."""
    versions = versions_of(files)
    offered = versions_of([file for file in files if not file.is_yanked])
    finals = [version for version in offered if not Version(version).is_prerelease]
    for candidates in (finals, offered, versions):
        if candidates:
            return candidates[-1]
    return None


def project_document(
    page: ProjectPage,
    *,
    version: str | None,
    metadata: Mapping[str, Any],
    root_url: str,
    with_releases: bool,
) -> dict[str, Any]:
    """The answer for a project or, if ``with_releases`` is false, for one release of it.

    Args:
        page: the project as an index shows it.
        version: the release to describe; ``None`` if no file names a version.
        metadata: its core metadata by packaging's names; may be empty.
        root_url: absolute URL of the store, with a slash at its end.
        with_releases: whether files of all releases are listed.
    """
    urls = [file for file in page.files if file.version == version]
    document: dict[str, Any] = {
        "info": _info(page.project, version, metadata, urls),
        "last_serial": page.serial,
        "urls": [_file(file, root_url) for file in urls],
        "vulnerabilities": [],
    }
    if with_releases:
        document["releases"] = {
            each: [_file(file, root_url) for file in page.files if file.version == each]
            for each in versions_of(page.files)
        }
    return document


def _info(
    project: str, version: str | None, metadata: Mapping[str, Any], files: Sequence[PageFile]
) -> dict[str, Any]:
    is_yanked = bool(files) and all(file.is_yanked for file in files)
    reasons = [file.yank_reason for file in files if file.yank_reason]
    requires_python = metadata.get("requires_python") or next(
        (file.requires_python for file in files if file.requires_python), None
    )
    return {
        **{name: metadata.get(name) or "" for name in _TEXTS},
        "bugtrack_url": None,
        "classifiers": metadata.get("classifiers", []),
        "docs_url": None,
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "dynamic": metadata.get("dynamic") or None,
        "keywords": ",".join(metadata.get("keywords", [])),
        "license_expression": metadata.get("license_expression"),
        "license_files": metadata.get("license_files") or None,
        "name": metadata.get("name") or project,
        "package_url": "",
        "platform": ",".join(metadata.get("platforms", [])),
        "project_url": "",
        "project_urls": metadata.get("project_urls") or None,
        "provides_extra": metadata.get("provides_extra") or None,
        "release_url": "",
        "requires_dist": metadata.get("requires_dist") or None,
        "requires_python": requires_python,
        "version": version or "",
        "yanked": is_yanked,
        "yanked_reason": reasons[0] if is_yanked and reasons else None,
    }


def _file(file: PageFile, root_url: str) -> dict[str, Any]:
    is_wheel = file.filename.endswith(".whl")
    return {
        "comment_text": "",
        "digests": {"sha256": file.sha256} if file.sha256 else {},
        "downloads": -1,
        "filename": file.filename,
        "has_sig": False,
        "packagetype": "bdist_wheel" if is_wheel else "sdist",
        "python_version": file.filename.split("-")[-3] if is_wheel else "source",
        "requires_python": file.requires_python,
        "size": file.size_bytes,
        "upload_time": file.upload_time.partition(".")[0],
        "upload_time_iso_8601": file.upload_time,
        "url": root_url + file_path(file),
        "yanked": file.is_yanked,
        "yanked_reason": file.yank_reason if file.is_yanked else None,
    }
