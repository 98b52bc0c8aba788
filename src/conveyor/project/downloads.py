"""Downloads of declared data: from https and s3 addresses, resumed where they broke off, checked by digest.

What has arrived is kept beside the target with the validator of the server (``ETag`` or ``Last-Modified``),
and continued by ``Range`` with ``If-Range`` (RFC 9110, sections 13.1.5 and 14.2): a server whose file changed
meanwhile sends all of it. The digest decides in the end, whatever any server says.

``s3://BUCKET/KEY`` is requested over https from the endpoint in ``AWS_ENDPOINT_URL_S3`` or
``AWS_ENDPOINT_URL``, else from the region's. With ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` it is
signed (AWS, "Authenticating requests: using the Authorization header (AWS Signature Version 4)"), else asked
as anybody may.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from netrc import netrc as NetRC  # noqa: N812 - a class of the standard library
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from conveyor.client.connection import CHUNK_BYTES, cause_of
from conveyor.errors import StorageFailed, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Progress = Callable[[int, int | None], None]
    """Called with (bytes that are here, all bytes or ``None`` where the server does not say)."""

ATTEMPTS = 4
_NOTHING = hashlib.sha256(b"").hexdigest()


def download(
    url: str,
    target: Path,
    *,
    on_progress: Progress | None = None,
    variables: Mapping[str, str] | None = None,
    netrc: Path | None = None,
) -> str:
    """Fetch a file to ``target`` and return its SHA-256; an interrupted download is continued.

    Args:
        url: an address that begins with https:// or s3://.
        target: where it goes; ``target.part`` and ``target.part.json`` hold what has arrived.
        on_progress: told of each piece.
        variables: the environment; ``None`` means that of this process.
        netrc: a file with the credentials of the server; ``None``: it is asked as anybody may.

    Raises:
        UpstreamFailed: the server refuses it or broke off too often; what arrived stays.
        StorageFailed: it cannot be written.
    """
    part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    variables = os.environ if variables is None else variables
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _receive(url, part, notes, variables, on_progress, netrc)
                break
            except HTTPError as error:
                if attempt == ATTEMPTS:
                    if not (part.is_file() and part.stat().st_size):
                        raise UpstreamFailed(
                            f"{url} cannot be downloaded: {cause_of(error)}",
                            hint="is the address right, and can this machine reach it?",
                        ) from error
                    raise UpstreamFailed(
                        f"the download of {url} broke off: {cause_of(error)}",
                        hint="try again: it continues where it stopped",
                    ) from error
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        part.replace(target)
        notes.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"{target} cannot be written: {error.strerror or error}") from error
    return sha256


def _receive(
    url: str, part: Path, notes: Path, variables: Mapping[str, str], on_progress: Progress | None,
    netrc: Path | None,
) -> None:  # fmt: skip
    """Append to ``part`` what is missing, or write it anew if the server's file is another one."""
    here, validator = _kept(url, part, notes)
    asked = {"User-Agent": "conveyor-client", "Accept-Encoding": "identity"}
    if here and validator:
        asked |= {"Range": f"bytes={here}-", "If-Range": validator}
    address, headers = _addressed(url, asked, variables)
    if netrc is not None and (known := NetRC(netrc).authenticators(urlsplit(url).hostname or "")) is not None:
        headers |= urllib3.make_headers(basic_auth=f"{known[0]}:{known[2]}")
    timeout = Timeout(connect=10, read=60)
    with urllib3.PoolManager(timeout=timeout) as pool:
        answer = pool.request(
            "GET", address, headers=headers, preload_content=False,
            retries=Retry(total=5, connect=2, read=0, redirect=5, status=0),
        )  # fmt: skip
        try:
            if answer.status == 416 and here:  # all of it is here, or the file has become shorter
                part.unlink()
                notes.unlink(missing_ok=True)
                raise urllib3.exceptions.ProtocolError("the file is another one than before")
            if answer.status not in (200, 206):
                raise UpstreamFailed(
                    f"{url} cannot be downloaded: the server answers {answer.status}",
                    hint="is the address right, and may this machine read it?",
                )
            here = here if answer.status == 206 else 0
            length = answer.headers.get("Content-Length", "")
            total = here + int(length) if length.isdigit() else None
            found = answer.headers.get("ETag", "")
            strong = found if found and not found.startswith("W/") else answer.headers.get("Last-Modified")
            notes.write_text(json.dumps({"url": url, "validator": strong}), encoding="utf-8")
            with part.open("r+b" if here else "wb") as file:
                file.seek(here)
                while chunk := answer.read1(CHUNK_BYTES):  # stream() drops the bytes before a break
                    file.write(chunk)
                    here += len(chunk)
                    if on_progress is not None:
                        on_progress(here, total)
            if total is not None and here != total:
                raise urllib3.exceptions.ProtocolError(f"{here} of {total} bytes came")
        finally:
            answer.close()


def _kept(url: str, part: Path, notes: Path) -> tuple[int, str | None]:
    """How many bytes are here, and the validator under which more of the same can be asked for."""
    with suppress(OSError, ValueError):
        known = json.loads(notes.read_text(encoding="utf-8"))
        if known["url"] == url and isinstance(known["validator"], str):
            return part.stat().st_size, known["validator"]
    return 0, None


def _addressed(url: str, headers: dict[str, str], variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The https address of a file and the headers to request it with."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return url, headers
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    endpoint = (endpoint or f"https://s3.{region}.amazonaws.com").rstrip("/")
    path = quote(f"/{parts.netloc}{parts.path}", safe="/-_.~")
    key, secret = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return endpoint + path, headers
    now = datetime.now(UTC)
    signed = {"host": urlsplit(endpoint).netloc, "x-amz-content-sha256": _NOTHING}
    signed["x-amz-date"] = now.strftime("%Y%m%dT%H%M%SZ")
    if variables.get("AWS_SESSION_TOKEN"):
        signed["x-amz-security-token"] = variables["AWS_SESSION_TOKEN"]
    authorization = signature(path, signed, key=key, secret=secret, region=region)
    del signed["host"]  # the connection sets it
    return endpoint + path, headers | signed | {"Authorization": authorization}


def signature(path: str, headers: Mapping[str, str], *, key: str, secret: str, region: str) -> str:
    """The ``Authorization`` of a GET request without a query, whose lower-case headers are all signed."""
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    request = f"GET\n{path}\n\n{lines}\n{names}\n{_NOTHING}"
    moment = headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    derived = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        derived = hmac.digest(derived, part.encode(), "sha256")
    signed = hmac.new(derived, text.encode(), "sha256").hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={signed}"
