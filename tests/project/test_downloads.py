"""Downloads of declared data, from a real server on loopback over TLS."""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from conveyor.errors import Forbidden, UpstreamFailed
from conveyor.project.downloads import download, signature
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from upstreams import RunningUpstream

CONTENT = bytes(range(256)) * 64
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningUpstream]:
    with running_upstream(tls_folder=tmp_path / "tls") as upstream:
        monkeypatch.setenv("SSL_CERT_FILE", str(upstream.cert))
        yield upstream


def cut(at: int, **headers: str) -> Served:
    """The server promises all of it and breaks off."""
    return Served(CONTENT[:at], headers={"Content-Length": str(len(CONTENT)), **headers})


def test_download_that_broke_off_is_continued(upstream: RunningUpstream, tmp_path: Path) -> None:
    upstream.paths["/rows.csv"] = cut(1000, ETag='"one"')
    target, told = tmp_path / "deep" / "rows.csv", list[tuple[int, int | None]]()
    with pytest.raises(UpstreamFailed, match="broke off") as broken:
        download(f"{upstream.root}/rows.csv", target)
    assert broken.value.hint == "try again: it continues where it stopped"
    assert not target.exists()
    upstream.paths["/rows.csv"] = Served(CONTENT, headers={"ETag": '"one"'})
    found = download(f"{upstream.root}/rows.csv", target, on_progress=lambda *now: told.append(now))
    assert (found, target.read_bytes()) == (DIGEST, CONTENT)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert upstream.requests[-1][2]["range"] == "bytes=1000-"
    assert [path.name for path in target.parent.iterdir()] == ["rows.csv"]


def test_download_that_never_began_did_not_break_off(tmp_path: Path) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}/rows.csv"
    with pytest.raises(UpstreamFailed, match=r"rows\.csv cannot be downloaded: ") as refused:
        download(url, tmp_path / "rows.csv")
    assert refused.value.hint == "is the address right, and can this machine reach it?"


@pytest.mark.parametrize("validator", ['"two"', 'W/"one"', ""])
def test_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    upstream: RunningUpstream, tmp_path: Path, validator: str
) -> None:
    upstream.paths["/rows.csv"] = cut(1000, ETag='"one"' if validator == '"two"' else validator)
    upstream.paths["/rows.csv"].body = b"x" * 1000
    with pytest.raises(UpstreamFailed):
        download(f"{upstream.root}/rows.csv", tmp_path / "rows.csv")
    upstream.paths["/rows.csv"] = Served(CONTENT, headers={"ETag": validator})
    assert download(f"{upstream.root}/rows.csv", tmp_path / "rows.csv") == DIGEST


def test_judged_download_connects_to_the_judged_address_and_has_redirects_judged(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    asked: list[str] = []

    def judge(url: str) -> tuple[str, ...]:
        asked.append(url)
        if "inner" in url:
            raise Forbidden(f"{url} is inside")
        return ("127.0.0.1",)

    port = urlsplit(upstream.root).port
    root = f"https://localhost:{port}"
    upstream.paths["/rows.csv"] = Served(CONTENT)
    for name, place in {
        "there": "/rows.csv",
        "inner": "/inner.csv",
        "plain": f"http://localhost:{port}/",
    }.items():
        upstream.paths[f"/to-{name}"] = Served(status=302, headers={"Location": place})
    assert download(f"{root}/to-there", tmp_path / "rows.csv", judge=judge) == DIGEST
    assert asked == [f"{root}/to-there", f"{root}/rows.csv"]
    assert upstream.requests[-1][2]["host"] == f"localhost:{port}"
    with pytest.raises(Forbidden, match="inside"):
        download(f"{root}/to-inner", tmp_path / "inner.csv", judge=judge)
    with pytest.raises(UpstreamFailed, match="over https alone"):
        download(f"{root}/to-plain", tmp_path / "plain.csv", judge=judge)
    assert not any(path in ("/inner.csv", "/") for _, path, _ in upstream.requests)


def test_refusal_names_the_address_and_the_status(upstream: RunningUpstream, tmp_path: Path) -> None:
    with pytest.raises(UpstreamFailed, match=r"/absent\.csv cannot be downloaded: the server answers 404"):
        download(f"{upstream.root}/absent.csv", tmp_path / "absent.csv")
    assert not list(tmp_path.glob("absent*"))


def test_s3_address_is_requested_from_its_endpoint_signed_if_there_are_keys(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    upstream.paths["/bucket/a%20b/rows.csv"] = Served(CONTENT)
    place = {"AWS_ENDPOINT_URL": upstream.root}
    download("s3://bucket/a b/rows.csv", tmp_path / "open", variables=place)
    assert "authorization" not in upstream.requests[-1][2]
    keys = {"AWS_ACCESS_KEY_ID": "ID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_REGION": "eu-west-1"}
    download("s3://bucket/a b/rows.csv", tmp_path / "signed", variables=place | keys)
    sent = upstream.requests[-1][2]
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ID/")
    assert (
        "/eu-west-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date"
        in (sent["authorization"])
    )


def test_signature_is_that_of_the_documented_example() -> None:
    """Amazon S3 API reference, "Signature Calculations for the Authorization Header", GET Object."""
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "range": "bytes=0-9",
        "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-amz-date": "20130524T000000Z",
    }
    key, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    written = signature("/test.txt", headers, key=key, secret=secret, region="us-east-1")
    assert written.endswith("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
