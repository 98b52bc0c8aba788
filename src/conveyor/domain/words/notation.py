"""How facts are written: JSON, digests, times, signed statements, people's reasons, commands in hints.

Digests are lower case hex. Times are UTC in ISO 8601 with microseconds and ``Z``, so that the order of texts
is that of moments. A reason is given for a yank or a change of status, and shown to all readers of pages.
A hint ends with its command, complete, so that it can be copied.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import IO, Annotated, Any

from conveyor.domain.words.records import Count, Described, Given, Matching, Record
from conveyor.errors import InvalidInput

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""The type of a statement (in-toto attestation framework)."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The payload type of an envelope (DSSE)."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""The full id of a commit, by SHA-1 or SHA-256."""
LONGEST_REASON = 1000
"""Characters."""
DEEPEST_JSON = 100
"""Lists and objects within each other; whoever reads or writes a value later may go no deeper than Python."""
_MOST_NAMED_TWICE = 10
"""Keys that a message names."""

Sha256 = Annotated[str, Given(), Matching(_SHA256.pattern, "is not a SHA-256 digest in hexadecimal")]
Commit = Annotated[str, Given(), Matching(COMMIT_ID.pattern, "is not the full id of a git commit")]
Moment = Annotated[str, Given(100), Described(format="date-time")]
Reason = Annotated[str, Given(LONGEST_REASON)]
_FOLDER = "--data DIR"
_COMMAND = re.compile(rf"\bconveyor (?:why|store) (?!.* --(?:data|url|help)\b)[^\n]*$|{_FOLDER}$")
"""A command on a store that ends a text without naming the store, or names its folder by a placeholder."""


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 digest in lower case hex."""
    return _SHA256.fullmatch(text) is not None


def sha256_of(stream: IO[bytes]) -> str:
    """The digest of the rest of a stream."""
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # readable is enough


def utc_text(moment: datetime) -> str:
    """A moment with a time zone as ``2026-11-21T08:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_utc_text(text: str) -> datetime:
    """The moment that ``utc_text`` wrote; raises ``ValueError`` when the text is not of that form."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def future_text(text: str, now: datetime) -> str | None:
    """The time in the store's form; ``None`` if it is not a time with a zone, or has passed."""
    try:
        moment = datetime.fromisoformat(text)
        return utc_text(moment) if moment.tzinfo is not None and moment > now else None
    except (ValueError, OverflowError):  # OverflowError: a year 10000 in UTC
        return None


def checked_reason(text: str | None) -> str | None:
    """The reason without surrounding blanks; ``None`` if it is empty.

    Raises:
        InvalidInput: it is too long, or has more than one line or invisible characters: installers write it
            to terminals.
    """
    reason = (text or "").strip()
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(
            f"the reason must be one line of at most {LONGEST_REASON} printable characters",
            hint="shorten it, and put the details where people can look them up",
        )
    return reason or None


def with_store(text: str | None, option: str, store: str) -> str | None:
    """A hint or a next step; if it ends in a command on a store, with this store, ready to be copied.

    Where errors are raised, it is unknown whether the reader works on a folder (``option`` is ``--data``) or
    on a server (``--url``). A command that works only on folders says ``--data DIR``: the folder of a
    server is unknown, so this stays as it is.
    """
    found = text and _COMMAND.search(text)
    if not text or not found:
        return text
    place = shlex.join((option, store))
    if found.group() == _FOLDER:
        return text.removesuffix(_FOLDER) + place if option == "--data" else text
    return f"{text} {place}"


# --- signed statements --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubjectDigest(Record):
    """The digest of a file that a statement is about."""

    is_open = True
    sha256: Sha256


@dataclass(frozen=True)
class StatementSubject(Record):
    """The file that an in-toto statement is about."""

    is_open = True
    name: Annotated[str, Given(300)]
    digest: SubjectDigest


def read_json(text: bytes, *, what: str) -> object:
    """The JSON value in ``text``: UTF-8, no key twice, no NaN or infinity, no half of a surrogate pair.

    Parsers differ on a repeated key, so that the value checked and the value meant could differ (RFC 8259,
    section 4); a lone surrogate can be read but never be written again. Nor can a value that is nested as
    deeply as Python goes, where more of its stack is in use.

    Raises:
        InvalidInput: it is anything else.
    """
    try:
        value: object = json.loads(
            text.decode(),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode()
        if text.count(b"[") + text.count(b"{") > DEEPEST_JSON:
            _must_not_be_deep(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is not valid JSON: {error}") from error
    return value


def _must_not_be_deep(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(DEEPEST_JSON):
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [part for parts in inside for part in parts if isinstance(part, (dict, list))]
        if not level:
            return
    raise ValueError(f"its lists and objects are nested more than {DEEPEST_JSON} deep")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(name for name, _ in pairs)  # once for all: a hostile object has 100,000 keys
        twice = sorted(name for name, count in counted.items() if count > 1)
        named = ", ".join(twice[:_MOST_NAMED_TWICE])
        raise ValueError(f"the key {named} is there twice")
    return found


def _finite(text: str) -> float:
    """The number; one beyond the largest, such as 1e400, would become infinity, which JSON cannot hold."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


# --- the store as a whole, as it crosses the wire ----------------------------------------------------------


@dataclass(frozen=True)
class StoreStatus(Record):
    """The identity of the store, and its state."""

    version: Annotated[str, "Version of the product."]
    store: Annotated[str, "Its id."]
    serial: Annotated[Count, "Serial of its newest change."]
    url: Annotated[str | None, "Its public URL, without a slash at the end; null: none is configured."] = None


@dataclass(frozen=True)
class Event(Record):
    """One change, as recorded in the audit log."""

    serial: Count
    at: Moment
    actor: str
    action: str
    index: str | None
    project: str | None
    version: str | None
    detail: Mapping[str, Any]
