"""Project status (PEP 792): what an index may do with a project, and who decides it.

The words and what they mean are those of the standard ("Project Status Markers"). Setting one is a decision
of an administrator here; of a mirrored project upstream may have decided too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from conveyor.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterable

StatusName = Literal["active", "archived", "deprecated", "quarantined"]
STATUS_NAMES: tuple[StatusName, ...] = get_args(StatusName)


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """The status of a project, and why it has it."""

    name: StatusName = "active"
    reason: str | None = None
    """For people; ``None``: none was given."""

    @property
    def accepts_uploads(self) -> bool:
        """Whether new files may be added."""
        return self.name in ("active", "deprecated")

    @property
    def offers_files(self) -> bool:
        """Whether what is there may be downloaded."""
        return self.name != "quarantined"


ACTIVE = ProjectStatus()


def status_from(word: str | None, reason: str | None) -> ProjectStatus:
    """The status that a row or an upstream names; ``None`` and a word of no standard: active."""
    known = (ProjectStatus(name, reason) for name in STATUS_NAMES if name == word)
    return next(known, ACTIVE)


def shown_status(own: ProjectStatus, mirrored: Iterable[ProjectStatus]) -> ProjectStatus:
    """The status that readers see: this store's decision, else that of the nearest upstream that made one."""
    return next((status for status in (own, *mirrored) if status.name != "active"), own)


def must_accept_uploads(project: str, status: ProjectStatus) -> None:
    """Allow adding a file to a project; raises Forbidden, with the reason of the status."""
    if not status.accepts_uploads:
        raise Forbidden(
            f"{project} {_is(status)} and takes no new files",
            hint="an administrator can set it active again: "
            f"conveyor store status {project} active --data DIR",
        )


def must_offer_files(project: str, status: ProjectStatus) -> None:
    """Allow handing out a file of a project, or promoting it; raises Forbidden, with the status's reason."""
    if not status.offers_files:
        raise Forbidden(
            f"{project} {_is(status)}: none of its files is handed out or promoted",
            hint="use another project, or ask an administrator why",
        )


def _is(status: ProjectStatus) -> str:
    return f"is {status.name}" + (f" ({status.reason})" if status.reason else "")
