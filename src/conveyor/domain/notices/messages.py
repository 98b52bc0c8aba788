"""Messages: what an event of the audit log becomes for those who are told of it.

    action of the event                 type of the message
    upload                              file.uploaded
    publish                             release.published
    add-evidence (tests)                release.tested
    add-evidence (qa-signature)         release.approved
    approve                             release.approved
    override, end-override              release.overridden, release.override-ended
    hold, refuse                        release.waiting, release.refused
    promote                             release.promoted
    yank, unyank, delete                release.yanked, release.unyanked, release.deleted
    request-run, claim-run, end-run     run.requested, run.started, run.succeeded | failed | cancelled

Every other event is nobody's business but the store's. The details of an event are taken over field by field,
so that what is added to the log is not told to others before somebody decides that.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from conveyor.domain.notices.receivers import MESSAGE_TYPES, seen_indexes, sees_project, wants

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conveyor.domain.notices.receivers import MessageType, Receiver
    from conveyor.domain.runs.states import Run
    from conveyor.domain.words.notation import Event

_BY_ACTION: Mapping[str, MessageType] = {
    "upload": "file.uploaded",
    "publish": "release.published",
    "hold": "release.waiting",
    "refuse": "release.refused",
    "approve": "release.approved",
    "override": "release.overridden",
    "end-override": "release.override-ended",
    "promote": "release.promoted",
    "yank": "release.yanked",
    "unyank": "release.unyanked",
    "delete": "release.deleted",
    "request-run": "run.requested",
    "claim-run": "run.started",
}
TOLD_ACTIONS = frozenset({*_BY_ACTION, "add-evidence", "end-run"})
"""Actions that may become messages."""
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "publish": ("files",),
    "add-evidence": ("sha256", "commit", "signed_by"),
    "hold": ("verdicts", "cause"),
    "refuse": ("verdicts", "cause"),
    "approve": ("gate", "reason"),
    "override": ("gate", "reason", "until"),
    "end-override": ("gate", "until", "outcome", "reason"),
    "promote": ("files", "from", "verdicts", "cause"),
    "yank": ("files", "reason"),
    "unyank": ("files",),
    "delete": ("files",),
}
_OF_RUN = (
    "id",
    "repository",
    "ref",
    "commit",
    "state",
    "requested_by",
    "worker",
    "detail",
    "reason",
    "retry_of",
)


@dataclass(frozen=True)
class Told:
    """An event with what is looked up for it, so that it can be told."""

    event: Event
    places: Mapping[str, bool]
    """The indexes that it is about → whether each is private."""
    private: Collection[str] = ()
    """All private indexes of the store."""
    projects: Collection[str] = ()
    """The project, or those of a run's repository."""
    run: Run | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More of it: the counts of tests."""


@dataclass(frozen=True)
class Message:
    """What one receiver is told of one event."""

    type: MessageType
    subject: str
    """What is told in order: the release, or the run as long as nobody knows its release."""
    body: str
    """JSON: ``type``, ``timestamp`` and ``data``, as Standard Webhooks has them."""


def type_of(event: Event) -> MessageType | None:
    """The type of the message that an event becomes; ``None``: nobody is told."""
    if event.action == "add-evidence":
        kinds: Mapping[object, MessageType] = {
            "tests": "release.tested",
            "qa-signature": "release.approved",
        }
        return kinds.get(event.detail.get("kind"))
    if event.action == "end-run":
        kind = f"run.{event.detail.get('state')}"
        return next((one for one in MESSAGE_TYPES if one == kind), None)
    return _BY_ACTION.get(event.action)


def message_for(receiver: Receiver, told: Told, *, store_url: str | None) -> Message | None:
    """What a receiver is told of an event; ``None``: nothing.

    ``store_url``: where clients reach the store, ending with a slash; ``None``: nobody said.
    """
    event = told.event
    kind = type_of(event)
    seen = seen_indexes(receiver, told.places)
    if kind is None or not wants(receiver, kind) or not seen or not sees_project(receiver, told.projects):
        return None
    run = told.run
    project = event.project or (run.project if run else None)
    version = event.version or (run.version if run else None)
    data: dict[str, Any] = {"serial": event.serial, "actor": event.actor}
    data |= {"store": store_url, "project": project, "version": version, "indexes": list(seen)}
    data["url"] = _address(store_url, project, version, run)
    details = {name: event.detail.get(name) for name in _DETAILS.get(event.action, ())}
    if event.action == "upload":
        details["files"] = [{key: value for key, value in event.detail.items() if key != "notes"}]
    hidden = sorted(set(told.private) - set(receiver.indexes))
    data |= {name: one for name, one in details.items() if one is not None and not _names(one, hidden)}
    if run is not None:
        data["run"] = {name: getattr(run, name) for name in _OF_RUN}
    data |= told.facts
    body = {"type": kind, "timestamp": event.at, "data": data}
    return Message(kind, subject_of(project, version, run), json.dumps(body))


def _names(detail: object, hidden: Collection[str]) -> bool:
    """Whether a detail names an index of which the receiver is not to know."""
    if not hidden:
        return False
    words = "|".join(re.escape(name) for name in hidden)
    return re.search(rf"(?<![a-z0-9/-])(?:{words})(?![a-z0-9/-])", json.dumps(detail)) is not None


def subject_of(project: str | None, version: str | None, run: Run | None) -> str:
    """What is told in order; at most one message about it is under way to a receiver."""
    if project is not None and version is not None:
        return f"{project} {version}"
    return f"run {run.id}" if run is not None else project or "store"


def ping(*, at: str, by: str, store_url: str | None) -> Message:
    """A message that tells of nothing, to see whether it arrives."""
    body = {"type": "ping", "timestamp": at, "data": {"actor": by, "store": store_url, "url": store_url}}
    return Message("ping", "ping", json.dumps(body))


def _address(store_url: str | None, project: str | None, version: str | None, run: Run | None) -> str | None:
    """Where the store says more about it, to those who may know."""
    if store_url is None:
        return None
    if run is not None:
        return f"{store_url}api/v1/runs/{run.id}"
    if project is None:
        return store_url
    place = f"{store_url}api/v1/projects/{quote(project)}"
    return place if version is None else f"{place}/releases/{quote(version)}"
