from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.indexes.projects import ProjectStatus
from conveyor.domain.indexes.simple_api import (
    HTML,
    JSON,
    MEDIA_TYPES,
    TEXT_HTML,
    MediaType,
    PageFile,
    ProjectPage,
    accepts_encoding,
    negotiate,
    render_list_html,
    render_list_json,
    render_project_html,
    render_project_json,
    version_in_filename,
    versions_of,
)

STORE = "https://packages.example/prefix/"
PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def page_file(filename: str = "demo-1.0-py3-none-any.whl", **given: object) -> PageFile:
    values: dict[str, object] = {
        "index": "unstable",
        "sha256": "ab" * 32,
        "version": version_in_filename(filename),
        "size_bytes": 10,
        "upload_time": "2026-11-21T08:00:00.000000Z",
        **given,
    }
    return PageFile(filename=filename, **values)  # type: ignore[arg-type]  # values of the right types, by name


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (PIP, JSON),
        (UV, JSON),
        (BROWSER, TEXT_HTML),
        ("text/html", TEXT_HTML),
        ("", TEXT_HTML),
        (None, TEXT_HTML),
        ("*/*", TEXT_HTML),
        ("text/*", TEXT_HTML),
        ("*/*;q=0.1, application/vnd.pypi.simple.v1+json", JSON),
        ("application/*", JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("application/vnd.pypi.simple.latest+html", HTML),
        ("APPLICATION/VND.PYPI.SIMPLE.V1+JSON", JSON),
        ("application/vnd.pypi.simple.v1+html, application/vnd.pypi.simple.v1+json", JSON),
        ("application/vnd.pypi.simple.v1+html;q=0.9, application/vnd.pypi.simple.v1+json;q=0.8", HTML),
        ("application/vnd.pypi.simple.v1+json;q=0, text/html", TEXT_HTML),
        ("*/*, application/vnd.pypi.simple.v1+json;q=0", TEXT_HTML),
        ("text/html;q=0.5;level=1, application/vnd.pypi.simple.v1+json;q=0.4", TEXT_HTML),
        ("application/json", None),
        ("application/vnd.pypi.simple.v2+json", None),
        ("image/png", None),
        ("text/html;q=0", None),
        ("*/*;q=0", None),
        ("text/html;q=nan", None),
        ("text/html;q=7", None),
        (",;,=;q", None),
    ],
)
def test_form_of_a_page_follows_the_accept_header(accept: str | None, chosen: MediaType | None) -> None:
    assert negotiate(accept) == chosen


@pytest.mark.parametrize(
    ("parameter", "chosen"),
    [
        ("application/vnd.pypi.simple.v1+json", JSON),
        ("application/vnd.pypi.simple.v1 json", JSON),
        ("application/vnd.pypi.simple.latest+html", HTML),
        ("text/html", TEXT_HTML),
        ("json", None),
        ("", None),
    ],
)
def test_format_parameter_goes_before_the_header(parameter: str, chosen: MediaType | None) -> None:
    assert negotiate("text/html", format_parameter=parameter) == chosen


@given(st.text(alphabet="*/;,=q.0123456789 +abehilmnpstvx\x00\xff", max_size=80))
def test_no_accept_header_breaks_negotiation(accept: str) -> None:
    assert negotiate(accept) in (*MEDIA_TYPES, None)


@pytest.mark.parametrize(
    ("header", "takes_zstd", "takes_gzip"),
    [
        ("gzip, deflate", False, True),
        ("zstd;q=0.5, gzip", True, True),
        ("identity", False, False),
        ("", False, False),
        ("*", True, True),
        ("*, gzip;q=0", True, False),
        ("gzip;q=0", False, False),
    ],
)
def test_coding_is_used_only_when_it_is_accepted(header: str, takes_zstd: bool, takes_gzip: bool) -> None:
    assert accepts_encoding(header, "zstd") is takes_zstd
    assert accepts_encoding(header, "gzip") is takes_gzip


def test_json_page_has_every_field_of_the_standard() -> None:
    file = page_file(
        requires_python=">=3.11",
        has_metadata=True,
        metadata_sha256="cd" * 32,
        has_provenance=True,
        is_yanked=True,
        yank_reason="broken",
    )
    page = ProjectPage("demo", (file,), serial=7, status=ProjectStatus("archived", "moved"))
    url = f"../../../packages/{'ab' * 32}/demo-1.0-py3-none-any.whl"
    assert json.loads(render_project_json(page, index="unstable", public_url=STORE)) == {
        "meta": {"api-version": "1.4", "_last-serial": 7},
        "name": "demo",
        "project-status": {"status": "archived", "reason": "moved"},
        "versions": ["1.0"],
        "files": [
            {
                "filename": "demo-1.0-py3-none-any.whl",
                "url": url,
                "hashes": {"sha256": "ab" * 32},
                "requires-python": ">=3.11",
                "size": 10,
                "upload-time": "2026-11-21T08:00:00.000000Z",
                "yanked": "broken",
                "core-metadata": {"sha256": "cd" * 32},
                "provenance": f"{STORE}packages/{'ab' * 32}/demo-1.0-py3-none-any.whl.provenance",
            }
        ],
    }


