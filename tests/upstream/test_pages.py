"""Pages of other indexes, in every form and version that one may meet."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.indexes.projects import ACTIVE, ProjectStatus
from conveyor.errors import UpstreamFailed
from conveyor.upstream.pages import PageReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.indexes.mirror import UpstreamFile, UpstreamPage

URL = "http://index.example/simple/demo/"
SHA256 = "ab" * 32
FILE = {"filename": "demo-1.0-py3-none-any.whl", "url": "demo.whl", "hashes": {"sha256": SHA256}}
JSON = "application/vnd.pypi.simple.v1+json"


def read(
    body: bytes, content_type: str, *, charset: str | None = None, cuts: Iterable[int] = ()
) -> UpstreamPage:
    """The page, arriving in pieces that are cut at some bytes."""
    reader = PageReader(URL, content_type=content_type, charset=charset)
    ends = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for begin, end in pairwise(ends):
        reader.feed(body[begin:end])
    reader.feed(b"", is_last=True)
    return reader.page('"1"')


def read_json(*files: dict[str, Any], version: object = "1.4", **more: Any) -> UpstreamPage:
    document = {"meta": {"api-version": version}, "name": "demo", "files": list(files), **more}
    return read(json.dumps(document).encode(), JSON)


def read_html(*links: str, head: str = "") -> UpstreamPage:
    return read(f"<html><head>{head}</head><body>{''.join(links)}</body></html>".encode(), "text/html")


def link(attributes: str = "", *, href: str = f"demo.whl#sha256={SHA256}") -> str:
    return f'<a href="{href}" {attributes}>demo-1.0-py3-none-any.whl</a><br/>'


def only(page: UpstreamPage) -> UpstreamFile:
    (file,) = page.files
    return file


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3", "1.4", "1.9", "1.21", None])
def test_pages_of_the_known_major_version_are_read(version: str | None) -> None:
    meta = f'<meta name="pypi:repository-version" content="{version}">' if version else ""
    assert only(read_json(FILE, version=version, unheard_of=[{"of": 1}])).sha256 == SHA256
    assert only(read_html(link(), head=meta)).sha256 == SHA256


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.1", "soon", ""])
def test_pages_of_another_major_version_are_refused_by_name(version: str) -> None:
    meta = f'<meta name="pypi:repository-version" content="{version}">'
    with pytest.raises(UpstreamFailed, match=f'version "{version}" of the simple API'):
        read_json(FILE, version=version)
    with pytest.raises(UpstreamFailed, match=f'version "{version}" of the simple API'):
        read_html(link(), head=meta)


def test_page_without_anything_but_the_oldest_standard_is_read() -> None:
    file = only(read(json.dumps({"name": "demo", "files": [FILE]}).encode(), "application/json"))
    assert (file.url, file.size_bytes, file.upload_time) == (
        "http://index.example/simple/demo/demo.whl",
        None,
        None,
    )
    assert (file.is_yanked, file.has_metadata, file.provenance_url) == (False, False, None)
    assert only(read_html(link())) == file


@pytest.mark.parametrize("key", ["core-metadata", "dist-info-metadata"])
def test_metadata_is_found_under_its_old_and_its_new_name(key: str) -> None:
    for value, digest in ((True, None), ({"sha256": SHA256}, SHA256), ({}, None)):
        file = only(read_json({**FILE, key: value}))
        assert (file.has_metadata, file.metadata_sha256) == (True, digest)
    assert not only(read_json({**FILE, key: False})).has_metadata
    for text, found in (
        ("true", (True, None)),
        (f"sha256={SHA256}", (True, SHA256)),
        ("false", (False, None)),
    ):
        file = only(read_html(link(f'data-{key}="{text}"')))
        assert (file.has_metadata, file.metadata_sha256) == found


def test_new_name_of_metadata_goes_before_the_old_one() -> None:
    both = {"core-metadata": False, "dist-info-metadata": {"sha256": SHA256}}
    assert not only(read_json({**FILE, **both})).has_metadata


@pytest.mark.parametrize(
    ("value", "is_yanked", "reason"),
    [(True, True, None), ("broken", True, "broken"), (False, False, None), ("", False, "")],
)
def test_yank_in_json(value: object, is_yanked: bool, reason: str | None) -> None:
    file = only(read_json({**FILE, "yanked": value}))
    assert (file.is_yanked, file.yank_reason) == (is_yanked, reason)


def test_yank_in_html_may_have_no_reason() -> None:
    assert only(read_html(link("data-yanked"))).is_yanked
    file = only(read_html(link('data-yanked="a &lt;b&gt;"')))
    assert (file.is_yanked, file.yank_reason) == (True, "a <b>")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("https://index.example/integrity/demo", "https://index.example/integrity/demo"),
        ("../../packages/demo.whl.provenance", "http://index.example/packages/demo.whl.provenance"),
        (None, None),
        ("", None),
        ("file:///etc/passwd", None),
        (7, None),
    ],
)
def test_provenance_is_an_address_or_none(value: object, found: str | None) -> None:
    assert only(read_json({**FILE, "provenance": value})).provenance_url == found
    if isinstance(value, str):
        assert only(read_html(link(f'data-provenance="{value}"'))).provenance_url == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"status": "archived", "reason": "done"}, ProjectStatus("archived", "done")),
        ({"status": "deprecated"}, ProjectStatus("deprecated")),
        ({"status": "active"}, ACTIVE),
        ({"status": "frozen", "reason": "of a later standard"}, ACTIVE),
        ("archived", ACTIVE),
        (None, ACTIVE),
    ],
)
def test_status_in_json(given: object, found: ProjectStatus) -> None:
    assert read_json(FILE, **{"project-status": given}).status == found


def test_status_in_html() -> None:
    head = '<meta name="pypi:project-status" content="quarantined">'
    assert read_html(link(), head=head).status == ProjectStatus("quarantined")
    head += '<META NAME="pypi:project-status-reason" CONTENT="malware &amp; more">'
    assert read_html(link(), head=head).status == ProjectStatus("quarantined", "malware & more")
    assert read_html(link()).status == ACTIVE


@pytest.mark.parametrize(
    "odd",
    [
        {"filename": 7},
        {"filename": "../evil.whl"},
        {"url": None},
        {"url": "javascript:alert(1)"},
        {"url": "http://[bad/x"},
        {"hashes": {"md5": "00"}},
        {"hashes": {"md5": "0" * 33}},
        {"hashes": {"sha256": None, "md5": "0" * 32}},
        {"hashes": {"sha256": "abc"}},
    ],
)
def test_odd_file_costs_that_file_only(odd: dict[str, Any]) -> None:
    assert only(read_json({**FILE, **odd}, FILE)).sha256 == SHA256


@pytest.mark.parametrize(
    "odd",
    [
        {"size": -1},
        {"size": "large"},
        {"size": True},
        {"upload-time": "yesterday"},
        {"upload-time": "2024-05-06T07:08:09"},
        {"upload-time": 7},
        {"requires-python": 3},
        {"core-metadata": "yes"},
        {"yanked": None},
        {"provenance": {}},
    ],
)
def test_odd_statement_costs_that_statement_only(odd: dict[str, Any]) -> None:
    assert only(read_json({**FILE, **odd})) == only(read_json(FILE))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b'{"files": 7}', b'{"meta": {}}', b"\xff", b"[" * 100_000]
)
def test_json_that_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="not a page of the simple API"):
        read(body, JSON)


def test_html_of_somebody_else_is_refused() -> None:
    with pytest.raises(UpstreamFailed, match="names no file"):
        read_html('<a href="/login">log in</a>')


def test_links_are_relative_to_the_base_of_the_page() -> None:
    head = '<base href="/files/"><base href="/second/is/ignored/">'
    assert only(read_html(link(), head=head)).url == "http://index.example/files/demo.whl"


def test_page_in_another_charset_is_read() -> None:
    body = f'<a href="d.whl#sha256={SHA256}" data-yanked="für immer">demo-1.0-py3-none-any.whl</a>'
    assert only(read(body.encode("latin-1"), "text/html", charset="latin-1")).yank_reason == "für immer"
    assert only(read(body.encode("utf-8-sig"), "text/html")).yank_reason == "für immer"
    with pytest.raises(UpstreamFailed):
        read(body.encode(), "text/html", charset="no-such-charset")


def test_links_that_are_not_closed_are_links_of_their_own() -> None:
    body = "".join(link().replace("</a>", "").replace("demo-1.0", f"demo-{number}.0") for number in (1, 2))
    assert [file.filename for file in read_html(body).files] == [
        "demo-1.0-py3-none-any.whl",
        "demo-2.0-py3-none-any.whl",
    ]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [*FILE, "size", "yanked", "upload-time", "core-metadata", "provenance", "requires-python"]
)


@given(st.lists(st.dictionaries(FIELDS, ANYTHING), max_size=3), ANYTHING, ANYTHING)
def test_whatever_json_says_is_read_or_refused(
    files: list[dict[str, Any]], status: object, meta: object
) -> None:
    document = {"meta": meta, "files": [{**FILE, **file} for file in files], "project-status": status}
    try:
        page = read(json.dumps(document).encode(), JSON)
    except UpstreamFailed:
        return
    assert all(file.sha256 is None or len(file.sha256) == 64 for file in page.files)


@given(st.text(max_size=300))
def test_whatever_html_says_is_read_or_refused(text: str) -> None:
    try:
        read(text.encode("utf-8", "surrogatepass"), "text/html")
    except UpstreamFailed:
        return


SOUND = (
    (
        json.dumps(
            {
                "meta": {"api-version": "1.4", "_more": [1, 2.5e3, -1, None]},
                "versions": ["1.0", "é"],
                "files": [{**FILE, "size": 12, "yanked": "ké"}, {**FILE, "filename": "a.zip", "size": 7}],
                "number": 10,
                "project-status": {"status": "archived", "reason": "x"},
            },
            ensure_ascii=False,
        ).encode("utf-8-sig"),
        JSON,
    ),
    (
        (
            '<meta name="pypi:project-status" content="archived"><base href="/b/"><script>a < b</script>'
            f"{link('data-yanked=&quot;é&quot;')}<!-- <a> -->{link()}<a>x</a>{link()} &amp; more <b"
        ).encode(),
        "text/html",
    ),
)


@given(st.lists(st.integers(0, 1000), max_size=20), st.sampled_from(SOUND))
def test_page_says_the_same_wherever_its_pieces_are_cut(cuts: list[int], sound: tuple[bytes, str]) -> None:
    body, content_type = sound
    whole = read(body, content_type)
    assert len(whole.files) >= 2
    assert read(body, content_type, cuts=cuts) == whole
    assert read(body, content_type, cuts=range(len(body))) == whole


@pytest.mark.parametrize(
    "body", [SOUND[0][0][:-1], SOUND[0][0] + b"x", SOUND[0][0].replace(b'["1.0"', b'["1.0",'), b"{7: 1}"]
)
def test_json_that_is_cut_off_or_goes_on_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="not a page of the simple API"):
        read(body, JSON, cuts=range(len(body)))


@pytest.mark.parametrize("charset", ["bz2", "punycode", "idna", "hex", "no-such-charset"])
def test_charset_that_is_not_of_text_is_refused(charset: str) -> None:
    with pytest.raises(UpstreamFailed, match="not a page of the simple API"):
        read(link().encode(), "text/html", charset=charset)


def test_more_values_or_tags_than_a_page_can_have_are_refused() -> None:
    with pytest.raises(UpstreamFailed, match="more than 400,000 values"):
        read(b'{"versions": [' + b"1," * 400_000, JSON)
    with pytest.raises(UpstreamFailed, match="more than 100,000 files"):
        read(b'{"files": [' + b"{}," * 100_001, JSON)
    with pytest.raises(UpstreamFailed, match="more than 400,000 tags"):
        read(b"<b>" * 400_001, "text/html")


def test_base_of_a_page_counts_for_links_before_it() -> None:
    page = read_html(link(), '<base href="/files/">')
    assert only(page).url == "http://index.example/files/demo.whl"
