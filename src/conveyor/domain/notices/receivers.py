"""Receivers of messages: where they are, what they are told, when they are tried again, what is signed.

A receiver is the ``https`` URL of a program, or a ``mailto`` URL (RFC 6068) of people. A private index is
told of only to a receiver that names it: a pattern never reaches into one.

Messages to programs are signed as Standard Webhooks 1.0 says: the header ``webhook-signature`` holds
``v1,BASE64`` of the HMAC (RFC 2104, SHA-256) of ``id.timestamp.body``. The key is what the secret holds in
base64 behind ``whsec_``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from urllib.parse import unquote, urlsplit

from conveyor.domain.words.addresses import is_local_name
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import NO_COLUMN, Count, Option, Record, ShortText, Text
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MessageType = Literal[
    "file.uploaded",
    "release.published",
    "release.tested",
    "release.waiting",
    "release.refused",
    "release.approved",
    "release.overridden",
    "release.override-ended",
    "release.promoted",
    "release.yanked",
    "release.unyanked",
    "release.deleted",
    "run.requested",
    "run.started",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "ping",
]
MESSAGE_TYPES: tuple[MessageType, ...] = get_args(MessageType)
MAILED: frozenset[MessageType] = frozenset(
    {
        "release.waiting",
        "release.refused",
        "release.override-ended",
        "release.promoted",
        "release.yanked",
        "run.failed",
        "ping",
    }
)
"""What people are told by mail unless they name other types: what asks something of them, or ends a way."""

PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600)
"""The pause after the first failed attempt, after the second …; the last one is repeated."""
GIVEN_UP_AFTER_SECONDS = 24 * 3600
"""Since the message was made, or asked for again."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - of every secret
SECRET_BYTES = 32
MOST_PATTERNS = 100
_PATTERN = re.compile(r"[a-z0-9*?\[\]!./_-]{1,200}")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


@dataclass(frozen=True)
class NewReceiver(Record):
    """A receiver to be registered."""

    url: Annotated[Text, "https://… of a program, or mailto:ADDRESS."]
    events: Annotated[
        tuple[MessageType, ...],
        Option("event"),
        "What it is told; none: everything, or by mail what people care about.",
    ] = ()
    indexes: Annotated[
        tuple[ShortText, ...],
        Option("index", "PATTERN"),
        "Indexes that it is told of, such as risk/*; none: every public one. A private index is named whole.",
    ] = ()
    projects: Annotated[
        tuple[ShortText, ...], Option("project", "PATTERN"), "Projects that it is told of; none: all."
    ] = ()
    is_local: Annotated[bool, "Allow http, and an address of this machine or a private network."] = False


@dataclass(frozen=True)
class Receiver(Record):
    """A receiver of messages that administrators registered."""

    id: str
    url: str
    events: Annotated[
        tuple[MessageType, ...],
        "What it is told; none: everything, or by mail what people care about.",
    ]
    indexes: Annotated[
        tuple[str, ...],
        "None: every public one.",
    ]
    projects: Annotated[tuple[str, ...], "None: all."]
    is_local: Annotated[bool, "Whether it may be at a loopback or private address."]
    registered_by: str
    registered_at: Annotated[Moment, NO_COLUMN]

    @property
    def is_mail(self) -> bool:
        """Whether it is people who read mail, not a program."""
        return self.url.startswith("mailto:")


@dataclass(frozen=True)
class ReceiverMade(Record):
    """A new receiver with the secret that signs its messages, which is shown this once."""

    receiver: Receiver
    secret: Annotated[str | None, "whsec_ and the key in base64; null: mail is not signed."]


DeliveryState = Literal["waiting", "delivered", "failed"]


@dataclass(frozen=True)
class Delivery(Record):
    """A message on its way to a receiver, or at the end of it."""

    id: Annotated[str, "The same in every attempt: the header webhook-id."]
    receiver: Annotated[str, "The id of its receiver."]
    type: MessageType
    subject: Annotated[str, "What is told in order: a release, or a run."]
    state: DeliveryState
    attempts: Count
    created_at: Moment
    next_at: Annotated[Moment | None, "When it is tried again; null: never."]
    finished_at: Annotated[Moment | None, NO_COLUMN]
    answer: Annotated[str | None, "What the last attempt met with."]


