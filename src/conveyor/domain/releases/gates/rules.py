"""Rules: what an index asks of the releases of a project, the parameters of the gates.

Without a policy they are the settings of the index (``rules_of_index``); a policy (``releases.policy``)
changes them for an index, or for some of its projects. The fields are the keys of the policy's file, and the
reference of that file is written from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from conveyor.domain.releases.licences import canonical_licence
from conveyor.domain.words.names import PythonName, is_python
from conveyor.domain.words.records import Between, Given, Judged, Matching, Record, ShortText, Text

if TYPE_CHECKING:
    from conveyor.domain.indexes.definitions import Index

LONGEST_HOURS = 24 * 366
_HOST = r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?"

Approval = Literal["always", "minor", "major", "never"]
"""The smallest change of a version that waits for a person; ``always``: every release."""


def _fault_of_repeated(values: list[object]) -> str | None:
    repeated = sorted({str(one) for one in values if values.count(one) > 1})
    return f"names {', '.join(repeated)} twice" if repeated else None


def _fault_of_licence(text: str) -> str | None:
    canonical = canonical_licence(text)
    if canonical is None:
        return f'is "{text}", not an SPDX licence identifier such as MIT'
    return None if canonical == text else f"is spelled {canonical}"


_Once = Judged(_fault_of_repeated)


@dataclass(frozen=True)
class Rules(Record):
    """What an index asks of the releases of a project."""

    gates: Annotated[
        tuple[Text, ...], _Once, "What a release must pass to be promoted into it, in order of judgement."
    ] = ()
    workers: Annotated[
        tuple[ShortText, ...], _Once, "Whose evidence counts, by name; none named: every registered worker's."
    ] = ()
    ci_evidence: Annotated[
        Literal["shown", "counts"],
        "Whether what jobs of CI hosts tell as trusted publishers counts as well, or is only shown. Only an "
        "index between the uploads and the last one may count it.",
    ] = "shown"
    pythons: Annotated[
        tuple[PythonName, ...],
        _Once,
        "For the gate `tests`: Pythons that releases are tested on, such as `3.12` or `pypy3.9`.",
    ] = ()
    platforms: Annotated[
        tuple[ShortText, ...],
        _Once,
        "For the gate `tests`: platforms that releases are tested on, such as `linux-x86_64`.",
    ] = ()
    other_environments: Annotated[
        Literal["block", "shown"],
        "For the gate `tests`: whether a failure on a Python or platform that is not named blocks as well, "
        "or is only shown, which is the default where the policy names some.",
    ] = "block"
    isolation: Annotated[
        Literal["required", "any"],
        "Whether evidence of builds and tests counts only if they ran isolated from their worker.",
    ] = "any"
    minimum_age_hours: Annotated[
        int, Between(0, LONGEST_HOURS), "For the gate `age`: how long the newest file has been here."
    ] = 0
    approval: Annotated[
        Approval,
        "For the gate `approval`: the smallest change of the version that waits for a person. With `minor`, "
        "patch releases go on by themselves.",
    ] = "always"
    approvals: Annotated[
        int, Between(1, 20), "For the gate `approval`: how many different people approve a release."
    ] = 1
    signers: Annotated[
        int, Between(1, 20), "For the gate `qa-signature`: how many different signers sign a release."
    ] = 1
    not_author: Annotated[
        bool, "For the gate `qa-signature`: whether the author of the commit does not count as its signer."
    ] = False
    licences: Annotated[
        tuple[Annotated[ShortText, Judged(_fault_of_licence)], ...],
        _Once,
        "For the gate `licences`: the SPDX licence identifiers that are allowed, such as `MIT`.",
    ] = ()
    hosts: Annotated[
        tuple[Annotated[str, Given(200), Matching(_HOST, "is not the name of a host")], ...],
        _Once,
        "Hosts that builds may reach besides the store, over TLS: `packages.example` or `*.example:8443`. "
        "Those of the index count where a release enters.",
    ] = ()
    override_by: Annotated[
        tuple[ShortText, ...], _Once, "Users who may override its gates; administrators always may."
    ] = ()
    override_days: Annotated[int, Between(1, 366), "The longest time that an override holds, in days."] = 30

    def blocks_on(self, python: str, platform: str) -> bool:
        """Whether failing tests there block: not if the rules name other places and only show this one.

        ``python`` may have a patch number.
        """
        if self.other_environments == "block":
            return True
        is_named = not self.pythons or any(is_python(python, one) for one in self.pythons)
        return is_named and (not self.platforms or platform in self.platforms)


NO_RULES = Rules()


def rules_of_index(index: Index) -> Rules:
    """The rules of an index of which no policy says anything: its own settings."""
    return Rules(gates=index.gates, pythons=index.pythons, isolation=index.isolation)
