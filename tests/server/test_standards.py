"""The standards of reading, asked of a serving store over HTTP, and read by a parser that is not ours."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest
import zstandard
from pypi_simple import ProjectPage
from urllib3 import HTTPHeaderDict
from urllib3.filepost import encode_multipart_formdata
from urllib3.util import make_headers

from attestations_made import make_attestation
from conveyor.domain.indexes.simple_api import HTML, JSON, TEXT_HTML
from distributions_made import core_metadata, make_sdist, make_wheel
from makers import ADMIN_PASSWORD
from running_stores import running_store, serve_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import urllib3
    from pypi_simple import DistributionPackage

    from distributions_made import Made
    from running_stores import RunningStore

ADMIN = make_headers(basic_auth=f"admin:{ADMIN_PASSWORD}")
REASON = """<b>"broken" & 'worse'</b>"""
PAGE = "/unstable/simple/demo/"
LIST = "/unstable/simple/"
WHEEL = make_wheel(metadata=core_metadata(requires_python=">=3.8,<4", requires=["numpy"]))
SDIST = make_sdist(metadata=core_metadata(requires_python=">=3.8,<4", requires=["numpy"]))
DYNAMIC = make_sdist(
    version="1.1", metadata=core_metadata(version="1.1", fields=[("Dynamic", "Requires-Dist")])
)
LOCAL = make_wheel(version="1.2+g1a2b3c4", extra={"demo/data.bin": bytes(50_000)}, compression=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """``demo``: a yanked release with an attested wheel, a dynamic sdist, a local version; deprecated."""
    with running_store(tmp_path_factory.mktemp("standards") / "store") as served:
        _upload(served, WHEEL, attestations=json.dumps([make_attestation(WHEEL)]))
        for made in (SDIST, DYNAMIC, LOCAL):
            _upload(served, made)
        base = "/api/v1/projects/demo"
        for path, body in [
            (f"{base}/releases/1.0/yank", {"reason": REASON}),
            (f"{base}/status", {"status": "deprecated", "reason": REASON}),
        ]:
            assert served.request("PUT", path, json=body, headers=ADMIN).status == 200
        yield served


def _upload(store: RunningStore, made: Made, **form: str) -> None:
    pairs: list[tuple[str, Any]] = [(name, value) for name, (value,) in made.form.items()]
    body, kind = encode_multipart_formdata(
        [*pairs, *form.items(), ("content", (made.filename, made.content))]
    )
    answer = store.request("POST", "/unstable/legacy/", body=body, headers={**ADMIN, "Content-Type": kind})
    assert answer.status == 200, answer.data


def url_of(made: Made) -> str:
    return f"/packages/{made.sha256}/{made.filename.replace('+', '%2B')}"


def page(store: RunningStore) -> Any:
    return store.get(PAGE, Accept=JSON).json()


def parsed(store: RunningStore, media: str) -> ProjectPage:
    """The page as pypi-simple reads it."""
    answer = store.get(PAGE, Accept=media)
    if media == JSON:
        return ProjectPage.from_json_data(answer.json(), base_url=store.url + PAGE)
    return ProjectPage.from_html("demo", answer.data, base_url=store.url + PAGE)


def said_of(package: DistributionPackage) -> dict[str, Any]:
    """What both forms of a page say of a file."""
    return {
        "filename": package.filename,
        "url": package.url,
        "version": package.version,
        "digests": package.digests,
        "requires_python": package.requires_python,
        "is_yanked": package.is_yanked,
        "yanked_reason": package.yanked_reason,
        "has_metadata": bool(package.has_metadata),
        "metadata_digests": package.metadata_digests,
        "provenance": package.provenance_url,
    }


def headers_of(answer: urllib3.BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}


@pytest.mark.parametrize("media", [HTML, TEXT_HTML])
def test_both_forms_of_a_page_say_the_same_to_a_parser_of_others(store: RunningStore, media: str) -> None:
    of_json, of_html = parsed(store, JSON), parsed(store, media)
    assert [said_of(one) for one in of_json.packages] == [said_of(one) for one in of_html.packages]
    for read in (of_json, of_html):
        assert (read.repository_version, read.status, read.status_reason) == ("1.4", "deprecated", REASON)


def test_page_says_of_each_file_what_is_true_of_it(store: RunningStore) -> None:
    packages = {package.filename: package for package in parsed(store, JSON).packages}
    assert set(packages) == {made.filename for made in (WHEEL, SDIST, DYNAMIC, LOCAL)}
    for made in (WHEEL, SDIST, DYNAMIC, LOCAL):
        package = packages[made.filename]
        assert store.get(package.url.removeprefix(store.url)).data == made.content
        assert (package.size, package.digests) == (len(made.content), {"sha256": made.sha256})
    assert [packages[made.filename].is_yanked for made in (WHEEL, SDIST, LOCAL)] == [True, True, False]
    assert packages[WHEEL.filename].requires_python == ">=3.8,<4"
    assert packages[WHEEL.filename].yanked_reason == REASON
    provenance = packages[WHEEL.filename].provenance_url
    assert provenance == f"{store.url}{url_of(WHEEL)}.provenance"
    served = store.get(provenance.removeprefix(store.url))
    assert served.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
    assert served.json()["version"] == 1


def test_times_sizes_and_versions_have_the_form_of_the_standard(store: RunningStore) -> None:
    found = page(store)
    assert found["versions"] == ["1.0", "1.1", "1.2+g1a2b3c4"]
    for file in found["files"]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", file["upload-time"])
        assert isinstance(file["size"], int)


def test_anchor_has_the_filename_as_its_text_and_the_digest_in_its_link(store: RunningStore) -> None:
    text = store.get(PAGE, Accept=TEXT_HTML).data.decode()
    links = dict(re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', text))
    assert links == {
        f"../../..{url_of(made)}#sha256={made.sha256}": made.filename
        for made in (WHEEL, SDIST, DYNAMIC, LOCAL)
    }
    assert REASON not in text


@pytest.mark.parametrize("path", [PAGE, LIST])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (f"{HTML};q=0.2, {JSON}", JSON),
        (f"{HTML}, {JSON};q=0.2", f"{HTML}; charset=utf-8"),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("application/vnd.pypi.simple.latest+html", f"{HTML}; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
    ],
)
def test_form_is_negotiated_and_named_with_its_version(
    store: RunningStore, path: str, accept: str, kind: str
) -> None:
    answer = store.get(path, Accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert '"1.4"' in answer.data.decode(), "every page names the version of the API (PEP 629)"
    unserved = store.get(path, Accept="application/vnd.pypi.simple.v2+json")
    assert unserved.status == 406


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PAGE, {"Accept": JSON}),
        (PAGE, {"Accept": HTML, "Accept-Encoding": "gzip"}),
        (LIST, {"Accept": JSON}),
        (url_of(WHEEL), {}),
        (url_of(LOCAL), {"Range": "bytes=-100"}),
        (f"{url_of(WHEEL)}.metadata", {}),
        (f"{url_of(WHEEL)}.provenance", {}),
        ("/unstable/pypi/demo/json", {}),
        ("/unstable/simple/Demo", {}),
        (f"/packages/{'0' * 64}/{WHEEL.filename}", {}),
    ],
)
def test_head_is_get_without_the_body(store: RunningStore, path: str, headers: dict[str, str]) -> None:
    get = store.request("GET", path, headers=headers, decode_content=False)
    head = store.request("HEAD", path, headers=headers)
    assert (head.status, headers_of(head), head.data) == (get.status, headers_of(get), b"")
    assert int(get.headers["content-length"]) == len(get.data)


@pytest.mark.parametrize("accept", [JSON, HTML, TEXT_HTML])
def test_pages_are_compressed_as_the_client_can_read_it(store: RunningStore, accept: str) -> None:
    answers = {
        coding: store.request(
            "GET", PAGE, headers={"Accept": accept, "Accept-Encoding": coding}, decode_content=False
        )
        for coding in ("identity", "gzip", "zstd")
    }
    plain = answers["identity"].data
    assert gzip.decompress(answers["gzip"].data) == zstandard.decompress(answers["zstd"].data) == plain
    assert "content-encoding" not in answers["identity"].headers
    assert len({answer.headers["etag"] for answer in answers.values()}) == 3


@pytest.mark.parametrize("made", [WHEEL, SDIST, LOCAL], ids=lambda made: made.filename)
def test_files_are_never_compressed_and_kept_permanently(store: RunningStore, made: Made) -> None:
    for path, content in [(url_of(made), made.content), (f"{url_of(made)}.metadata", None)]:
        answer = store.request(
            "GET", path, headers={"Accept-Encoding": "gzip, deflate, zstd, br"}, decode_content=False
        )
        assert content in (None, answer.data)
        headers = headers_of(answer)
        assert "content-encoding" not in headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["accept-ranges"] == "bytes"
        assert headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch('"[0-9a-f]{64}"', headers["etag"]), "strong, and the digest of what is sent"
        again = store.get(path, **{"If-None-Match": headers["etag"]})
        assert (again.status, again.data) == (304, b"")


def test_pages_are_asked_for_again_each_time_and_answered_304(store: RunningStore) -> None:
    answer = store.get(PAGE, Accept=JSON)
    headers = headers_of(answer)
    assert headers["cache-control"] == "no-cache"
    assert headers["vary"] == "Accept, Accept-Encoding"
    assert headers["x-pypi-last-serial"] == str(answer.json()["meta"]["_last-serial"])
    assert headers["etag"].startswith('"'), "strong"
    again = store.get(PAGE, **{"Accept": JSON, "If-None-Match": headers["etag"]})
    assert (again.status, again.data, again.headers["etag"]) == (304, b"", headers["etag"])


CONDITIONED = [PAGE, LIST, "/unstable/pypi/demo/json", url_of(WHEEL), f"{url_of(WHEEL)}.metadata"]


@pytest.mark.parametrize("path", CONDITIONED)
def test_conditions_on_several_lines_are_one_list(store: RunningStore, path: str) -> None:
    etag = store.get(path).headers["etag"]
    for listed in ([etag, '"other"'], ['"other"', etag]):
        lines = HTTPHeaderDict([("If-None-Match", value) for value in listed])
        assert store.request("GET", path, headers=lines).status == 304
    lines = HTTPHeaderDict([("If-None-Match", '"one"'), ("If-None-Match", '"other"')])
    assert store.request("GET", path, headers=lines).status == 200


@pytest.mark.parametrize("path", CONDITIONED)
def test_if_match_of_another_etag_is_412(store: RunningStore, path: str) -> None:
    answer = store.get(path)
    etag = answer.headers["etag"]
    for listed in ('"other"', f"W/{etag}"):  # a weak ETag is never the same
        refused = store.get(path, **{"If-Match": listed, "If-None-Match": etag, "Range": "bytes=0-1"})
        assert refused.status == 412
        assert refused.json()["title"] == "PreconditionFailed"
        assert store.request("HEAD", path, headers={"If-Match": listed}).status == 412
    for listed in (etag, "*", f'"other", {etag}'):
        whole = store.get(path, **{"If-Match": listed})
        assert (whole.status, whole.data) == (200, answer.data)
    assert store.get(path, **{"If-Match": etag, "If-None-Match": etag}).status == 304


@pytest.mark.parametrize("made", [WHEEL, LOCAL], ids=["small", "large"])
def test_ranges_are_answered_by_a_serving_store(store: RunningStore, made: Made) -> None:
    size, content = len(made.content), made.content
    etag = f'"{made.sha256}"'

    def asked(**headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return store.request("GET", url_of(made), headers=named, decode_content=False)

    for wanted, first, last in [("bytes=0-9", 0, 10), ("bytes=7-", 7, size), ("bytes=-20", size - 20, size)]:
        answer = asked(Range=wanted, If_Range=etag)
        assert (answer.status, answer.data) == (206, content[first:last])
        assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{size}"
    several = asked(Range="bytes=0-9,20-29")
    assert several.status == 206
    assert several.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert content[:10] in several.data
    assert content[20:30] in several.data
    assert (asked(Range="bytes=0-9", If_Range='"other"').data) == content
    beyond = asked(Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/unstable/simple", LIST),
        ("/unstable/simple/demo", PAGE),
        ("/unstable/simple/De_Mo", "/unstable/simple/de-mo/"),
        (f"/unstable/simple/DEMO/?format={JSON.replace('+', '%2B')}", PAGE),
    ],
)
def test_other_spelling_leads_to_the_page_with_its_query(store: RunningStore, path: str, target: str) -> None:
    answer = store.get(path)
    assert answer.status == 301
    to = urljoin(store.url + path, answer.headers["location"]).removeprefix(store.url)
    assert to == target + ("?" + path.partition("?")[2] if "?" in path else "")


def test_links_that_may_not_be_relative_name_the_public_url(tmp_path: Path) -> None:
    environment = serve_environment(CONVEYOR_PUBLIC_URL="https://packages.example/store")
    with running_store(tmp_path / "store", environment=environment) as behind_a_proxy:
        _upload(behind_a_proxy, WHEEL, attestations=json.dumps([make_attestation(WHEEL)]))
        (file,) = page(behind_a_proxy)["files"]
        (described,) = behind_a_proxy.get("/unstable/pypi/demo/json").json()["urls"]
    assert file["url"] == f"../../..{url_of(WHEEL)}"
    assert file["provenance"] == f"https://packages.example/store{url_of(WHEEL)}.provenance"
    assert described["url"] == f"https://packages.example/store{url_of(WHEEL)}"
