"""Authentication: reads the ``Authorization`` header and returns an identity.

Clients use three forms: ``Basic`` with user and password, ``Basic`` with the user ``__token__`` and a token
as password (twine, uv, pip), ``Bearer`` with a token (scripts). A request without the header is anonymous and
costs nothing; a wrong credential is 401, never anonymous.

Tokens and accounts are remembered for as long as they are current: each carries the store's serial at which
it was read, and is read again after any change. So a revoked token, a disabled user or a new password counts
at the next request of every process. An upload asks only whether any change since then concerned users or
tokens, together with its other queries (``recall``, ``confirm``). Passwords are checked, and known ones
remembered, in ``password_checks``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.people.passwords import client_address, readings
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Forbidden, StorageFailed, Unauthorized
from conveyor.operations.people.tokens import TokenBearer, digest_of, find_token, note_last_uses
from conveyor.operations.people.users import Account, find_account
from conveyor.server.http.password_checks import Attempt, PasswordChecks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Receive, Scope

    from conveyor.domain.people.passwords import Network
    from conveyor.operations.store.store import Store
    from conveyor.server.memory.newest import Newest

Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_REMEMBERED = 4096
"""Tokens and accounts remembered per process; the oldest are forgotten first."""
LAST_USE_SECONDS = 60.0
"""How often last uses are written; a killed process loses only those that it has not written yet."""
MAX_HEADER_LENGTH = 4096
MAX_NAME_LENGTH = 64
"""No user has a longer name, so nobody learns anything from one."""


@dataclass(frozen=True)
class _Remembered:
    """The catalogue's row of a token or an account at a serial."""

    serial: int
    token: TokenBearer | None = None
    account: Account | None = None


@dataclass(frozen=True)
class Recalled:
    """The identity that a token stood for at a serial."""

    key: str
    identity: Identity
    serial: int


class Authenticator:
    """Finds the identity behind a request; one per process, ended with ``close``."""

    def __init__(
        self,
        store: Store,
        newest: Newest,
        *,
        trusted_proxies: Sequence[Network] = (),
        passwords: PasswordChecks | None = None,
    ) -> None:
        """``trusted_proxies``: proxies whose ``X-Forwarded-For`` tells where a wrong password came from."""
        self._store = store
        self._newest = newest
        self._trusted_proxies = trusted_proxies
        self._passwords = passwords or PasswordChecks()
        self._known: dict[str, _Remembered] = {}
        self._absent: dict[str, int] = {}
        """Names that no user had, and the serial at which that was so. If only they were looked up again, the
        time would tell who is a user. Apart from the others, which strangers must not crowd out."""
        self._last_uses: dict[int, str] = {}
        self._written_at = time.monotonic()
        self._writing: asyncio.Task[None] | None = None

    async def authenticate(self, scope: Scope, receive: Receive) -> Identity:
        """The identity behind a request; ``ANONYMOUS`` without an ``Authorization``.

        Raises:
            Unauthorized: the credentials are wrong, expired, revoked or cannot be read.
            TooManyAttempts: the password was not checked: too many others are waiting, or were wrong.
        """
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            return ANONYMOUS
        if len(given) > 1 or len(given[0]) > MAX_HEADER_LENGTH:
            raise _unreadable()
        user, secrets = _credentials(given[0])
        if user is None:
            return await self._identity_of_token(secrets[0])
        return await self._identity_of_password(user, secrets, scope, receive)

    def recall(self, headers: Iterable[tuple[bytes, bytes]]) -> Recalled | None:
        """The identity that a request's token stood for at its last lookup; ``None``: call ``authenticate``.

        For callers that check, together with their other queries, whether it still does.

        Raises:
            Unauthorized: the credentials cannot be read, or the token has expired.
        """
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or len(given[0]) > MAX_HEADER_LENGTH:
            return None
        user, secrets = _credentials(given[0])
        key = f"token {digest_of(secrets[0])}"
        remembered = self._known.get(key) if user is None else None
        if remembered is None or remembered.token is None:
            return None
        return Recalled(key, self._identity_of(remembered.token), remembered.serial)

    def confirm(self, recalled: Recalled, serial: int) -> None:
        """Remember that the identity was still valid at a serial."""
        remembered = self._known.get(recalled.key)
        if remembered is not None and remembered.serial < serial:
            self._known[recalled.key] = replace(remembered, serial=serial)

    async def close(self) -> None:
        """Write the last uses that have not been written yet."""
        await self._passwords.close()
        if self._writing is not None:
            await self._writing
        await self._write_last_uses()

    async def _identity_of_token(self, secret: str) -> Identity:
        digest = digest_of(secret)
        key = f"token {digest}"
        serial = await self._newest.read()
        remembered = self._known.get(key)
        if remembered is None or remembered.serial != serial:
            found = await asyncio.to_thread(find_token, self._store, digest)
            # The serial was read before the row: a change in between makes this memory old, never too new.
            remembered = _Remembered(serial, token=found)
            if found is not None:
                _remember(self._known, key, remembered)
            else:
                self._known.pop(key, None)
        token = remembered.token
        if token is None:
            raise Unauthorized(
                "this token is not known here, or was revoked",
                hint="an administrator registers a worker again, or makes a new one for a user "
                "on the store's machine: "
                "conveyor store token create --user NAME --data DIR",
            )
        return self._identity_of(token)

    def _identity_of(self, token: TokenBearer) -> Identity:
        """The token's identity, after noting its use; raises Unauthorized if it has expired."""
        now = utc_text(self._store.clock())
        if token.expires_at is not None and token.expires_at <= now:
            raise Unauthorized(
                f"this token expired at {token.expires_at}",
                hint="an administrator makes a new one on the store's machine: "
                f"conveyor store token create --user {token.identity.name} --data DIR",
            )
        self._note_use(token.id, now)
        return token.identity

    async def _identity_of_password(
        self, name: str, passwords: tuple[str, ...], scope: Scope, receive: Receive
    ) -> Identity:
        account = await self._account(name)
        headers = scope["headers"]
        forwarded = [value.decode("latin-1") for key, value in headers if key == b"x-forwarded-for"]
        peer = (scope.get("client") or ("", 0))[0]
        attempt = Attempt(name, account, passwords, client_address(peer, forwarded, self._trusted_proxies))
        # Reading any further would send "100 Continue" to a client that waits for it.
        is_asking = any(key == b"expect" for key, _ in headers)
        await self._passwords.must_be_right(attempt, None if is_asking else receive)
        assert account is not None  # noqa: S101 - no password is right for a missing account
        return account.identity

    async def _account(self, name: str) -> Account | None:
        key = f"account {name}"
        serial = await self._newest.read()
        remembered = self._known.get(key)
        if remembered is not None and remembered.serial == serial:
            return remembered.account
        if self._absent.get(name) == serial:
            return None
        account = await asyncio.to_thread(find_account, self._store, name)
        if account is not None:
            _remember(self._known, key, _Remembered(serial, account=account))
        else:
            self._known.pop(key, None)
            if len(name) <= MAX_NAME_LENGTH:
                _remember(self._absent, name, serial)
        return account

    def _note_use(self, token_id: int, now: str) -> None:
        self._last_uses[token_id] = now
        if self._writing is None and time.monotonic() - self._written_at > LAST_USE_SECONDS:
            self._writing = asyncio.create_task(self._write_last_uses())

    async def _write_last_uses(self) -> None:
        uses, self._last_uses = self._last_uses, {}
        try:
            if uses:
                await asyncio.to_thread(note_last_uses, self._store, uses)
        except StorageFailed:  # a note for people; the current request must not fail because of it
            self._last_uses = uses | self._last_uses
        finally:
            self._written_at = time.monotonic()
            self._writing = None


