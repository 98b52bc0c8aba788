"""The gates that wait: ``age`` for time to pass, ``approval`` for people.

``approval`` asks by how much the version changes what the index has: the newest release there that is lower.
With ``approval = "minor"`` in the policy 1.2.4 after 1.2.3 goes on by itself, 1.3.0 and 2.0.0 wait for a
person; a project's first release is a major change.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from conveyor.domain.releases.decisions import approvers
from conveyor.domain.releases.gates.finals import signers_of
from conveyor.domain.releases.gates.judged import Verdict
from conveyor.domain.words.names import is_final, parse_version
from conveyor.domain.words.notation import from_utc_text, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conveyor.domain.releases.gates.judged import JudgedRelease
    from conveyor.domain.words.names import Version

Change = Literal["major", "minor", "patch"]
_ORDER = ("patch", "minor", "major")


def judge_age(release: JudgedRelease) -> Verdict:
    """The newest file of the release has been in the store for as long as the rules ask."""
    hours = release.rules.minimum_age_hours
    newest = max(file.uploaded_at for file in release.files)
    opens_at = utc_text(from_utc_text(newest) + timedelta(hours=hours))
    if release.at >= opens_at:
        return Verdict("age", "pass", f"its newest file came at {newest}, at least {hours} hours ago")
    return Verdict(
        "age",
        "waiting",
        f'its newest file came at {newest}, and "{release.index}" waits for {hours} hours',
        f"wait until {opens_at}, then look again: {_why(release)}",
        opens_at=opens_at,
    )


def judge_approval(release: JudgedRelease) -> Verdict:
    """As many people approved it for this index as the rules ask, or it changes too little to ask.

    A signature that counts for the gate ``qa-signature`` is an approval too.
    """
    rules = release.rules
    before, change = change_of(release.version, release.versions_in(release.index))
    said = f"{change} change after {before}" if before else "first release"
    if rules.approval == "never" or (
        rules.approval != "always" and _ORDER.index(change) < _ORDER.index(rules.approval)
    ):
        return Verdict(
            "approval", "pass", f'a {said}: "{release.index}" asks nobody below {_asked_of(rules.approval)}'
        )
    people = tuple(dict.fromkeys([*approvers(release.decisions, release.index), *signers_of(release)]))
    if len(people) >= rules.approvals:
        return Verdict("approval", "pass", f"a {said}, approved by {', '.join(people)}")
    so_far = f", so far by {', '.join(people)}" if people else ""
    needed = "a person" if rules.approvals == 1 else f"{rules.approvals} people"
    return Verdict(
        "approval",
        "waiting",
        f"a {said}, which {needed} must approve{so_far}",
        "let somebody who may promote it look at it, then: "
        f"conveyor store approve {release.project} {release.version} --to {release.index}",
    )


def _asked_of(approval: str) -> str:
    return "any change" if approval == "never" else f"a {approval} change"


def _why(release: JudgedRelease) -> str:
    return f"conveyor why {release.project} {release.version} --to {release.index}"


def change_of(version: str, others: Iterable[str]) -> tuple[str | None, Change]:
    """The newest final version below this one (``None``: it is the first), and by how much this changes it.

    A first release and a later epoch are major changes. Of a calendar version the year is what major is of
    others.
    """
    new = parse_version(version)
    finals = (found for found in map(parse_version, others) if is_final(found))
    before = max((found for found in finals if found < new), default=None)
    return (None, "major") if before is None else (str(before), _change_between(before, new))


def _change_between(before: Version, after: Version) -> Change:
    if before.epoch != after.epoch or before.major != after.major:
        return "major"
    return "minor" if before.minor != after.minor else "patch"
