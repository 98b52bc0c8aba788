"""Downloads of declared data: from https and s3 addresses, resumed where they broke off, checked by digest.

What has arrived is kept beside the target with the validator of the server (``ETag`` or ``Last-Modified``),
and continued by ``Range`` with ``If-Range`` (RFC 9110, sections 13.1.5 and 14.2): a server whose file changed
meanwhile sends all of it. The digest decides in the end, whatever any server says.

``s3://BUCKET/KEY`` is requested over https from the endpoint in ``AWS_ENDPOINT_URL_S3`` or
``AWS_ENDPOINT_URL``, else from the region's. With ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` it is
signed (AWS, "Authenticating requests: using the Authorization header (AWS Signature Version 4)"), else asked
as anybody may.

A worker downloads what any commit declares, so it has each address judged before it connects, also each that
a server redirects to, and connects to the very address that was judged: another look at the name could give
another one. The endpoint of ``s3`` in the worker's own variables is its operator's word.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from netrc import netrc as NetRC  # noqa: N812 - a class of the standard library
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from conveyor.client.connection import CHUNK_BYTES, cause_of
from conveyor.errors import StorageFailed, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from ssl import SSLContext

    Progress = Callable[[int, int | None], None]
    """Called with (bytes that are here, all bytes or ``None`` where the server does not say)."""
    Judge = Callable[[str], Sequence[str]]
    """Gives the addresses at which a URL may be asked, none for any; raises an error of ours to refuse it."""

ATTEMPTS = 4
MOST_REDIRECTS = 5
_NOTHING = hashlib.sha256(b"").hexdigest()


def download(
    url: str,
    target: Path,
    *,
    on_progress: Progress | None = None,
    variables: Mapping[str, str] | None = None,
    netrc: Path | None = None,
    judge: Judge | None = None,
) -> str:
    """Fetch a file to ``target`` and return its SHA-256; an interrupted download is continued.

    Args:
        url: an address that begins with https:// or s3://.
        target: where it goes; ``target.part`` and ``target.part.json`` hold what has arrived.
        on_progress: told of each piece.
        variables: the environment; ``None`` means that of this process.
        netrc: a file with the credentials of the server; ``None``: it is asked as anybody may.
        judge: judges each address before it is asked; ``None``: any may be, as on a developer's machine.

    Raises:
        UpstreamFailed: the server refuses it or broke off too often; what arrived stays. Or it redirects to
            what is not https, where addresses are judged.
        ConveyorError: what ``judge`` raises.
        StorageFailed: it cannot be written.
    """
    part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    variables = os.environ if variables is None else variables
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _receive(url, part, notes, variables, on_progress, netrc, judge)
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
    netrc: Path | None, judge: Judge | None,
) -> None:  # fmt: skip
    """Append to ``part`` what is missing, or write it anew if the server's file is another one."""
    here, validator = _kept(url, part, notes)
    asked = {"User-Agent": "conveyor-client", "Accept-Encoding": "identity"}
    if here and validator:
        asked |= {"Range": f"bytes={here}-", "If-Range": validator}
    address, headers = _addressed(url, asked, variables)
    if netrc is not None and (known := NetRC(netrc).authenticators(urlsplit(url).hostname or "")) is not None:
        headers |= urllib3.make_headers(basic_auth=f"{known[0]}:{known[2]}")
    is_ours = urlsplit(url).scheme == "s3" and _endpoint(variables) is not None
    with ExitStack() as stack:
        answer = _answered(stack, address, headers, judge, is_ours=is_ours)
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


def _answered(
    stack: ExitStack, url: str, headers: dict[str, str], judge: Judge | None, *, is_ours: bool
) -> urllib3.BaseHTTPResponse:
    """The answer of a server, after its redirects; ``is_ours``: the first address needs no judgement."""
    if judge is None:
        pool = stack.enter_context(urllib3.PoolManager(timeout=_TIMEOUT))
        return pool.request("GET", url, headers=headers, preload_content=False, retries=_RETRIES)
    for number in range(MOST_REDIRECTS + 1):
        addresses: Sequence[str] = ()
        if number or not is_ours:
            if not _is_https(url):
                raise UpstreamFailed(f"{url} is not asked: declared data is fetched over https alone")
            addresses = judge(url)
        answer = _asked(stack, url, headers, addresses)
        place = answer.get_redirect_location()
        if not place:
            return answer
        answer.close()
        before, url = url, urljoin(url, place)
        if urlsplit(url).netloc != urlsplit(before).netloc:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    raise UpstreamFailed(f"{url} is not asked: the server redirects more than {MOST_REDIRECTS} times")


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of what stands in brackets
        return False


_TIMEOUT = Timeout(connect=10, read=60)
_RETRIES = Retry(total=5, connect=2, read=0, redirect=MOST_REDIRECTS, status=0)


def pinned(
    url: str, addresses: Sequence[str], *, timeout: Timeout, ssl_context: SSLContext | None = None
) -> tuple[urllib3.PoolManager | urllib3.HTTPSConnectionPool, str, dict[str, str]]:
    """How the server of a URL is asked at an address that was judged: a pool, the target, and more headers.

    Another look at the name could give another address; the certificate must be that of the name still.

    Args:
        url: begins with https:// if there are addresses.
        addresses: those of its host; none: the name is looked up as usual.
        timeout: of the pool's requests.
        ssl_context: says whose certificates count; ``None``: those that count by default.
    """
    if not addresses:
        return urllib3.PoolManager(timeout=timeout, ssl_context=ssl_context), url, {}
    parts = urlsplit(url)
    pool = urllib3.HTTPSConnectionPool(
        addresses[0], parts.port or 443, server_hostname=parts.hostname, assert_hostname=parts.hostname,
        timeout=timeout, ssl_context=ssl_context,
    )  # fmt: skip
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return pool, target, {"Host": parts.netloc.rpartition("@")[2]}


def _asked(
    stack: ExitStack, url: str, headers: Mapping[str, str], addresses: Sequence[str]
) -> urllib3.BaseHTTPResponse:
    """The answer of one server, which a redirect is too; ``addresses``: where it is, if that was judged."""
    pool, target, named = pinned(url, addresses, timeout=_TIMEOUT)
    headers = {**headers, **named}
    stack.enter_context(pool)
    return pool.request(
        "GET", target, headers=headers, preload_content=False, redirect=False, retries=_RETRIES
    )


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
    endpoint = (_endpoint(variables) or f"https://s3.{region}.amazonaws.com").rstrip("/")
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


def _endpoint(variables: Mapping[str, str]) -> str | None:
    return variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")


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