def refuse_other_sites(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a request made by a page of another site; checked before anything is changed.

    Browsers send the credentials of basic authentication automatically, so any page could change things here
    in the name of a reader who has logged in.

    Raises:
        Forbidden: the header ``Origin`` names another host than ``Host``.
    """
    named = dict(headers)
    origin = named.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != named.get(b"host"):
        raise Forbidden(
            "a page of another site cannot change anything here", hint="use a token from a script instead"
        )


def _credentials(header: bytes) -> tuple[str | None, tuple[str, ...]]:
    """(user, possible passwords) or (``None``, token) from a header; raises Unauthorized."""
    try:
        scheme, _, value = header.decode("ascii").strip().partition(" ")
        if scheme.lower() == "bearer":
            return None, (_not_empty(value.strip()),)
        if scheme.lower() == "basic":
            given = base64.b64decode(value.strip(), validate=True)
            texts = (given.decode("ascii"),) if given.isascii() else readings(given)
            (user, colon, _), *_ = pairs = [text.partition(":") for text in texts]
            if "\0" in user:  # PostgreSQL takes no such question
                raise _unreadable()
            secrets = tuple(secret for _, _, secret in pairs)
            if colon and user == "__token__":
                return None, (_not_empty(secrets[0].strip()),)
            if colon and user:
                return user, secrets
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise _unreadable() from error
    raise _unreadable()


def _not_empty(token: str) -> str:
    if not token:
        raise Unauthorized("the token is empty", hint="send a token as password of the user __token__")
    return token


def _unreadable() -> Unauthorized:
    return Unauthorized(
        "the credentials cannot be read",
        hint="send basic authentication (user and password, or __token__ and a token), or a bearer token",
    )


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> None:
    """Remember at most ``MAX_REMEMBERED`` entries; the oldest is forgotten first."""
    memory.pop(key, None)
    while len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
