"""Mails about changes: the same messages that programs get, as a few plain sentences.

All mails about one release, or one run, answer the same message that never was, so that mail programs show
them as one thread. ``Auto-Submitted`` (RFC 3834) keeps them from being answered by machines, ``List-Id`` (RFC
2919) lets people filter them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from conveyor.domain.words.notation import from_utc_text, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_LINES = 60
LONGEST_LINE = 500
"""Characters of what somebody else wrote, such as the reason of a failed run."""
_TITLES: Mapping[str, str] = {
    "file.uploaded": "has a new file in {indexes}",
    "release.published": "is in {indexes}",
    "release.tested": "was tested",
    "release.waiting": "waits before {indexes}: {gates}",
    "release.refused": "is refused by {indexes}: {gates}",
    "release.approved": "was approved",
    "release.overridden": "is let past {gate}",
    "release.override-ended": "is no longer let past {gate}",
    "release.promoted": "is in {indexes} now",
    "release.yanked": "was yanked",
    "release.unyanked": "is not yanked any more",
    "release.deleted": "was deleted",
    "run.requested": "is requested",
    "run.started": "has begun",
    "run.succeeded": "has succeeded",
    "run.failed": "has failed",
    "run.cancelled": "was cancelled",
}


@dataclass(frozen=True)
class MailSettings:
    """The mail server by which the store tells people of changes."""

    host: str
    port: int
    sender: str
    """The address that mails come from."""
    is_tls: bool
    """Whether it speaks TLS from the first byte; else STARTTLS is asked for."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def mail_of(body: str, *, message_id: str, subject: str, sender: str, to: str) -> EmailMessage:
    """The mail of a message.

    Args:
        body: of the message, as programs are sent it.
        message_id: of the message, the same in every attempt.
        subject: what the message is about; mails about the same become one thread.
        sender: the address that mails come from.
        to: the address of the receiver.
    """
    told: Any = read_json(body.encode(), what="the message")
    kind, data = str(told["type"]), told["data"]
    domain = sender.rpartition("@")[2]
    thread = f"<{hashlib.sha256(subject.encode()).hexdigest()[:32]}.about@{domain}>"
    mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    mail["From"] = f"Conveyor <{sender}>"
    mail["To"] = to
    mail["Subject"] = _title(kind, data)
    mail["Date"] = format_datetime(from_utc_text(str(told["timestamp"])))
    mail["Message-ID"] = f"<{message_id}@{domain}>"
    mail["In-Reply-To"] = thread
    mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    mail["List-Id"] = f"Conveyor <conveyor.{domain}>"
    lines = [_shortened(line) for line in _lines(kind, data)][:MOST_LINES]
    mail.set_content("\n".join(lines) + "\n")
    return mail


def _title(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "ping":
        return "This store can send you mail"
    shut = [str(one["gate"]) for one in data.get("verdicts", ()) if one["outcome"] in ("fail", "waiting")]
    words = {
        "indexes": ", ".join(data.get("indexes", ())),
        "gates": ", ".join(shut) or "a gate",
        "gate": str(data.get("gate")),
    }
    run = data.get("run")
    release = " ".join(str(one) for one in (data.get("project"), data.get("version")) if one)
    about = f"run {run['id']} of {release or run['ref']}" if run else release
    return _shortened(f"{about} {_TITLES[kind].format(**words)}", 200)


def _lines(kind: str, data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_title(kind, data)}."
    yield ""
    for one in data.get("verdicts", ()):
        if one["outcome"] in ("fail", "waiting"):
            yield f"- {one['gate']}: {one['reason']}"
            if one.get("next_step"):
                yield f"  {one['next_step']}"
    run = data.get("run")
    if run:
        yield f"{run['repository']}, {run['ref']}" + (f", commit {run['commit']}" if run["commit"] else "")
        yield from str(run["detail"] or "").splitlines()
    if "tests" in data:
        yield ", ".join(f"{count} {name}" for name, count in data["tests"].items())
    for name in ("from", "cause", "reason", "until", "signed_by"):
        if data.get(name):
            yield f"{name.replace('_', ' ')}: {data[name]}"
    yield f"by: {data['actor']}"
    if data.get("url"):
        yield f"more: {data['url']}"
    yield ""
    yield "An administrator of the store registered this address: conveyor store notify list"


def _shortened(line: str, most: int = LONGEST_LINE) -> str:
    """One line without control characters."""
    plain = "".join(one if one.isprintable() else " " for one in line)
    return plain if len(plain) <= most else plain[: most - 1] + "…"
