"""Trusted publishing: the ID token of a CI job in exchange for a token that uploads.

    GET  /_/oidc/audience                what the ID token has to be made out to
    POST /_/oidc/mint-token              the exchange
    POST /_/oidc/burn-token              the job is done with its token
    GET  /.well-known/pytp/{key}         where these are, for the upload address of that digest (PEP 807)

The first three are what uv asks, at the root of the host whatever the path of the index; so the index follows
from the publisher. Clients show the body of a refusal to people as it is: it says what was wanted and what
was seen, in the form of PEP 807, a draft that no client asks by yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from conveyor.domain.people.publishers import MAX_TOKEN_LENGTH, read_id_token
from conveyor.domain.words.notation import from_utc_text
from conveyor.errors import ConveyorError, InvalidInput, NotFound, TooLarge
from conveyor.operations.people.publishers import (
    audience,
    burn,
    exchange,
    publishers_of_issuer,
    upload_places,
)
from conveyor.server.http.auth import refuse_other_sites
from conveyor.server.http.messages import JSON, NEVER_KEPT, send_answer
from conveyor.server.http.problems import as_error, method_not_allowed, store_url

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from conveyor.operations.store.store import Store
    from conveyor.upstream.issuers import Issuers

PREFIX = "/_/oidc/"
DISCOVERY = "/.well-known/pytp"
_METHODS = {"audience": "GET", "mint-token": "POST", "burn-token": "POST"}
MAX_BODY_BYTES = 2 * MAX_TOKEN_LENGTH


class TrustedPublishing:
    """Answers the paths above."""

    def __init__(self, store: Store, issuers: Issuers, *, public_url: str | None) -> None:
        self._store = store
        self._issuers = issuers
        self._host = urlsplit(public_url).hostname if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; refusals are answered here, in the form that clients show to people."""
        try:
            status, told = await self._answer(scope, receive)
        except Exception as caught:  # noqa: BLE001 - answered in the form of this protocol
            error = as_error(caught, path=scope["path"])
            status, told = error.http_status, _refusal(error)
        is_head = scope["method"] == "HEAD"
        body = json.dumps(told).encode()
        await send_answer(send, status, body, content_type=JSON, headers=[NEVER_KEPT], is_head=is_head)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, object]]:
        path: str = scope["path"]
        word = path.removeprefix(PREFIX)
        method = "GET" if path.startswith(DISCOVERY) else _METHODS.get(word)
        if method is None:
            raise NotFound(f"there is nothing at {path}")
        if scope["method"] not in ((method, "HEAD") if method == "GET" else (method,)):
            raise method_not_allowed(scope, method)
        wanted = await asyncio.to_thread(audience, self._store, self._host)
        if wanted is None:  # clients take that for a store without trusted publishing
            raise NotFound("no trusted publisher is registered in this store")
        if path.startswith(DISCOVERY):
            return 200, await self._discover(scope)
        if word == "audience":
            return 200, {"audience": wanted}
        refuse_other_sites(scope["headers"])
        given, is_lasting = await _request_of(receive)
        if word == "burn-token":
            await asyncio.to_thread(burn, self._store, given)
            return 200, {}
        token = read_id_token(given)
        await asyncio.to_thread(publishers_of_issuer, self._store, token.issuer)
        key = await self._issuers.key(token.issuer, token.key_id)
        issued = await asyncio.to_thread(
            exchange, self._store, token, key, audience=wanted, is_lasting=is_lasting
        )
        ends = int(from_utc_text(issued.expires_at).timestamp())
        return 200, {"success": True, "token": issued.secret, "expires": ends}

    async def _discover(self, scope: Scope) -> dict[str, object]:
        """The addresses of the exchange, if the key is that of an upload address of this store."""
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("discover", [""])[0]
        key = scope["path"].removeprefix(DISCOVERY).strip("/") or asked
        if "/" in key:  # the address itself, or its path
            key = hashlib.sha256(urlsplit(key).path.encode()).hexdigest()
        root = str(scope.get("root_path", "")).rstrip("/")
        places = await asyncio.to_thread(upload_places, self._store)
        known = {hashlib.sha256(f"{root}{place}".encode()).hexdigest() for place in places}
        if key not in known:
            raise NotFound("no index of this store takes uploads there")
        parts = urlsplit(store_url(scope))
        base = f"{parts.scheme}://{parts.netloc}{PREFIX}"
        return {"audience-endpoint": f"{base}audience", "mint-token-endpoint": f"{base}mint-token"}


async def _request_of(receive: Receive) -> tuple[str, bool]:
    """The token in a request, and whether the one that it is exchanged for is to last as long."""
    content = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("the request was broken off by its client")
        content += message.get("body", b"")
        if len(content) > MAX_BODY_BYTES:
            raise TooLarge(f"a request of more than {MAX_BODY_BYTES} bytes is not one for a token")
        if not message.get("more_body"):
            break
    try:
        asked = json.loads(content)
        given, is_lasting = asked["token"], asked.get("until_expiry", False)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInput('the request is not {"token": "…"}') from error
    if not isinstance(given, str) or not given:
        raise InvalidInput("the token in the request is not a text")
    if not isinstance(is_lasting, bool):
        raise InvalidInput("until_expiry in the request is not true or false")
    return given, is_lasting


def _refusal(error: ConveyorError) -> dict[str, object]:
    description = error.message if error.hint is None else f"{error.message} ({error.hint})"
    code = "".join(f"-{one.lower()}" if one.isupper() else one for one in type(error).__name__).strip("-")
    return {"message": "no token is given", "errors": [{"code": code, "description": description}]}
