"""What people decide about a release: approvals, which a gate waits for, and overrides of gates.

An override opens one gate of one release until it expires. It is kept and shown for ever, with the person and
the reason, also after it has expired. It opens gates only: that names are safe, that a filename stands for
one content everywhere, and that every file has a known digest is checked elsewhere and cannot be overridden.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.people.access import may_promote
from conveyor.domain.words.notation import Moment, from_utc_text, future_text
from conveyor.domain.words.records import NO_COLUMN, Column, Option, Record, Text
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.gates.rules import Rules


@dataclass(frozen=True)
class NewApproval(Record):
    """A person's approval of a release, to be given."""

    index: Annotated[IndexName, "The index that the release may enter.", Option("to")]
    reason: Annotated[Text | None, "What was looked at."] = None


@dataclass(frozen=True)
class NewOverride(Record):
    """An override of a gate, to be made."""

    index: Annotated[IndexName, "The index whose gate it is.", Option("to")]
    gate: Annotated[Text, "The gate that is to let the release pass."]
    reason: Annotated[Text, "Why; everybody who sees the release sees it."]
    until: Annotated[Moment, "When it ends, such as 2030-12-31T00:00:00Z.", Option("until", "TIME")]


@dataclass(frozen=True)
class PersonalDecision(Record):
    """An approval or an override."""

    kind: Annotated[Literal["approval", "override"], Column("WHAT")]
    project: Annotated[str, NO_COLUMN]
    version: Annotated[str, NO_COLUMN]
    index: str
    gate: str
    person: str
    reason: str | None
    made_at: Moment
    until: Annotated[Moment | None, "When it ends; null: never, as for an approval."]

    def overrides(self, gate: str, index: str, at: str) -> bool:
        """Whether it opens this gate of this index at that time."""
        return (
            self.kind == "override"
            and (self.gate, self.index) == (gate, index)
            and self.until is not None
            and at < self.until
        )

    def has_ended(self, at: str) -> bool:
        """Whether it is an override whose time was over then."""
        return self.until is not None and self.until <= at

    @property
    def told(self) -> str:
        """It as a sentence."""
        if self.kind == "approval":
            because = f": {self.reason}" if self.reason else ""
            return f'{self.person} approved it for "{self.index}" at {self.made_at}{because}'
        return f'{self.person} overrode {self.gate} of "{self.index}" until {self.until}: {self.reason}'


def must_be_a_person(identity: Identity, index: str, project: str, *, is_worker: bool) -> None:
    """Allow people who may promote the project into the index.

    Raises:
        Unauthorized, Forbidden: the caller may not, or is a worker, whose word is its evidence.
    """
    may_promote(identity, index, project)
    if is_worker:
        raise Forbidden(
            f"{identity.name} is a worker, and only people approve or override",
            hint="ask somebody who may promote the project",
        )


def may_override(identity: Identity, rules: Rules, index: str) -> None:
    """Allow administrators and the users that the policy names; raises Forbidden."""
    if identity.is_admin or identity.name in rules.override_by:
        return
    named = ", ".join(rules.override_by)
    raise Forbidden(
        f'{identity.name} may not override gates of "{index}"',
        hint=f"ask {named}, or an administrator" if named else "ask an administrator",
    )


def end_of_override(asked: NewOverride, rules: Rules, now: datetime) -> str:
    """When an override ends, in the store's form, if the index has the gate and the policy allows the time.

    Raises:
        InvalidInput: there is no such gate, or the time has passed or is too far away; names every fault.
    """
    faults = []
    if asked.gate not in rules.gates:
        gates = ", ".join(rules.gates) or "none"
        faults.append(f'"{asked.index}" has no gate "{asked.gate}" for this project (its gates: {gates})')
    until = future_text(asked.until, now)
    if until is None:
        faults.append(f'"{asked.until[:40]}" is not a future time, such as 2030-12-31T00:00:00Z')
    elif from_utc_text(until) > now + timedelta(days=rules.override_days):
        faults.append(f"it would hold for more than the {rules.override_days} days that the policy allows")
    if faults or until is None:
        raise InvalidInput(f"the override is refused: {faults[0]}", faults=faults)
    return until


def approvers(decisions: Iterable[PersonalDecision], index: str) -> tuple[str, ...]:
    """The people who approved the release for an index, each once, in the order of their approvals."""
    found = (one.person for one in decisions if one.kind == "approval" and one.index == index)
    return tuple(dict.fromkeys(found))
