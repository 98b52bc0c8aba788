"""Passwords: accepted ones, the meaning of a client's bytes, and the delay that wrong ones cause.

Checking a password takes a tenth of a second and 64 MiB on purpose, so strangers who send wrong ones must not
be able to use up much of either. After a few wrong passwords for a user, or from an address, the next one is
checked only after a delay, which doubles with every further wrong one up to a limit. Only checks are delayed:
a password known to be right needs no check, so nobody can lock its owner out.

The rules take the time as an argument, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Annotated
from unicodedata import category

from conveyor.domain.people.access import Scope, ScopeWord
from conveyor.domain.words.records import Count, Described, Given, Option, Record
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address

MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 1024

Network = IPv4Network | IPv6Network


def check_password(password: str) -> None:
    """Accept a new password.

    Raises:
        InvalidInput: it is too short or too long, or has characters that cannot be typed or are not text: a
            line break included unnoticed would lock its owner out.
    """
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise InvalidInput(
            f"a password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters, not {len(password)}"
        )
    if _holds_controls(password):
        raise InvalidInput("a password must not hold control characters, such as line breaks")


def _holds_controls(text: str) -> bool:
    return any(category(character) in ("Cc", "Cs") for character in text)


def readings(credentials: bytes) -> tuple[str, ...]:
    """The texts that the bytes of basic authentication may stand for, one or two, the likelier first.

    uv and pip encode them in UTF-8, twine, poetry and flit in Latin-1 (RFC 7617 leaves it open). ASCII is the
    same in both, most of Latin-1 is not UTF-8, and a reading with control characters cannot be a
    password: nearly always only one reading is left.
    """
    in_latin_1 = credentials.decode("latin-1")
    try:
        in_utf_8 = credentials.decode("utf-8")
    except UnicodeDecodeError:
        return (in_latin_1,)
    if in_utf_8 == in_latin_1 or _holds_controls(in_latin_1):
        return (in_utf_8,)
    return in_utf_8, in_latin_1


@dataclass(frozen=True)
class Patience:
    """How many wrong passwords in a row cost nothing, and how long the delay grows after them."""

    free: int
    most_seconds: float

    def delay_seconds(self, wrong: int) -> float:
        """The delay after the newest of so many wrong passwords, during which nothing is checked."""
        beyond = wrong - self.free
        return 0.0 if beyond < 0 else min(self.most_seconds, 2.0 ** min(beyond, 30))


WITH_USERS = Patience(free=3, most_seconds=30.0)
"""People mistype. Longer delays would let strangers keep a user out who signs in for the first time."""
WITH_ADDRESSES = Patience(free=10, most_seconds=120.0)
"""A whole office may have one address."""
FORGIVEN_AFTER_SECONDS = 900.0
"""After this long without a wrong password, the count restarts."""
MOST_COUNTED = 4096
"""Most users or addresses; the one whose newest wrong password is oldest is forgotten first."""


class WrongPasswords:
    """Counts wrong passwords in a row, by user or by address."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._counted: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_seconds(self, key: str, now: float) -> float:
        """How long until a password may be checked for this key; 0: now."""
        wrong, at = self._counted.get(key, (0, now))
        return max(0.0, at + self._patience.delay_seconds(wrong) - now)

    def add(self, key: str, now: float) -> None:
        """Count one more wrong password."""
        wrong, at = self._counted.pop(key, (0, now))
        self._counted[key] = (1 if now - at > FORGIVEN_AFTER_SECONDS else wrong + 1, now)
        if len(self._counted) > MOST_COUNTED:
            self._counted.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Restart the count for this key, after the right password."""
        self._counted.pop(key, None)


def networks(text: str) -> tuple[Network, ...]:
    """The addresses and networks in a list with commas; raises ValueError if one cannot be read."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Iterable[Network]) -> str:
    """The address that a request came from, by which wrong passwords are counted.

    Anybody can write the header ``X-Forwarded-For``, so only the part written by trusted proxies counts: from
    its end, the first address that is not one of theirs. For IPv6 the 64-bit network counts: a client
    with one address of it has all of them.

    Args:
        peer: the address that opened the connection.
        forwarded_for: the values of ``X-Forwarded-For``, in order.
        trusted: networks of the proxies.
    """
    within = tuple(trusted)
    named = [part.strip() for value in forwarded_for for part in value.split(",")]
    address = _address(peer)
    while named and address is not None and any(address in network for network in within):
        further = _address(named.pop())
        if further is None:  # not an address: nothing before it can be trusted either
            break
        address = further
    if address is None:
        return peer
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


# --- users as they cross the wire --------------------------------------------------------------------------

Password = Annotated[
    str,
    Given(MAX_PASSWORD_LENGTH),
    Described(
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]+$",  # without control characters
        shortest=MIN_PASSWORD_LENGTH,
        longest=MAX_PASSWORD_LENGTH,
    ),
]
UserName = Annotated[str, Given(200), Described(pattern="^[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?$")]


@dataclass(frozen=True)
class NewUser(Record):
    """A user to be made."""

    name: UserName
    password: Annotated[Password | None, "null: the user can only use tokens."] = field(
        default=None, repr=False, kw_only=True
    )
    scopes: Annotated[tuple[ScopeWord, ...], "What it may do; without: read.", Option("scope")] = ("read",)


@dataclass(frozen=True)
class MadeUser(Record):
    """A user that was made."""

    name: str
    scopes: tuple[Scope, ...]


@dataclass(frozen=True)
class NewPassword(Record):
    """A new password of a user."""

    password: Password = field(repr=False)
    revoke_tokens: Annotated[bool, "Whether to revoke all tokens of the user as well."] = False


@dataclass(frozen=True)
class PasswordChange(Record):
    """The effect of a new password on the user's tokens."""

    working_tokens: Annotated[Count, "How many tokens still work."]
    revoked_tokens: Annotated[Count, "How many tokens worked until now."]
