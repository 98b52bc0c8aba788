"""Requests that no client sends, byte by byte: each is answered with a clear error, and the store goes on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from distributions_made import make_wheel
from fuzz.sockets import ADMIN, BOUNDARY, chunked, exchange, form_part, request_head, upload_head
from fuzz.zip_mutations import damaged
from running_stores import RunningStore, ready_url, running_store, serve_environment, start_serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("requests")

PAGE = "/unstable/simple/demo/"
MADE = make_wheel()
FILE_PATH = f"/packages/{MADE.sha256}/{MADE.filename}"
FILE_PART = form_part("content", MADE.content, filename=MADE.filename)
FIELDS = b"".join(form_part(name, values[0].encode()) for name, values in MADE.form.items())
END = b"--bdry--\r\n"
FORM = FIELDS + FILE_PART + END
DAMAGED_FORMS, MANY_DAMAGED_FORMS = 150, 5_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    environment = serve_environment(CONVEYOR_CLIENT_PAUSE_SECONDS="2")
    with running_store(tmp_path_factory.mktemp("requests") / "store", environment=environment) as running:
        assert exchange(running.url, upload_head(len(FORM)), FORM).status == 200
        yield running


@pytest.fixture(autouse=True)
def _still_serves(store: RunningStore) -> Iterator[None]:
    """After each test the same process answers, and no temporary is left."""
    yield
    assert store.get(PAGE).status == 200
    assert temporaries(store) == []


def temporaries(store: RunningStore) -> list[Path]:
    return list((store.data / "blobs" / "temporary").iterdir())


def test_form_in_chunks_of_any_size_is_an_upload(store: RunningStore) -> None:
    for size in (1, 7, 1000, len(FORM)):
        pieces = [FORM[at : at + size] for at in range(0, len(FORM), size)]
        reply = exchange(store.url, upload_head(None), b"".join(chunked(pieces)))
        assert (reply.status, b"was already in" in reply.body) == (200, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", b"cut off"),
        (END, b"no file"),
        (b"\0" * 1000, b"cannot be read"),
        (b"--other\r\n\r\n--other--", b"cannot be read"),
        (FIELDS, b"cut off"),
        (FIELDS + FILE_PART, b"cut off"),
        (FIELDS + FILE_PART + FILE_PART + END, b"two files"),
        (form_part("name", b"other") + FORM, b"name"),
        (form_part(b"\xff", b"x") + FORM, b"not UTF-8"),
        (form_part(b"a\0b", b"x") * 2 + FORM, b"was already in"),
        (FIELDS + form_part("content", b"x", filename="a\0.whl") + END, b"is refused"),
        (FIELDS + form_part("content", b"x", filename="../" * 99 + "a.whl") + END, b"is refused"),
        (b"--bdry\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"cannot be read"),
        (b"--bdry\r\nContent-Disposition: form-data; name=" + b"a" * 10**6, b"cannot be read"),
        (b"--bdry\r\n" + b"A" * 10**6, b"cannot be read"),
        (form_part("x", b"") * 10_001 + END, b"more than 10,000 parts"),
        (form_part("x", bytes(17 * 1024 * 1024)) + FORM, b"more than 16,777,216 bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_broken_form_is_answered_in_a_sentence(store: RunningStore, body: bytes, said: bytes) -> None:
    reply = exchange(store.url, upload_head(len(body)), body)
    assert reply.status in (200, 400, 413)
    assert said in reply.body


def test_field_without_an_end_is_cut_at_the_limit(store: RunningStore) -> None:
    head = form_part("description", b"")[:-2]
    endless = (bytes(65_536) for _ in range(400))  # 25 MiB, in chunks, and no boundary
    reply = exchange(store.url, upload_head(None), b"".join(chunked([head, *endless])))
    assert reply.status == 413


@pytest.mark.parametrize("announced", [len(FORM) + 1, 10**9])
def test_body_shorter_than_announced_is_no_upload(store: RunningStore, announced: int) -> None:
    reply = exchange(store.url, upload_head(announced), FORM[:-10], is_ended=True)
    assert reply.status in (0, 400, 408)


def test_body_announced_beyond_the_limit_is_413_before_it_comes(store: RunningStore) -> None:
    assert exchange(store.url, upload_head(10**15, "Expect: 100-continue")).status == 413


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -5",),
        ("Content-Length: 5x",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: gzip",),
        ("Content-Length: 5, 5",),
        ("Content-Length: " + "9" * 100,),
    ],
)
def test_length_that_makes_no_sense_is_refused(store: RunningStore, lines: tuple[str, ...]) -> None:
    reply = exchange(store.url, request_head("POST", "/unstable/legacy/", ADMIN, *lines), is_ended=True)
    assert 400 <= reply.status < 500


@pytest.mark.parametrize(
    "chunk", [b"ZZ\r\nx\r\n", b"-1\r\n", b"5\r\nab", b"f" * 20 + b"\r\n", b"1;" + b"x" * 99_999]
)
def test_broken_chunks_are_no_upload(store: RunningStore, chunk: bytes) -> None:
    assert exchange(store.url, upload_head(None), chunk, is_ended=True).status in (0, 400, 408)


def damaged_form(seed: int) -> bytes:
    chance = Random(seed)  # noqa: S311 - repeatable, not secret
    body = FORM
    for _ in range(chance.randint(1, 3)):
        body = damaged(body, chance)
    return body


def check_damaged_forms(store: RunningStore, seeds: range) -> None:
    for seed in seeds:
        body = damaged_form(seed)
        reply = exchange(store.url, upload_head(len(body)), body)
        assert reply.status in (200, 400, 409, 413), f"seed {seed}: {reply}"


def test_damaged_forms_are_accepted_or_refused(store: RunningStore) -> None:
    check_damaged_forms(store, range(DAMAGED_FORMS))


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_many_damaged_forms_are_accepted_or_refused(store: RunningStore) -> None:
    check_damaged_forms(store, range(10**6, 10**6 + MANY_DAMAGED_FORMS))


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/unstable/simple/%00/",
            "/unstable/simple/..%2f..%2fetc/",
            "/unstable/simple/../../x/",
            "//",
            "/%",
        ),
        *("/%zz", "/unstable/simple/%ff%fe/", "/unstable/simple/d%C3%A9mo/", "/unstable/simple/de%CC%81mo/"),
        *("/unstable/simple/%C0%AE%C0%AE/", "/unstable/simple/demo%2F/", "/unstable/simple/" + "a" * 60_000),
        *("/packages/%00/x", "/packages/..%2f..%2fx/y", "/packages/" + "a" * 64 + "/%2e%2e%2fx", "*", "x"),
        *("/packages/" + MADE.sha256.upper() + "/x", "/packages/" + MADE.sha256 + "/", "/api/v1/%00"),
        *("/api/v1/projects/%ff", "/api/v1/projects/" + "%F0%9F%98%80" * 99, "/unstable/pypi/%00/json"),
        *("/unstable/simple/demo/?format=%ff", "/unstable/simple/demo/?" + "a=b&" * 9999, "/" * 9999, "/?#"),
        *("/unstable/legacy/%00", "http://other/unstable/simple/demo/", "/unstable\\simple/", "/ü".encode()),
    ],
    ids=lambda target: repr(target[:30]),
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_odd_path_is_answered(store: RunningStore, method: str, target: str | bytes) -> None:
    reply = exchange(store.url, request_head(method, target, "Content-Length: 0"))
    assert reply.status in (200, 301, 308, 400, 401, 403, 404, 405, 406), reply


@pytest.mark.parametrize("path", [PAGE, "/unstable/simple/", FILE_PATH, "/api/v1/status", "/healthz", "/"])
@pytest.mark.parametrize("method", ["FOO", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "A" * 500])
def test_method_that_nothing_answers_is_405_or_404(store: RunningStore, method: str, path: str) -> None:
    reply = exchange(store.url, request_head(method, path))
    assert reply.status in (404, 405), reply
    assert reply.status == 404 or "GET" in reply.headers["allow"]


HEADERS = {
    "Accept": [
        *(
            "*/*;q=0",
            ",",
            ";",
            ";q",
            "q=1",
            "text/html;q=nan",
            "text/html;q=inf",
            "text/html;q=1e400",
            "\xff",
        ),
        *("text/html;q=" + "9" * 5000, "a/b," * 30_000, ";q=0.1" * 16_000, "application/*;q=0.1,*/*;q=0"),
        *("text/html;q=-1", "text/html;charset=utf-8;q=0.5", '"', "application/vnd.pypi.simple.v99+json"),
    ],
    "Accept-Encoding": [
        *("gzip;q=0", "*", "*;q=0", "br," * 30_000, ";;;", "zstd;q=nan", "gzip;q=1_0", "\xff")
    ],
    "Range": [
        *("bytes=", "bytes=-", "bytes=--1", "bytes=9-1", "bytes=" + "0-0," * 16_000, "bytes=0-" + "9" * 9999),
        *(
            "bytes=-" + "9" * 18,
            "bytes=\xb2-3",
            "lines=1-2",
            "bytes=0-0,-1,5-",
            "bytes = 0 - 1",
            "bytes=1-2\t",
        ),
        *("bytes=" + "9" * 18 + "-", "bytes=0-,0-,0-", "bytes=" + "," * 50_000),
    ],
    "If-Range": ["*", '"', "W/", "Sat, 21 Nov 2026 08:00:00 GMT", "x" * 50_000, f'W/"{MADE.sha256}"'],
    "If-None-Match": ["*", '"', "W/" * 9999, ",", '"a",' * 20_000, "\xff"],
    "Authorization": [
        *("", "Basic", "Basic ", "Basic !!!", "Basic Og==", "Basic " + "A" * 50_000, "Bearer", "Bearer \xff"),
        *(
            "Basic /////w==",
            "Basic YWRtaW46AA==",
            "Basic AGE6Yg==",
            "Negotiate x",
            "Basic YWRtaW4=",
            "bearer  x",
        ),
    ],
    "Host": ["", "a b", "\xff", "[", "x" * 5000],
    "User-Agent": ["\xff\xfe", "x" * 60_000, '"\\'],
    "Origin": ["", "null", "http://[", "\xff"],
}


@pytest.mark.parametrize("name", HEADERS)
def test_odd_header_is_answered(store: RunningStore, name: str) -> None:
    for value in HEADERS[name]:
        for path in (PAGE, FILE_PATH, "/api/v1/indexes", "/unstable/pypi/demo/json"):
            with_range = ("Range: bytes=0-1",) if name == "If-Range" else ()
            reply = exchange(store.url, request_head("GET", path, f"{name}: {value}", *with_range))
            assert reply.status in (200, 206, 304, 400, 401, 406, 416, 431), f"{value[:50]!r}: {reply}"
            if reply.status == 206:
                assert len(reply.body) <= len(MADE.content) + 16 * 300


def test_broken_forms_do_not_fill_the_log(tmp_path: Path) -> None:
    """Each made a line on standard error; a pipe there that nobody reads filled up and stopped the worker."""
    process = start_serving(tmp_path / "store", "--port", "0")
    url = ready_url(process)
    assert [exchange(url, upload_head(5), b"-----").status for _ in range(5)] == [400] * 5
    process.terminate()
    assert process.communicate(timeout=60)[1] == ""


def test_more_headers_than_any_client_sends_are_431(store: RunningStore) -> None:
    assert exchange(store.url, request_head("GET", PAGE, *["X: y"] * 500)).status == 431
    assert exchange(store.url, request_head("GET", PAGE, "X: " + "y" * 10**6)).status in (0, 431)


def test_what_is_no_http_is_400_or_closed(store: RunningStore) -> None:
    for raw in (
        b"\x16\x03\x01\x02\0",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        assert exchange(store.url, raw, is_ended=True).status in (0, 400)


def test_boundary_of_the_form_may_be_odd_but_not_absent(store: RunningStore) -> None:
    assert BOUNDARY in FORM
    for boundary, status in (('"bdry"', 200), ("bdry; x=y", 200), ("", 400), ("b" * 300, 400), ("\xff", 400)):
        head = request_head(
            *("POST", "/unstable/legacy/", ADMIN, f"Content-Type: multipart/form-data; boundary={boundary}"),
            f"Content-Length: {len(FORM)}",
        )
        assert exchange(store.url, head, FORM).status == status, boundary