@dataclass(frozen=True)
class TakenMessage:
    """A message that this process sends now."""

    id: str
    receiver: Receiver
    secret: str | None = field(repr=False)
    subject: str
    body: str
    attempts: int
    """This one included."""
    asked_at: str
    until: str
    """When it is due again; by this the attempt is known when it is settled."""


def checked_receiver(asked: NewReceiver) -> NewReceiver:
    """The receiver with its patterns in one spelling; raises InvalidInput with every fault."""
    faults = _faults_of_url(asked.url, is_local=asked.is_local)
    for pattern in (*asked.indexes, *asked.projects):
        if not _PATTERN.fullmatch(pattern):
            faults.append(f"{pattern!r} is not a pattern: names in lower case, and * for any characters")
    if max(len(asked.indexes), len(asked.projects)) > MOST_PATTERNS:
        faults.append(f"more than {MOST_PATTERNS} patterns")
    if faults:
        raise InvalidInput(
            f'"{asked.url[:200]}" cannot be told of anything: {faults[0]}',
            faults=faults,
            hint="register an address as it is reached from the store: "
            "conveyor store notify add https://HOST/PATH",
        )
    return NewReceiver(
        asked.url,
        tuple(sorted(set(asked.events))),
        tuple(sorted(set(asked.indexes))),
        tuple(sorted(set(asked.projects))),
        asked.is_local,
    )


def _faults_of_url(url: str, *, is_local: bool) -> list[str]:
    if url.startswith("mailto:"):
        return [] if mailbox_of(url) else ["it is not mailto: and one address"]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["it is not a URL"]
    if parts.scheme not in ("https", "http") or not host or not url.isprintable() or " " in url:
        return ["it is neither an https URL nor mailto:ADDRESS"]
    faults = []
    if "@" in parts.netloc:
        faults.append("it holds credentials: messages are signed instead")
    if parts.fragment:
        faults.append("it has a fragment, which no server is sent")
    if not is_local and parts.scheme == "http":
        faults.append("http is not encrypted; --local allows it within a network of yours")
    if not is_local and is_local_name(host):
        faults.append("it is at an address of this machine or a private network; --local allows that")
    return faults


def mailbox_of(url: str) -> str | None:
    """The address of a ``mailto`` URL; ``None`` if it is none, or holds more than one plain address."""
    address = unquote(url.removeprefix("mailto:"))
    return address if url.startswith("mailto:") and is_mailbox(address) else None


def is_mailbox(address: str) -> bool:
    """Whether it is one plain address of mail, such as ``qa@team.example``."""
    return _MAILBOX.fullmatch(address) is not None


def wants(receiver: Receiver, kind: MessageType) -> bool:
    """Whether a receiver is told of messages of this type; a ping is for the one who is asked for it."""
    if kind == "ping":
        return False
    if receiver.events:
        return kind in receiver.events
    return kind in MAILED if receiver.is_mail else True


def seen_indexes(receiver: Receiver, places: Mapping[str, bool]) -> tuple[str, ...]:
    """The indexes of which a receiver may be told; ``places``: index → whether it is private."""
    return tuple(
        index
        for index, is_private in sorted(places.items())
        if index in receiver.indexes
        or (not is_private and (not receiver.indexes or _matches(index, receiver.indexes)))
    )


def sees_project(receiver: Receiver, projects: Collection[str]) -> bool:
    """Whether one of the projects is among those of a receiver."""
    return not receiver.projects or any(_matches(project, receiver.projects) for project in projects)


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def pause_seconds(attempts: int, age_seconds: float) -> int | None:
    """How long to wait after that many failed attempts; ``None``: it is given up.

    ``age_seconds``: how long ago the message was made or asked for again.
    """
    pause = PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS)) - 1]
    return None if age_seconds + pause > GIVEN_UP_AFTER_SECONDS else pause


def new_secret(key: bytes) -> str:
    """The secret as it is shown; ``key``: ``SECRET_BYTES`` random bytes."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signature(secret: str, *, message_id: str, moment_seconds: int, body: bytes) -> str:
    """The value of ``webhook-signature`` for a message that is sent at that time, since 1970."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{moment_seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
