"""Webhooks of git hosts: whether a delivery is genuine, and which refs it says were pushed.

Which host is expected was said when the webhook was registered; a delivery never chooses how it is checked.

    github     X-Hub-Signature-256: sha256=HEX
               X-GitHub-Event: push
    gitea      X-Gitea-Signature or X-Forgejo-Signature: HEX
               X-Gitea-Event or X-Forgejo-Event: push
    bitbucket  X-Hub-Signature: sha256=HEX
               X-Event-Key: repo:push
    gitlab     webhook-signature: v1,BASE64 (Standard Webhooks), else X-Gitlab-Token: the secret itself
               X-Gitlab-Event: Push Hook or Tag Push Hook

HMAC is that of RFC 2104 with SHA-256; comparisons take the same time whatever is wrong. Standard Webhooks
sign ``id.timestamp.body``, and their time is held to ``WINDOW_SECONDS``. The others sign no time: their
replays are known by the digest of the body, which the store remembers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from conveyor.domain.words.notation import Moment, read_json
from conveyor.domain.words.records import NO_COLUMN, Record, ShortText, Text
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

GitHost = Literal["github", "gitlab", "gitea", "bitbucket"]
WINDOW_SECONDS = 300
MAX_REFS = 100
"""Refs that one delivery may name; a push of more is for the poller."""
_NOTHING = "0" * 40


@dataclass(frozen=True)
class NewWebhook(Record):
    """A webhook to be registered."""

    repository: Annotated[Text, "A registered repository, as a worker reaches it."]
    host: Annotated[GitHost, "What sends it; gitea: Forgejo as well."]
    index: Annotated[ShortText | None, "Where releases enter; null: the only index where they can."] = None
    secret: Annotated[
        ShortText | None, "As the host has it, such as GitLab's signing token; null: one is made."
    ] = None


@dataclass(frozen=True)
class Webhook(Record):
    """A webhook that administrators registered for a repository."""

    id: str
    repository: str
    host: GitHost
    index: Annotated[str | None, "Where releases enter; null: the only index where they can."]
    registered_by: str
    registered_at: Annotated[Moment, NO_COLUMN]


@dataclass(frozen=True)
class WebhookMade(Record):
    """A new webhook with its secret, which is shown this once."""

    webhook: Webhook
    path: Annotated[str, "Where the host is to send it, below the store's URL."]
    secret: str


@dataclass(frozen=True)
class WebhookAnswer(Record):
    """What became of a delivery."""

    runs: Annotated[tuple[int, ...], "The runs that it asked for."]
    refused: Annotated[tuple[str, ...], "Refs without a run, each with the reason."] = ()


@dataclass(frozen=True)
class PushedRef:
    """One ref of a delivery."""

    ref: str
    """Its full name."""
    old: str | None
    """The object that it named before; ``None`` if it is new."""
    new: str | None
    """The object that it names now; ``None`` if it was deleted."""


def check_delivery(
    host: GitHost, secret: str, headers: Mapping[str, str], body: bytes, *, now_seconds: float
) -> None:
    """Accept a genuine delivery.

    Args:
        host: what was registered to send it.
        secret: what it shares with the store.
        headers: names in lower case.
        body: as it was received.
        now_seconds: the time, since 1970.

    Raises:
        Forbidden: it is not signed with this secret, or its time is not now.
    """
    if host == "gitlab":
        is_genuine = _is_of_gitlab(secret, headers, body, now_seconds)
    else:
        name, prefix = {
            "github": ("x-hub-signature-256", "sha256="),
            "bitbucket": ("x-hub-signature", "sha256="),
            "gitea": ("x-gitea-signature" if "x-gitea-signature" in headers else "x-forgejo-signature", ""),
        }[host]
        wanted = prefix + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        is_genuine = _is_same(headers.get(name, ""), wanted)
    if not is_genuine:
        raise Forbidden(
            "the delivery is not signed with the secret of this webhook",
            hint=f"give {host} the secret that was shown when it was registered, or register it anew",
        )


def pushed_refs(host: GitHost, headers: Mapping[str, str], body: bytes) -> list[PushedRef]:
    """The refs that a genuine delivery says were pushed; none for events of another kind.

    Raises:
        InvalidInput: a push that names no refs as this host does, or too many.
    """
    event = headers.get(_EVENTS[host][0]) or headers.get("x-forgejo-event", "")
    if event not in _EVENTS[host][1:]:
        return []
    try:
        told = read_json(body, what="the delivery")
        found = _of_bitbucket(told) if host == "bitbucket" else [_of_one_ref(told)]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"the delivery is not a push of {host}: {error} is missing or of another form"
        ) from error
    if len(found) > MAX_REFS:
        raise InvalidInput(f"the delivery names {len(found)} refs, more than {MAX_REFS}")
    return found


def delivery_digest(body: bytes) -> str:
    """What a replay of a delivery has in common with it, whatever its headers say."""
    return hashlib.sha256(body).hexdigest()


_EVENTS: Mapping[GitHost, tuple[str, ...]] = {
    "github": ("x-github-event", "push"),
    "gitea": ("x-gitea-event", "push"),
    "gitlab": ("x-gitlab-event", "Push Hook", "Tag Push Hook"),
    "bitbucket": ("x-event-key", "repo:push"),
}
"""Host → (header that names the event, events that are pushes)."""


def _is_of_gitlab(secret: str, headers: Mapping[str, str], body: bytes, now_seconds: float) -> bool:
    signatures = headers.get("webhook-signature")
    if signatures is None:
        return _is_same(headers.get("x-gitlab-token", ""), secret)
    delivery, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        is_now = abs(int(moment) - now_seconds) <= WINDOW_SECONDS
    except (ValueError, binascii.Error):
        return False
    signed = f"{delivery}.{moment}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return is_now and any(_is_same(one, wanted) for one in signatures.split(" ")[:10])


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _of_one_ref(told: Any) -> PushedRef:  # noqa: ANN401 - JSON of a host
    old, new = told["before"], told["after"]
    return PushedRef(_text(told["ref"]), _object(old), _object(new))


def _of_bitbucket(told: Any) -> list[PushedRef]:  # noqa: ANN401 - JSON of a host
    found = []
    for change in told["push"]["changes"]:
        old, new = change.get("old"), change.get("new")
        named = new or old
        kind = {"tag": "tags", "branch": "heads"}.get(named["type"], "other")
        found.append(
            PushedRef(
                f"refs/{kind}/{_text(named['name'])}",
                _object(old["target"]["hash"]) if old else None,
                _object(new["target"]["hash"]) if new else None,
            )
        )
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("the name of a ref")
    return value


def _object(value: object) -> str | None:
    text = _text(value)
    return None if text in ("", _NOTHING) else text