def test_json_never_has_the_old_metadata_key_that_breaks_pip() -> None:
    page = ProjectPage("demo", (page_file(has_metadata=True),))
    assert b"dist-info-metadata" not in render_project_json(page, index="unstable", public_url=STORE)


def test_yank_without_a_reason_is_true_in_json_and_empty_in_html() -> None:
    page = ProjectPage("demo", (page_file(is_yanked=True),))
    assert (
        json.loads(render_project_json(page, index="stable", public_url=STORE))["files"][0]["yanked"] is True
    )
    assert b'data-yanked=""' in render_project_html(page, index="stable", public_url=STORE)


def test_links_of_an_index_below_a_team_go_one_folder_further_up() -> None:
    page = ProjectPage("demo", (page_file(),))
    url = json.loads(render_project_json(page, index="risk/stable", public_url=STORE))["files"][0]["url"]
    assert url.startswith("../../../../packages/")
    assert b'href="../../../../packages/' in render_project_html(page, index="risk/stable", public_url=STORE)


def test_local_version_is_percent_encoded_in_links() -> None:
    page = ProjectPage("demo", (page_file("demo-1.0+g1a2b3c4-py3-none-any.whl"),))
    rendered = json.loads(render_project_json(page, index="stable", public_url=STORE))
    assert rendered["files"][0]["url"].endswith("/demo-1.0%2Bg1a2b3c4-py3-none-any.whl")
    assert rendered["versions"] == ["1.0+g1a2b3c4"]


class Links(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []
        self.metas: dict[str | None, str | None] = {}
        self.tags: set[str] = set()
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes)
        if tag == "meta" and "name" in attributes:
            self.metas[attributes["name"]] = attributes.get("content")


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
def test_every_value_is_escaped_in_html(reason: str, python: str, filename: str) -> None:
    hostile = f'"><script>alert(1)</script>{reason}'
    file = page_file(f"{filename}'<b>.whl", is_yanked=True, yank_reason=hostile, requires_python=f"<{python}")
    page = ProjectPage("demo", (file,), status=ProjectStatus("archived", hostile))
    seen = Links(render_project_html(page, index="stable", public_url=STORE))
    assert seen.tags == {"html", "head", "meta", "title", "body", "h1", "a", "br"}
    (link,) = seen.links
    assert link["data-yanked"] is not None
    assert seen.metas["pypi:repository-version"] == "1.4"
    assert seen.metas["pypi:project-status"] == "archived"
    assert seen.metas["pypi:project-status-reason"] is not None


def test_html_carries_all_that_belongs_to_version_1_4_and_nothing_newer() -> None:
    file = page_file(requires_python=">=3.11", is_yanked=True, has_metadata=True, has_provenance=True)
    seen = Links(render_project_html(ProjectPage("demo", (file,)), index="stable", public_url=STORE))
    assert set(seen.metas) == {"pypi:repository-version", "pypi:project-status"}
    (link,) = seen.links
    assert set(link) == {
        "href",
        "data-requires-python",
        "data-yanked",
        "data-core-metadata",
        "data-dist-info-metadata",
        "data-provenance",
    }
    assert link["data-provenance"] == f"{STORE}packages/{'ab' * 32}/demo-1.0-py3-none-any.whl.provenance"


def test_html_carries_the_old_metadata_attribute_beside_the_new_one() -> None:
    page = ProjectPage("demo", (page_file(has_metadata=True, metadata_sha256="cd" * 32),))
    (link,) = Links(render_project_html(page, index="stable", public_url=STORE)).links
    assert link["data-core-metadata"] == link["data-dist-info-metadata"] == f"sha256={'cd' * 32}"


def test_versions_are_listed_once_in_their_order() -> None:
    names = [
        "demo-1.10.tar.gz",
        "demo-1.9.tar.gz",
        "demo-1.9-py3-none-any.whl",
        "demo.exe",
        "demo-2.0rc1.zip",
    ]
    assert versions_of([page_file(name) for name in names]) == ["1.9", "1.10", "2.0rc1"]


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("demo-1.0-py3-none-any.whl", "1.0"),
        ("demo-1.0-2-cp311-cp311-linux_x86_64.whl", "1.0"),
        ("a_b-1.0.post1-py2.py3-none-any.whl", "1.0.post1"),
        ("a-b-1.0.tar.gz", "1.0"),
        ("demo-1.0-RC1.tar.gz", None),
        ("demo-01.0.zip", "1.0"),
        ("demo-1.0.win32-py2.6.exe", None),
        ("demo-1.0-py3.7.egg", None),
        ("demo.whl", None),
    ],
)
def test_version_is_read_from_the_filename(filename: str, version: str | None) -> None:
    assert version_in_filename(filename) == version


def test_list_of_projects_links_to_their_pages() -> None:
    assert json.loads(render_list_json(["a", "b-c"], serial=3)) == {
        "meta": {"api-version": "1.4", "_last-serial": 3},
        "projects": [{"name": "a"}, {"name": "b-c"}],
    }
    assert [link["href"] for link in Links(render_list_html(["a", "b-c"])).links] == ["a/", "b-c/"]
