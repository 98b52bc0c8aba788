"""Who asks: reads the ``Authorization`` header and answers with an identity.

Three forms, as the clients speak them: ``Basic`` with user and password, ``Basic`` with the user
``__token__`` and a token as password (twine, uv, pip), ``Bearer`` with a token (scripts). A request without
the header is anonymous and costs nothing; a wrong credential is 401, never anonymous.

What was found out is remembered for as long as it is true. A remembered token or account carries the store's
serial it was read at: when anything has changed since, it is read again. So a revoked token, a disabled user
or a new password counts at the next request of every process. A password that was verified is remembered for
a few minutes by a keyed digest, together with the hash it was verified against: checking it anew takes tens
of milliseconds on purpose, and an upload client sends it with each request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.words.notation import utc_text
from conveyor.errors import Forbidden, StorageFailed, Unauthorized
from conveyor.operations.people.tokens import KnownToken, digest_of, find_token, note_last_uses
from conveyor.operations.people.users import Account, find_account, is_right_password
from conveyor.server.memory.flights import Flights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.operations.store.store import Store
    from conveyor.server.memory.newest import Newest

Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_REMEMBERED = 4096
"""Tokens, accounts and passwords remembered per process, each; the oldest go first."""
PASSWORD_SECONDS = 300.0
"""How long a verified password is remembered; after that the next request pays for checking it again."""
PASSWORD_CHECKS_AT_ONCE = 2
"""Each takes 64 MiB and a processor; more at once would let strangers take all of both."""
LAST_USE_SECONDS = 60.0
"""How often last uses are written; what a killed process had not written yet is lost, and only that."""
MAX_HEADER_LENGTH = 4096


@dataclass(frozen=True)
class _Remembered:
    """What the catalogue said of a token or an account at a serial."""

    serial: int
    token: KnownToken | None = None
    account: Account | None = None


class Authenticator:
    """Tells who asks; one per process, ended with ``close``."""

    def __init__(self, store: Store, newest: Newest) -> None:
        self._store = store
        self._newest = newest
        self._known: dict[str, _Remembered] = {}
        self._passwords: dict[bytes, tuple[str, float]] = {}
        self._key = secrets.token_bytes(32)
        self._checking = asyncio.Semaphore(PASSWORD_CHECKS_AT_ONCE)
        self._checks = Flights()
        self._last_uses: dict[int, str] = {}
        self._written_at = time.monotonic()
        self._writing: asyncio.Task[None] | None = None

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Identity:
        """The identity behind a request's raw ASGI headers; ``ANONYMOUS`` without an ``Authorization``.

        Raises:
            Unauthorized: the credentials are wrong, expired, revoked or cannot be read.
        """
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return ANONYMOUS
        if len(given) > 1 or len(given[0]) > MAX_HEADER_LENGTH:
            raise _unreadable()
        user, secret = _credentials(given[0])
        if user is None:
            return await self._identity_of_token(secret)
        return await self._identity_of_password(user, secret)

    async def close(self) -> None:
        """Write the last uses that were not written yet."""
        await self._checks.close()
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
                hint="an administrator makes a new one on the store's machine: "
                "conveyor store token create --user NAME --data DIR",
            )
        now = utc_text(self._store.clock())
        if token.expires_at is not None and token.expires_at <= now:
            raise Unauthorized(
                f"this token expired at {token.expires_at}",
                hint="an administrator makes a new one on the store's machine: "
                f"conveyor store token create --user {token.identity.name} --data DIR",
            )
        self._note_use(token.id, now)
        return token.identity

    async def _identity_of_password(self, name: str, password: str) -> Identity:
        account = await self._account(name)
        key = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if account is not None and self._is_remembered(key, account):
            return account.identity
        # Requests that come together with the same password wait for one check of it.
        check = self._checks.join((key, account), lambda: self._is_right(account, password))
        is_right = await check.landed()  # also without an account, so that time tells nothing
        if account is None or not is_right:
            raise Unauthorized("the user name or the password is wrong")
        _remember(self._passwords, key, (account.password_hash, time.monotonic()))
        return account.identity

    async def _is_right(self, account: Account | None, password: str) -> bool:
        async with self._checking:
            return await asyncio.to_thread(is_right_password, account, password)

    async def _account(self, name: str) -> Account | None:
        key = f"account {name}"
        serial = await self._newest.read()
        remembered = self._known.get(key)
        if remembered is None or remembered.serial != serial:
            remembered = _Remembered(serial, account=await asyncio.to_thread(find_account, self._store, name))
            if remembered.account is not None:
                _remember(self._known, key, remembered)
            else:
                self._known.pop(key, None)
        return remembered.account

    def _is_remembered(self, key: bytes, account: Account) -> bool:
        """Whether this password was verified lately, against the hash that the user has now."""
        password_hash, at = self._passwords.get(key, ("", 0.0))
        return password_hash == account.password_hash and time.monotonic() - at < PASSWORD_SECONDS

    def _note_use(self, token_id: int, now: str) -> None:
        self._last_uses[token_id] = now
        if self._writing is None and time.monotonic() - self._written_at > LAST_USE_SECONDS:
            self._writing = asyncio.create_task(self._write_last_uses())

    async def _write_last_uses(self) -> None:
        uses, self._last_uses = self._last_uses, {}
        try:
            if uses:
                await asyncio.to_thread(note_last_uses, self._store, uses)
        except StorageFailed:  # a note for people; whoever is asking now must not fail for it
            self._last_uses = uses | self._last_uses
        finally:
            self._written_at = time.monotonic()
            self._writing = None


def refuse_other_sites(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a request that a page of another site made; asked before anything is changed.

    Browsers send the credentials of basic authentication along by themselves, so that any page could change
    things here in the name of a reader who has logged in.

    Raises:
        Forbidden: the header ``Origin`` names another host than ``Host``.
    """
    named = dict(headers)
    origin = named.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != named.get(b"host"):
        raise Forbidden(
            "a page of another site may not change anything here", hint="use a token from a script instead"
        )


def _credentials(header: bytes) -> tuple[str | None, str]:
    """(user, password), or (``None``, token), of an ``Authorization`` header; raises Unauthorized."""
    try:
        scheme, _, value = header.decode("ascii").strip().partition(" ")
        if scheme.lower() == "bearer":
            return None, _not_empty(value.strip())
        if scheme.lower() == "basic":
            user, colon, password = _text(base64.b64decode(value.strip(), validate=True)).partition(":")
            if "\0" in user:  # PostgreSQL takes no such question
                raise _unreadable()
            if colon and user == "__token__":
                return None, _not_empty(password.strip())
            if colon and user:
                return user, password
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise _unreadable() from error
    raise _unreadable()


def _text(credentials: bytes) -> str:
    """What a client encoded: UTF-8 (uv, pip), else Latin-1 (twine, poetry, flit, through requests).

    Bytes that are UTF-8 are never read as Latin-1, so that one header is one password.
    """
    try:
        return credentials.decode("utf-8")
    except UnicodeDecodeError:
        return credentials.decode("latin-1")


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
    """Remember at most ``MAX_REMEMBERED``; what was remembered first is forgotten first."""
    memory.pop(key, None)
    while len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
